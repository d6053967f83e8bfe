"""The best configuration without each of its hyperparameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from command_line import TINY, Cli

NAME = "beyond-scratch"
USUAL = "beyond-scratch/usual"
OPTIONS = (*TINY, "--epochs", "1")
ABLATE = ("best", "ablate", NAME, *OPTIONS, "--name", USUAL, "--seeds", "2")


@pytest.fixture
def study(cli: Cli) -> Cli:
    """The command line, in a folder where one of the named trials and a sampled one are trained."""
    answer = cli("study", "run", NAME, *OPTIONS, "--only", USUAL, "--trials", "1", "--json")
    assert answer.code == 0, answer.err
    assert [trial["name"] for trial in answer.record["trials"]] == [f"{USUAL}/seed=1", None]
    return cli


def trials_of_reruns() -> dict[str, optuna.trial.FrozenTrial]:
    url = "sqlite:///storage/cifar-tune.db"
    name = next(one for one in optuna.get_all_study_names(url) if "/rerun:" in one)
    found = optuna.load_study(study_name=name, storage=url).get_trials()
    return {trial.user_attrs["name"]: trial for trial in found}


def check_refusals(study: Cli) -> None:
    """What cannot be put back is said in a line, and nothing is trained."""
    for options, said in (
        (("--against", "none"), "--against none: expected a named trial: beyond-scratch/report"),
        (("--against", USUAL), f"{USUAL}: already has the values of the named trial"),
        (("--only", "weight_decay,momentum"), "momentum is not one of the hyperparameters that"),
        (("--trial", "0"), "--trial and --name: expected one of the two"),
    ):
        answer = study(*ABLATE, *options)
        assert answer.code == 2
        assert said in answer.err
        assert "Traceback" not in answer.err


def test_each_is_put_back_beside_the_reruns_and_compared_in_pairs(study: Cli) -> None:
    check_refusals(study)
    groups = ("--only", "weight_decay", "--only", "crop_padding,flip_probability")
    answer = study(*ABLATE, *groups, "--json")
    assert answer.code == 0, answer.err
    found: dict[str, Any] = answer.record["ablation"]
    assert (found["name"], found["val_accuracy"]["seeds"]) == (USUAL, 2)
    values = {tuple(one["values"].items()) for one in found["parts"]}
    assert values == {
        (("weight_decay", 0.0),),
        (("crop_padding", 0), ("flip_probability", 0.0)),
    }
    trials = trials_of_reruns()
    for part in found["parts"]:
        label = f"{USUAL}-without-{'+'.join(part['values'])}"
        pairs = [(trials[f"{USUAL}/seed={k}"], trials[f"{label}/seed={k}"]) for k in (1, 2)]
        differences = [(one.value or 0) - (other.value or 0) for one, other in pairs]
        assert part["loss"]["mean"] == pytest.approx(sum(differences) / 2)
        for one, other in pairs:
            own, without = one.user_attrs["config"], other.user_attrs["config"]
            changed = {key for key in own if own[key] != without.get(key)}
            assert changed == part["values"].keys()
    losses = [one["loss"]["mean"] for one in found["parts"]]
    assert losses == sorted(losses, reverse=True)

    # The re-runs are those that were trained already, and the test images were not read.
    rerun = study("best", "rerun", NAME, *OPTIONS, "--name", USUAL, "--seeds", "2", "--json")
    assert rerun.record["test_use"]["reads"] == 2
    assert trials_of_reruns().keys() == trials.keys()
    shown = study("best", "show", NAME, *OPTIONS, "--json").record
    assert [one["name"] for one in shown["ablations"]] == [USUAL]
    again = study(*ABLATE, *groups)
    assert "2 of 2" not in again.out
    assert "accuracy lost" in again.out
    page = study("report", NAME, *OPTIONS, "--out", "page.html")
    assert page.code == 0, page.err
    assert "without each of its hyperparameters" in Path("page.html").read_text(encoding="utf-8")
