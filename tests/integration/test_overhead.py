"""What the runner costs is measured on the real one, and what it saves changes no decision."""

from __future__ import annotations

from dataclasses import fields

from command_line import Cli

from cifar_tune.benchmarks.overhead import Overhead


def test_overhead_prints_what_the_runner_costs(cli: Cli) -> None:
    answer = cli("overhead", "--finished", "12", "--trials", "4")
    assert answer.code == 0, answer.err
    assert "With 12 finished trials in SQLite, over 4 trials:" in answer.out
    record = cli("overhead", "--finished", "12", "--trials", "4", "--json").record
    assert set(record) == {field.name for field in fields(Overhead)}
    assert (record["finished"], record["trials"]) == (12, 4)
    assert 0 < record["epoch_median"] <= record["epoch_high"]
    assert 0 < record["trial_median"] <= record["trial_high"]
    assert record["mean_per_epoch"] > record["epoch_median"] / 2
    assert record["share"] < 0.2
