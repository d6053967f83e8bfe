"""What a terminal of 80 or 140 columns shows of a run."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli, run_dropout
from made_up import MadeUp
from rich.console import Console

from cifar_tune.cli import best_tables, tables
from cifar_tune.cli.console import make_console, show_run
from cifar_tune.config.derived import derive_spec
from cifar_tune.config.study_file import load_study_file
from cifar_tune.config.trial import TrialConfig
from cifar_tune.evaluation.best import compute_best
from cifar_tune.search.bars import Bars
from cifar_tune.search.observer import Observer
from cifar_tune.search.plan import Plan
from cifar_tune.search.progress import PlainLines, plan_lines, trial_line
from cifar_tune.search.spinner import Spinner
from cifar_tune.storage.location import locate_storage
from cifar_tune.storage.records import TrialSummary
from cifar_tune.training.records import EpochMetrics
from cifar_tune.wording import LINE_COLUMNS

MakeConfig = Callable[..., TrialConfig]
PLAN = Plan(
    named=20,
    named_total=1200,
    seeds=5,
    sampled=1000,
    queued=17,
    workers=16,
    epochs=200,
    epochs_least=10_000,
    epochs_expected=100_000,
    epochs_most=200_000,
    seconds_least=3661.0,
    seconds_expected=200_000.0,
    seconds_most=400_000.0,
    seconds_saved_most=300_000.0,
)


def terminal(width: int = 80) -> tuple[Console, io.StringIO]:
    screen = io.StringIO()
    return Console(file=screen, force_terminal=True, width=width, markup=False), screen


def plain(screen: io.StringIO) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())


def metrics(epoch: int) -> EpochMetrics:
    return EpochMetrics(
        epoch=epoch,
        train_loss=1.0,
        train_accuracy=0.35,
        val_loss=1.0,
        val_accuracy=0.34,
        seconds=2.0,
    )


def test_the_plan_fits_and_breaks_between_words() -> None:
    lines = "\n".join(plan_lines(PLAN)).splitlines()
    assert max(map(len, lines)) <= LINE_COLUMNS < 80
    text = " ".join(" ".join(lines).split())
    assert "plan 20 of 1,200 named trials (5 seeds each), 1,000 sampled, 17 queued" in text
    assert "time about 2 days 7 h (1 h 1 min to 4 days 15 h), 16 trials at once" in text


@pytest.mark.parametrize("width", [80, 140])
def test_bars_show_epoch_accuracy_and_clock(make_config: MakeConfig, width: int) -> None:
    console, screen = terminal(width)
    config = make_config(epochs=5)
    with Bars(console) as bars:
        bars.preparing("Measuring training steps")
        bars.planned(PLAN)
        trial = TrialSummary(number=7, name="dropout/p=0.3/seed=2", state="running", epochs=2)
        bars.trial_started(trial, config)
        bars.stepped(7, 1)
        bars._progress.refresh()
        assert "resumed at epoch 3  dropout/p=0.3/seed=2" in plain(screen)
        bars.epoch_ended(7, metrics(3))
        bars._progress.refresh()
    shown = plain(screen)
    assert "Measuring training steps" in shown
    assert "3/5 val 34.0 %, train 35.0 %  dropout/p=0.3/seed=2" in shown
    assert re.search(r"0/1037 elapsed 0:0\d, remaining \d+:\d\d:\d\d", shown)
    assert max(len(line) for line in shown.replace("\r", "\n").splitlines()) <= width


def test_the_clock_of_the_bars_moves_though_nothing_is_said(make_config: MakeConfig) -> None:
    console, screen = terminal()
    with Bars(console) as bars:
        bars.planned(PLAN)
        bars.trial_started(TrialSummary(number=0, name="a", state="running"), make_config())
        time.sleep(1.3)
    assert {"elapsed 0:00", "elapsed 0:01"} <= set(re.findall(r"elapsed 0:\d\d", plain(screen)))


def test_what_is_waited_for_is_shown_on_a_terminal_only() -> None:
    console, screen = terminal()
    with Spinner(console) as spinner:
        spinner.show("Loading [PyTorch]")
        console.print("profile    quick")
    assert plain(screen).index("Loading [PyTorch]") < plain(screen).index("profile    quick")
    others: list[dict[str, Any]] = [{"force_terminal": False}, {"quiet": True}, {"stderr": True}]
    for settings in others:
        screen = io.StringIO()
        silent = Console(**{"file": screen, "force_terminal": True, **settings})
        with Spinner(silent) as spinner:
            spinner.show("Loading PyTorch")
        assert screen.getvalue() == ""


def test_who_shows_a_run() -> None:
    console, _ = terminal()
    with show_run(console) as observer:
        assert isinstance(observer, Bars)
    with show_run(make_console()) as observer:
        assert isinstance(observer, PlainLines)
    console.quiet = True
    with show_run(console) as observer:
        assert type(observer) is Observer


@pytest.mark.parametrize(
    ("arguments", "is_shown"),
    [
        (("test-reads",), True),
        (("study", "list"), True),
        (("study", "show", "dropout"), True),
        (("test-reads", "--json"), False),
    ],
)
def test_every_command_says_at_once_what_it_waits_for(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], is_shown: bool
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # a terminal to Rich
    answer = cli(*arguments)
    assert answer.code == 0
    assert ("Reading " in answer.out.partition("\x1b[2K")[0]) is is_shown
    assert answer.out.count("\x1b[?25l") == answer.out.count("\x1b[?25h"), "the cursor is back"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"state": "complete"}, "trial 3 a/seed=1  complete: 50.0 % after 2 epochs in 9 s"),
        ({"state": "pruned"}, "trial 3 a/seed=1  pruned at epoch 2: 50.0 % in 9 s"),
        ({"state": "waiting"}, "trial 3 a/seed=1  paused after 2 epochs"),
        (
            {"state": "fail", "failure": {"kind": "error", "message": "no"}},
            "trial 3 a/seed=1  failed: no",
        ),
    ],
)
def test_how_a_trial_ended(changes: dict[str, Any], line: str) -> None:
    trial = TrialSummary(
        number=3, name="a/seed=1", epochs=2, val_accuracy=0.5, seconds=9, **changes
    )  # type: ignore[arg-type]
    assert trial_line(trial) == line


def test_a_trial_that_waits_is_paused_or_queued() -> None:
    assert TrialSummary(number=0, state="waiting").shown_state == "paused"
    assert TrialSummary(number=0, state="waiting", queued=True).shown_state == "queued"
    assert TrialSummary(number=0, state="waiting", queued=True, epochs=1).shown_state == "paused"


def test_the_list_of_studies_fits_into_80_columns() -> None:
    console, screen = terminal()
    files = [load_study_file(name) for name in ("dropout", "beyond-finetune", "joint")]
    counts = {file.name: {f"{file.name}:quick": 12} for file in files}
    tables.print_list(console, files, counts, locate_storage("s.db"))
    table = plain(screen).partition("\nStored in")[0].splitlines()
    assert max(map(len, table)) <= 80
    assert table[0].split() == ["study", "title", "profiles", "trials"]
    assert [line.split()[0] for line in table if line.rstrip().endswith("12")] == [
        f.name for f in files
    ]


def test_a_confirmation_has_whole_names_in_80_columns(tmp_path: Path) -> None:
    study = MadeUp(tmp_path / "s.db", "dropout", "quick")
    study.add_named(is_read=False)
    fresh = derive_spec(study.spec, "confirm", study.spec.named, seeds=3)
    MadeUp.of(study.database, fresh).add_named(is_read=False)
    console, screen = terminal()
    record = compute_best(locate_storage(str(study.database)), study.spec)
    best_tables.print_best(console, record)
    table = plain(screen).partition("\nConfirmed best")[0].splitlines()
    columns = ("configuration", "seeds", "in study", "fresh seeds", "95 % interval")
    words = " ".join((*columns, "shrinkage", "behind")).split()
    header = table[: next(at for at, line in enumerate(table) if line.startswith("─"))]
    assert sorted(" ".join(header).split()) == sorted(words)  # no column is cut off
    names = [line.split()[0] for line in table if line.startswith("dropout/")]
    assert sorted(names) == [f"dropout/p=0.{tenth}" for tenth in range(1, 5)]
    assert sum(bool(re.search(r"\d to \d+\.\d %", line)) for line in table) == 4


def test_quiet_prints_the_result_alone(cli: Cli) -> None:
    only = ("--only", "dropout/p=0.1", "--only", "dropout/p=0.3")
    answer = run_dropout(cli, *only, "--quiet")
    assert (answer.code, answer.err) == (0, "")
    (line,) = answer.out.splitlines()
    assert re.match(r"Best by validation: trial \d dropout/p=0\.[13]/seed=1, \d+\.\d % \(", line)
    refused = run_dropout(cli, "--quiet", "--set", "nonsense=1")
    assert refused.code == 2
    assert refused.out == ""
    (line,) = refused.err.splitlines()
    assert line.startswith("error: --set nonsense")
