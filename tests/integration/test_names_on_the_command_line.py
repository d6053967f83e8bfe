"""Commands take names as tables show them, and in full."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Cli
from made_up import MadeUp

FULL = "dropout/p=0.3/seed=1"


@pytest.fixture
def studies(cli: Cli) -> Cli:
    """The command line, in a folder with four named trials of one seed and three sampled ones."""
    made = MadeUp(Path("storage/cifar-tune.db").absolute(), "dropout", "quick")
    made.add_named(is_read=False)
    made.add_sampled(3)
    return cli


@pytest.mark.parametrize("trial", ["2", "#2", FULL, "p=0.3/seed=1", "dropout/p=0.3", "p=0.3"])
def test_a_trial_by_each_of_its_names(studies: Cli, trial: str) -> None:
    shown = studies("trial", "show", "dropout", trial, "--json")
    assert shown.code == 0, shown.err
    assert shown.record["summary"]["name"] == FULL


@pytest.mark.parametrize("study", ["dropout", "dropout:quick", "dropout:quick:"])
def test_a_study_by_each_of_its_names(studies: Cli, study: str) -> None:
    assert studies("best", "show", study, "--json").record["study_name"] == "dropout:quick"


def test_the_best_is_given_by_each_of_its_names(studies: Cli) -> None:
    full = ("best", "export", "dropout", "--out", "model")
    errors = {
        studies(*full, *option).err
        for option in (
            ("--trial", "2"),
            ("--trial", "#2"),
            ("--name", "p=0.3"),
        )
    }
    (error,) = errors  # the weights of that trial are made up
    assert "trial-2.safetensors" in error or "trial 2" in error


def test_what_is_unknown_is_refused_with_what_was_meant(studies: Cli) -> None:
    for command, said in (
        (("trial", "show", "dropout", "p=0.31"), "; did you mean dropout/p=0.3/seed=1?"),
        (("trial", "test", "dropout", "p=0.33"), "; did you mean dropout/p=0.3/seed=1?"),
        (("trial", "drop", "dropout", "p=0.3"), "p=0.3 of dropout:quick is complete"),
        (("best", "rerun", "dropout", "--name", "p=0.31"), "; did you mean dropout/p=0.3?"),
        (("best", "rerun", "dropout", "--trial", "p"), "'p' is no number of a trial"),
        (("study", "plan", "dropout", "--only", "p=0.31"), "; did you mean dropout/p=0.3?"),
        (("study", "plan", "dropout", "--set", "learnig_rate=1"), "did you mean learning_rate?"),
        (("study", "queue", "dropout", "--param", "augmnt=1"), "mean augmentation_strength?"),
        (("study", "show", "dropout:quick", "--profile", "assignment"), "expected quick, as in"),
        (("study", "show", "dropout:slow"), "--profile slow: expected one of the profiles"),
        (("study", "show", "dropout:quick:epochs"), "--set epochs: expected key=value"),
    ):
        answer = studies(*command)
        assert answer.code == 2, command
        assert said in answer.err, (command, answer.err)
        assert len(answer.err.splitlines()) == (1 if answer.err.startswith("error:") else 4)


def test_a_name_of_two_replicates_is_refused(cli: Cli) -> None:
    MadeUp(Path("s.db").absolute(), "dropout", "assignment").add_named(
        is_read=False, keeps_answers=False
    )
    command = ("trial", "show", "dropout", "p=0.3", "--storage", "s.db")
    names = ", ".join(f"dropout/p=0.3/seed={seed}" for seed in range(1, 6))
    assert cli(*command).err == (
        f"error: trial p=0.3 of dropout:assignment: expected one of {names}\n"
    )


def test_a_hyperparameter_is_queued_and_searched_by_its_short_name(studies: Cli) -> None:
    queued = studies("study", "queue", "dropout", "--param", "lr=0.001", "--json").record
    assert queued["params"] == {"learning_rate": 0.001}
    cancel = ("study", "queue", "dropout", "--cancel", f"#{queued['id']}")
    assert studies(*cancel).code == 0
    searched = studies("study", "plan", "dropout", "--set", "lr=0.01")
    assert "--set learning_rate: is searched by this study" in searched.err


def test_a_protocol_is_changed_by_a_short_name(cli: Cli) -> None:
    protocols = [
        cli("study", "show", "transfer:quick", "--set", f"{key}=0.01", "--json").record["profiles"]
        for key in ("learning_rate", "lr", "learning-rate")
    ]
    assert protocols[0]["quick"]["protocol"]["learning_rate"] == 0.01
    assert protocols[1:] == protocols[:-1]
