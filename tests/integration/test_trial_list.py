"""`cifar-tune trial list`: the trials of a study, sorted and filtered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import Cli
from made_up import MadeUp
from optuna.trial import TrialState, create_trial


@pytest.fixture
def studies(cli: Cli) -> Cli:
    """The command line, in a folder with four named trials, four sampled ones, and others."""
    made = MadeUp(Path("storage/cifar-tune.db").absolute(), "dropout", "quick")
    made.add_named(is_read=False, keeps_answers=False)
    made.add_sampled(4)
    made.study.add_trial(create_trial(state=TrialState.WAITING, user_attrs={"seed": 9}))
    made.study.enqueue_trial({"learning_rate": 0.001})
    made.study.add_trial(
        create_trial(
            state=TrialState.FAIL,
            user_attrs={"seed": 9, "failure": {"kind": "dropped", "message": "dropped"}},
        )
    )
    made.study.add_trial(create_trial(state=TrialState.COMPLETE, value=0.9))  # another program's
    return cli


def list_trials(studies: Cli, *options: str) -> list[dict[str, Any]]:
    answer = studies("trial", "list", "dropout", "--json", *options)
    assert answer.code == 0, answer.err
    trials: list[dict[str, Any]] = answer.record["trials"]
    return trials


def test_all_trials_in_a_table_of_80_columns(studies: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cifar_tune.cli.console.PLAIN_WIDTH", 80)
    answer = studies("trial", "list", "dropout")
    assert answer.code == 0
    heading, _, *rows, total = answer.out.splitlines()
    assert heading.split() == [
        *("#", "trial", "state", "dropout", "lr", "augment", "epochs", "val", "acc", "time"),
    ]
    assert total == "12 trials of dropout:quick in storage/cifar-tune.db"
    assert [row.split()[0] for row in rows] == [str(number) for number in range(12)]
    assert rows[2].split()[:6] == ["2", "p=0.3/seed=1", "complete", "0.3", "0.001", "1"]
    assert {row.split()[2] for row in rows[4:]} == {
        *("complete", "pruned", "paused", "queued", "dropped", "foreign"),
    }
    assert max(map(len, answer.out.splitlines())) <= 80
    monkeypatch.setattr("cifar_tune.cli.console.PLAIN_WIDTH", 120)
    assert " dropout/p=0.3/seed=1 " in studies("trial", "list", "dropout").out


def test_states_and_limits(studies: Cli) -> None:
    for options, numbers in (
        ((), list(range(12))),
        (("--state", "complete"), [0, 1, 2, 3, 4, 6]),
        (("--state", "pruned"), [5, 7]),
        (("--state", "pruned", "--state", "paused"), [5, 7, 8]),
        (("--state", "queued"), [9]),
        (("--state", "dropped"), [10]),
        (("--state", "running"), []),
        (("--limit", "3"), [0, 1, 2]),
    ):
        assert [trial["number"] for trial in list_trials(studies, *options)] == numbers
    nothing = studies("trial", "list", "dropout", "--state", "running").out
    assert nothing == "0 of 12 trials of dropout:quick in storage/cifar-tune.db\n"
    pruned = list_trials(studies, "--state", "pruned")[0]
    assert pruned["epochs"] == 2
    assert pruned["best_val_accuracy"] >= pruned["val_accuracy"] > 0


def test_sorted_by_columns_and_hyperparameters(studies: Cli) -> None:
    for key, name in (("learning_rate", "learning_rate"), ("lr", "learning_rate")):
        values = [trial["params"].get(name, 9.0) for trial in list_trials(studies, "--sort", key)]
        assert values == sorted(values)
        assert len(set(values)) > 3
    for column, field in (("value", "val_accuracy"), ("epochs", "epochs"), ("elapsed", "seconds")):
        values = [trial[field] or -1 for trial in list_trials(studies, "--sort", column)]
        assert values == sorted(values, reverse=True)
        assert len(set(values)) > 2
    names = [trial["name"] for trial in list_trials(studies, "--sort", "name")]
    assert names[:4] == sorted(name for name in names if name)
    states = [trial["shown_state"] for trial in list_trials(studies, "--sort", "state")]
    assert states == sorted(states)


def test_what_is_wrong(studies: Cli) -> None:
    answer = studies("trial", "list", "dropout", "--sort", "valeu")
    assert answer.code == 2
    assert answer.err.startswith("error: --sort valeu: expected one of number, name, state, value")
    assert answer.err.endswith("; did you mean value?\n")
    assert studies("trial", "list", "dropout", "--state", "done").code == 2
    assert "is not stored" in studies("trial", "list", "transfer").err
