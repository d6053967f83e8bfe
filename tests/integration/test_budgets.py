"""Studies that end at their budget, and runs that end in time."""

from __future__ import annotations

import time
from pathlib import Path

from command_line import TINY, Cli
from places import write_changed_study

# --- whole runs -----------------------------------------------------------------------------------


def test_a_study_stops_at_its_budget_and_says_what_it_left(cli: Cli, tmp_path: Path) -> None:
    name = write_changed_study(tmp_path, "[profiles.quick.budget]\nepochs = 3")
    command = ("study", "run", name, *TINY, "--epochs", "1")
    answer = cli(*command)
    assert answer.code == 0
    assert "Not run: 1 named and 8 sampled trials; the study's budget of 3" in answer.out
    assert "Continue this run" not in answer.out
    again = cli(*command, "--json")  # the budget is the study's, not the run's
    assert again.code == 0
    assert len(again.record["trials"]) == 3
    assert again.record["left"]["named"] == 1
    assert "budget of 3 epochs" in again.record["left"]["why"]


def test_a_run_ends_in_time(cli: Cli) -> None:
    command = ("study", "run", "dropout", *TINY, "--epochs", "200", "--trials", "0")
    plan = cli("study", "plan", *command[2:], "--json").record
    start = time.monotonic()
    answer = cli(*command, "--timeout", "3s", "--json")
    assert time.monotonic() - start < 60
    assert plan["seconds_expected"] > 60
    assert answer.code == 0
    assert answer.record["trials"] == []
    assert "--timeout" in answer.record["left"]["why"]
    assert "--timeout" in cli(*command, "--timeout", "soon").err
