"""What a run would do, what is stored, and which study files there are."""

from __future__ import annotations

import time
from pathlib import Path

from command_line import TINY, Cli, run_dropout
from places import STUDY_FILES


def test_plan_writes_nothing_and_counts_what_is_left(cli: Cli, tmp_path: Path) -> None:
    command = ("study", "plan", "dropout", *TINY, "--epochs", "3", "--json")
    start = time.monotonic()
    plan = cli(*command).record
    assert time.monotonic() - start < 30
    assert list(tmp_path.iterdir()) == []
    assert (plan["named"], plan["named_total"], plan["sampled"]) == (4, 4, 8)
    assert (plan["epochs_least"], plan["epochs_most"]) == (4 * 3 + 8 * 2, 12 * 3)
    assert plan["epochs_least"] <= plan["epochs_expected"] <= plan["epochs_most"]
    assert 0 < plan["seconds_least"] <= plan["seconds_expected"] <= plan["seconds_most"]
    run_dropout(cli, "--trials", "1", epochs=3)
    left = cli(*command).record
    assert (left["named"], left["sampled"]) == (0, 7)
    assert cli(*command, "--trials", "0").record["epochs_most"] == 0
    assert "nothing is left to run" in cli(*command[:-1], "--trials", "0").out


def test_plan_of_the_assignment_needs_no_data(cli: Cli) -> None:
    answer = cli("study", "plan", "dropout", "--profile", "assignment")
    assert answer.code == 0
    assert "plan       20 of 20 named trials (5 seeds each), 40 sampled\n" in answer.out


def test_plan_says_which_images_and_weights_are_not_here(cli: Cli, tmp_path: Path) -> None:
    command = ("study", "plan", "transfer", "--only", "transfer/model-b", "--data-dir", "none")
    answer = cli(*command, "--profile", "assignment")
    assert answer.code == 0
    missing = [line for line in answer.out.splitlines() if line.startswith("missing    ")]
    assert [("data fetch" in line, "weights fetch" in line) for line in missing] == [
        (True, False),
        (False, True),
    ]
    run = cli("study", "run", *command[2:], "--profile", "assignment")
    assert run.code == 2
    assert missing[0].removeprefix("missing    ") in run.err
    assert cli(*command, "--profile", "quick", *TINY, "--json").record["missing"] == []
    assert list(tmp_path.iterdir()) == []


def test_show_and_list(cli: Cli) -> None:
    assert "Nothing of it is stored" in cli("study", "show", "dropout").out
    run_dropout(cli, "--trials", "0")
    listed = cli("study", "list", "--json").record
    (dropout,) = (one for one in listed["studies"] if one["name"] == "dropout")
    assert list(dropout["stored"].values()) == [4]
    shown = cli("study", "show", "dropout", "--profile", "quick")
    assert "dropout/p=0.4/seed=1" in shown.out
    assert "third-rate-best-on-test: " in shown.out
    assert "profile assignment" not in shown.out
    assert cli("study", "show", "dropout", "--profile", "nope").code == 2


def test_brackets_in_a_title_are_text(cli: Cli, tmp_path: Path) -> None:
    text = (STUDY_FILES / "dropout.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(text.replace('title = "', 'title = "[red] '))
    assert "[red] Dropout" in cli("study", "show", "mine.toml").out


def test_list_shows_the_good_files_beside_a_broken_one(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "broken.toml").write_text("title = 3")
    answer = cli("study", "list")
    assert answer.code == 2
    assert "Dropout rate before the classifier" in answer.out
    assert "studies/broken.toml: title = 3: expected text in quotes" in answer.err
