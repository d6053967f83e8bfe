"""After a run, the commands that its study needs most are named, with its own options."""

from __future__ import annotations

from pathlib import Path

import pytest

from cifar_tune.config.derived import Purpose, derived_name
from cifar_tune.config.study_file import load_study_file, resolve
from cifar_tune.search.budget import TIME_IS_UP
from cifar_tune.search.next_commands import RunOfStudy, list_next_commands
from cifar_tune.search.plan import Work
from cifar_tune.search.runner import StudyOutcome
from cifar_tune.storage import studies
from cifar_tune.storage.location import locate_storage
from cifar_tune.storage.records import TrialSummary

STUDY = "dropout --profile quick --set epochs=2 --storage s.db"
TRAINS = f"{STUDY} --data-dir 'my data'"
TRIALS = tuple(
    TrialSummary(number=number, name=name, state="complete", epochs=2, val_accuracy=0.4)
    for number, name in enumerate(("dropout/p=0.1/seed=1", None))
)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def commands(
    *, seeds: int = 1, sampled: int = 0, why_left: str | None = None, trials: int | None = None
) -> list[str]:
    spec = resolve(load_study_file("dropout"), "quick", {"epochs": 2}, seeds)
    left = Work((), 4, sampled)
    outcome = StudyOutcome(TRIALS, TRIALS[0], 2, 0, 9.0, False, left, why_left)
    run = RunOfStudy(spec, locate_storage("s.db"), Path("my data"), asked_trials=trials)
    return [found.command.removeprefix("cifar-tune ") for found in list_next_commands(run, outcome)]


def store(purpose: Purpose) -> None:
    storage = studies.open_to_write(locate_storage("s.db"))
    studies.create_study(storage, derived_name("dropout:quick:epochs=2", purpose))


def test_more_seeds_then_the_confirmation_then_the_test_then_the_report() -> None:
    confirm, report = f"best confirm {TRAINS}", f"report {STUDY}"
    assert commands() == [f"study run {TRAINS} --seeds 3 --trials 0", confirm, report]
    assert commands(seeds=3) == [confirm, report, f"best show {STUDY}"]
    store("confirm")
    assert commands(seeds=3) == [f"best rerun {TRAINS}", report, f"best show {STUDY}"]
    store("rerun")
    assert commands(seeds=3) == [report, f"best show {STUDY}"]


@pytest.mark.parametrize(
    ("why_left", "first"),
    [
        (None, f"study run {TRAINS} --trials 2"),
        (TIME_IS_UP, f"study run {TRAINS} --trials 2"),
        ("the study's budget of 3 epochs is too small", f"best confirm {TRAINS}"),
    ],
)
def test_what_is_left_comes_first_unless_the_budget_is_used_up(
    why_left: str | None, first: str
) -> None:
    assert commands(sampled=2, trials=5, why_left=why_left)[0] == first


def test_a_run_with_other_seeds_goes_on_with_them() -> None:
    assert commands(sampled=2, seeds=4)[0] == f"study run {TRAINS} --seeds 4"
