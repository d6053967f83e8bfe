"""``cifar-tune calibrate``: intervals, verdicts and rankings are as often right as is said."""

from __future__ import annotations

import numpy as np
import pytest
from command_line import Cli

from cifar_tune.evaluation import calibration, calibration_of_ranking, simulation
from cifar_tune.evaluation.simulation import World


def test_calibration_holds(cli: Cli) -> None:
    """docs/statistics.md has it with more rounds."""
    answer = cli("calibrate", "--rounds", "20", "--json")
    assert answer.code == 0, [one for one in answer.record["figures"] if not one["holds"]]
    figures = answer.record["figures"]
    assert {one["family"] for one in figures} == {1, 6, 12, 20}
    assert {3, 5, 10} <= {one["seeds"] for one in figures}
    worlds = {one["world"] for one in figures}
    assert {"heavy tails", "unequal spreads", "seeds in common", "many easy images"} <= worlds
    assert {"one run in twenty collapses", "ranking: half of them fail"} <= worlds
    assert {"ranking: two seeds", "ranking: unequal spreads", "ranking: seeds in common"} <= worlds


def test_a_figure_that_does_not_hold_ends_it_with_1(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World("made up", 0.1, 1.5, 0.7, 100)
    hits = np.array([True] * 10 + [False] * 90)
    wrong = calibration.rate_of("a claim is supported", world, (3, 1), hits, (0.0, 0.001))
    assert not wrong.holds
    monkeypatch.setattr(calibration, "calibrate", lambda _rounds: iter([wrong]))
    monkeypatch.setattr(calibration_of_ranking, "calibrate_ranking", lambda _rounds: iter(()))
    answer = cli("calibrate", "--rounds", "20")
    assert answer.code == 1
    assert "10.0 % ± 3.0" in answer.out
    assert "at most 0.1 %" in answer.out
    assert "does not hold" in " ".join(answer.out.split())


@pytest.mark.parametrize("world", [*calibration.WORLDS, calibration.COLLAPSING])
def test_simulated_accuracies_have_the_truth_that_is_said(world: World) -> None:
    random = np.random.default_rng(0)
    seen = [
        float(np.mean(simulation.simulate(world, (0.6, 0.8), 10, random).correct, axis=(1, 2))[1])
        for _ in range(40)
    ]
    truth = 0.8 * (1 - world.collapses) + 0.1 * world.collapses
    assert np.mean(seen) == pytest.approx(truth, abs=4 * np.std(seen) / 40**0.5)
