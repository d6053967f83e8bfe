"""The best configuration: shown, confirmed, and re-run on the test images."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from best_study import CONFIRM, NAMES, RERUN, said, stored, trials
from command_line import Cli, run_dropout


def test_show_says_which_is_the_best_and_how_much_of_it_is_luck(study: Cli) -> None:
    record = study("best", "show", "dropout", "--json").record
    values = {trial.user_attrs.get("name", "").rpartition("/")[0] or
              f"sampled/trial-{trial.number}": trial.value
              for trial in trials("dropout:")
              if trial.value is not None}  # fmt: skip
    assert record["observed_best"] == max(values, key=lambda name: values[name])
    first = record["shortlist"][0]
    assert first["name"] == record["likely_best"]
    assert first["low"] < first["expected"] < first["high"]
    assert {one["name"] for one in record["shortlist"]} <= values.keys()
    assert record["lead"] >= 0
    assert record["seed_sd"] is None
    assert (record["confirmation"], record["reruns"]) == (None, [])
    assert record["test_use"] == {
        "reads": 0,
        "configurations": 0,
        "trials_after": 0,
        "flagged": False,
    }
    text = said(study, "best", "show", "dropout")
    assert "Best by validation" in text
    assert "of that is likely noise" in text
    assert "the standard deviation over seeds is not measured" in text
    assert "is best (a guess)" in text
    assert "have not been read" in text


def test_confirm_runs_the_short_list_on_fresh_seeds_and_never_feeds_the_search(study: Cli) -> None:
    before = [(trial.number, trial.value) for trial in trials("dropout:")]
    first = study("best", "confirm", "dropout", "--seeds", "1", "--top", "2", "--json")
    assert first.code == 0, first.err
    record = study("best", "confirm", "dropout", "--seeds", "2", "--top", "2", "--json").record
    found = record["confirmation"]
    assert found["seeds"] == 2
    assert len(found["candidates"]) == 2
    assert [(trial.number, trial.value) for trial in trials("dropout:")] == before
    fresh = trials(CONFIRM)
    assert len(fresh) == 4  # those of the first run were not run again
    used = {trial.user_attrs["seed"] for trial in trials("dropout:")}
    seeds = [trial.user_attrs["seed"] for trial in fresh]
    assert used.isdisjoint(seeds)
    assert len(set(seeds)) == 2  # in pairs
    best, other = found["candidates"]
    assert best["name"] == found["best"]
    assert best["val_accuracy"]["mean"] >= other["val_accuracy"]["mean"]
    assert best["shrinkage"] == pytest.approx(best["observed"] - best["val_accuracy"]["mean"])
    assert best["behind_best"] is None
    assert other["behind_best"]["seeds"] == 2
    shown = study("best", "show", "dropout", "--json").record
    assert shown["confirmation"] == found
    assert shown["likely_best"] == found["best"]
    assert shown["seed_sd"] is not None
    text = said(study, "best", "show", "dropout")
    assert text.index("Confirmed best") < text.index("Best by validation")
    command = ("best", "confirm", "dropout", "--seeds", "2", "--top", "2")
    text = said(study, *command)
    assert "Confirmed best" in text
    assert "Next: Train the best configuration again and test it: cifar-tune best rerun" in text
    assert study(*command, "--quiet").out.startswith("Confirmed best: ")
    assert study(*command, "--quiet").out.count("\n") == 1
    # A study of the file is still the only one that other commands see.
    assert (
        study("study", "show", "dropout", "--json")
        .record["stored"][0]["study_name"]
        .startswith("dropout:quick")
    )
    assert study("report", "dropout", "--json").code == 0


def test_rerun_reads_each_seed_once_and_writes_it_down(study: Cli) -> None:
    command = ("best", "rerun", "dropout", "--seeds", "2", "--name", NAMES[2], "--json")
    record = study(*command).record
    rerun = record["rerun"]
    assert rerun["name"] == NAMES[2]
    assert rerun["test_accuracy"]["seeds"] == 2
    values = [one["test_accuracy"] for one in rerun["replicates"]]
    assert rerun["test_accuracy"]["mean"] == pytest.approx(sum(values) / 2)
    reads = study("test-reads", "--json").record["test_reads"]
    assert [one["accuracy"] for one in reads] == values
    assert [one["seed"] for one in reads] == [one["seed"] for one in rerun["replicates"]]
    assert all(one["command"].startswith("cifar-tune") for one in reads)
    # Again: nothing is trained and nothing is read.
    assert study(*command).record["rerun"] == rerun
    assert len(study("test-reads", "--json").record["test_reads"]) == 2
    assert record["test_use"] == {
        "reads": 2,
        "configurations": 1,
        "trials_after": 0,
        "flagged": False,
    }


def test_choosing_after_the_test_images_were_read_is_flagged(study: Cli) -> None:
    for name in NAMES[:2]:
        assert study("best", "rerun", "dropout", "--seeds", "1", "--name", name).code == 0
    use = study("best", "show", "dropout", "--json").record["test_use"]
    assert (use["reads"], use["configurations"], use["flagged"]) == (2, 2, True)
    assert "Picking by test scores biases" in said(study, "best", "show", "dropout")
    assert "Picking by test scores biases" in _page(study)
    run_dropout(study, "--trials", "1")
    use = study("best", "show", "dropout", "--json").record["test_use"]
    assert use["trials_after"] >= 1
    assert "run after the first read" in said(study, "best", "show", "dropout")


def _page(cli: Cli) -> str:
    assert cli("report", "dropout", "--out", "page.html").code == 0
    return Path("page.html").read_text(encoding="utf-8")


def test_training_on_the_validation_images_too(study: Cli) -> None:
    record = study(
        "best", "rerun", "dropout", "--seeds", "1", "--train-on", "train+val", "--json"
    ).record
    rerun = record["rerun"]
    assert rerun["train_on"] == "train+val"
    assert rerun["val_accuracy"] is None
    assert rerun["replicates"][0]["val_accuracy"] is None
    assert rerun["test_accuracy"]["seeds"] == 1
    (trial,) = trials("dropout/rerun-all:quick")
    assert trial.user_attrs["config"]["train_on"] == "train+val"


def test_the_ledger_cannot_be_changed_and_outlives_the_study(study: Cli) -> None:
    study("best", "rerun", "dropout", "--seeds", "1", "--trial", "0")
    with closing(sqlite3.connect("storage/cifar-tune.db")) as database:
        for statement in ("DELETE FROM", "UPDATE"):
            change = " SET accuracy = 1" if statement == "UPDATE" else ""
            with pytest.raises(sqlite3.IntegrityError, match="only ever added to"):
                database.execute(f"{statement} cifar_tune_test_read{change}")
    url = "sqlite:///storage/cifar-tune.db"
    for name in optuna.get_all_study_names(url):
        optuna.delete_study(study_name=name, storage=url)
    assert len(study("test-reads", "--json").record["test_reads"]) == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("show", "transfer"), "transfer: is not stored"),
        (("rerun", "dropout", "--trial", "99"), "no complete trial of that number"),
        (("rerun", "dropout", "--name", "dropout/p=0.9"), "no complete trial of that name"),
        (("rerun", "dropout", "--name", NAMES[0], "--trial", "0"), "expected one of the two"),
        (("export", "dropout", "--trial", "4", "--out", "m"), "trains it again"),
        (("export", "dropout", "--trial", "0", "--train-on", "train+val", "--out", "m"), "was not"),
        (("export", "dropout", "--trial", "0", "--out", "storage"), "is not empty"),
    ],
)
def test_what_cannot_be_done(study: Cli, arguments: tuple[str, ...], reason: str) -> None:
    answer = study("best", *arguments)
    assert answer.code == 2
    assert reason in answer.err
    assert answer.err.count("\n") == 1
    assert stored(RERUN) is None


def test_a_storage_of_a_newer_version(study: Cli) -> None:
    found = stored("dropout:")
    assert found is not None
    found.set_user_attr("format", 99)
    for command in (("best", "show"), ("best", "rerun"), ("study", "show"), ("report",)):
        answer = study(*command, "dropout")
        assert answer.code == 2
        assert "written by a newer cifar-tune (format 99)" in answer.err


def test_no_complete_trial(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("the sky fell")

    monkeypatch.setattr("cifar_tune.training.trainer.train_epoch", fail)
    run_dropout(cli, "--trials", "0")
    answer = cli("best", "show", "dropout")
    assert answer.code == 2
    assert "no trial is complete" in answer.err
