"""A trial that a stopped run has left can be ended as it is, and its study then be exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from command_line import TINY, Answer, Cli, StopAfter
from optuna_dashboard._note import get_note_from_system_attrs

from cifar_tune.storage import studies as stored
from cifar_tune.storage.lease import hold_lease
from cifar_tune.storage.location import locate_storage

STUDY = ("dropout", *TINY, "--epochs", "2", "--profile", "quick")
ONLY = ("--only", "dropout/p=0.1", "--only", "dropout/p=0.2", "--trials", "0")
IN_THE_SECOND_NAMED, IN_THE_FIRST_SAMPLED = 14, 22


def run(cli: Cli, *arguments: str) -> Answer:
    return cli("study", "run", *STUDY, *ONLY, "--json", *arguments)


def states(cli: Cli) -> list[tuple[str | None, str]]:
    return [(trial["name"], trial["state"]) for trial in shown(cli)["trials"]]


def shown(cli: Cli) -> dict[str, Any]:
    (study,) = cli("study", "show", *STUDY, "--json").record["stored"]
    found: dict[str, Any] = study
    return found


def note(cli: Cli, number: int) -> str:
    """Of a trial, as the dashboard shows it."""
    study = optuna.load_study(study_name=shown(cli)["study_name"], storage=locate_storage(None).url)
    attributes = study._storage.get_study_system_attrs(study._study_id)
    body = get_note_from_system_attrs(attributes, study.trials[number]._trial_id)["body"]
    return str(body)


def drop(cli: Cli, *trial: str) -> list[dict[str, Any]]:
    answer = cli("trial", "drop", "dropout", *trial, *STUDY[1:], "--json")
    assert answer.code == 0, answer.err
    dropped: list[dict[str, Any]] = answer.record["dropped"]
    return dropped


def export(cli: Cli) -> Answer:
    return cli("study", "export", *STUDY, "--out", "d.json")


@pytest.fixture
def stopped(cli: Cli, stop_after: StopAfter) -> None:
    """A study whose first run was stopped in its second named trial."""
    with stop_after(IN_THE_SECOND_NAMED):
        assert run(cli).code == 130


@pytest.mark.usefixtures("stopped")
def test_what_a_stopped_run_left_is_dropped_and_the_study_exported(cli: Cli) -> None:
    first, second = "dropout/p=0.1/seed=1", "dropout/p=0.2/seed=1"
    assert states(cli) == [(first, "complete"), (second, "waiting")]
    refused = export(cli)
    assert refused.code == 2
    assert "`cifar-tune trial drop dropout --profile quick " in refused.err
    assert list(Path("storage").rglob("trial-1"))

    (dropped,) = drop(cli, second)
    assert dropped["trial"]["failure"] == {"kind": "dropped", "message": "dropped after 1 epoch"}
    assert not list(Path("storage").rglob("trial-1"))
    assert states(cli) == [(first, "complete"), (second, "fail")]
    assert "dropped after 1 epoch" in cli("trial", "show", "dropout", "1", *STUDY[1:]).out
    assert "**Dropped** after 1 epoch" in note(cli, 1)
    assert export(cli).code == 0
    assert cli("study", "import", "d.json", "--storage", "new.db").code == 0
    report = cli("report", *STUDY, "--storage", "new.db", "--json").record
    assert [trial["state"] for trial in report["trials"]] == ["complete", "dropped"]


@pytest.mark.usefixtures("stopped")
def test_a_named_trial_that_was_dropped_is_trained_anew_where_it_is_wanted(cli: Cli) -> None:
    drop(cli, "1")
    # Nothing is wrong with a study without it.
    without = cli("study", "run", *STUDY, "--only", "dropout/p=0.1", "--trials", "0", "--json")
    assert without.code == 0, without.err
    assert len(without.record["trials"]) == 2
    again = run(cli)
    assert again.code == 0, again.err
    whole = run(cli, "--storage", "whole.db").record["trials"]
    _, _, anew = again.record["trials"]
    assert anew["name"] == "dropout/p=0.2/seed=1"
    assert [anew[key] for key in ("epochs", "val_accuracy", "seed")] == [
        whole[1][key] for key in ("epochs", "val_accuracy", "seed")
    ]


def test_a_sampled_trial_that_was_dropped_counts_for_nothing(
    cli: Cli, stop_after: StopAfter
) -> None:
    searched = (*STUDY, "--only", "dropout/p=0.1", "--only", "dropout/p=0.2", "--json")
    with stop_after(IN_THE_FIRST_SAMPLED):
        assert cli("study", "run", *searched, "--trials", "2").code == 130
    (dropped,) = drop(cli)
    assert dropped["trial"]["name"] is None
    rest = cli("study", "run", *searched, "--trials", "2").record
    assert rest["left"]["sampled"] == 0
    ended = [one["state"] for one in rest["trials"] if one["name"] is None]
    assert ended[0] == "fail"
    assert len(ended) == 3


def test_a_trial_that_was_asked_for_is_not_asked_for_any_more(
    cli: Cli, stop_after: StopAfter
) -> None:
    assert cli("study", "queue", *STUDY, "--param", "dropout_rate=0.25").code == 0
    with stop_after(2):
        assert run(cli).code == 130
    (dropped,) = drop(cli)
    assert dropped["trial"]["queued"]
    assert cli("study", "queue", *STUDY, "--json").record["requests"] == []
    assert [trial["queued"] for trial in run(cli).record["trials"]] == [True, False, False]


def test_re_runs_that_were_stopped_are_dropped_with_the_study(
    cli: Cli, stop_after: StopAfter
) -> None:
    assert run(cli).code == 0
    with stop_after(2):
        assert cli("best", "rerun", *STUDY, "--seeds", "2").code == 130
    assert export(cli).code == 2
    (dropped,) = drop(cli)
    assert dropped["study_name"].startswith("dropout/rerun:")
    assert export(cli).code == 0


@pytest.mark.usefixtures("stopped")
def test_what_is_not_dropped(cli: Cli) -> None:
    before = states(cli)
    for trial, said in (
        ("0", "trial 0 of dropout:quick"),
        ("dropout/p=0.1/seed=1", "is complete; expected one that has not ended: dropout/p=0.2"),
        ("7", "is not there; expected one that has not ended: dropout/p=0.2/seed=1"),
    ):
        answer = cli("trial", "drop", "dropout", trial, *STUDY[1:])
        assert answer.code == 2
        assert said in answer.err
    storage = stored.open_to_write(locate_storage(None))
    study = stored.find_study(storage, shown(cli)["study_name"])
    assert study is not None
    with hold_lease(storage.engine, study._study_id, "", print):
        answer = cli("trial", "drop", "dropout", *STUDY[1:])
    assert answer.code == 2
    assert "is being run by process" in answer.err
    assert states(cli) == before
    answer = cli("trial", "drop", "dropout", "1", *STUDY[1:], "--storage", "none.db")
    assert answer.code == 2
    assert not Path("none.db").exists()


def test_where_nothing_is_left_nothing_is_dropped(cli: Cli) -> None:
    assert run(cli).code == 0
    answer = cli("trial", "drop", "dropout", *STUDY[1:])
    assert answer.code == 0
    assert "every trial has ended" in answer.out
