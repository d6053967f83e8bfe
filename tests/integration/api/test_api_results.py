"""What the Python API returns of a stored study."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import Cli

import cifar_tune as ct
from cifar_tune.wording import format_accuracy


def test_dataframes(trained: ct.StudySpec) -> None:
    study = ct.load_study(trained.study_name)
    trials = ct.trials_dataframe(study)
    assert list(trials) == [
        "number", "origin", "name", "replicate", "seed", "state", "params.dropout_rate",
        "params.learning_rate", "epochs", "val_accuracy", "test_accuracy", "seconds", "failure",
    ]  # fmt: skip
    assert [*trials.val_accuracy] == [trial.value for trial in study.trials]
    assert trials.replicate.tolist()[0] == 1
    assert trials.equals(ct.trials_dataframe(trained))
    history = ct.history_dataframe("tiny")
    assert list(history) == [
        "number", "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds",
    ]  # fmt: skip
    assert [*history.number] == [0, 1, 2]
    assert [*history.val_accuracy] == [*trials.val_accuracy]


def test_an_empty_study_has_empty_dataframes(spec: ct.StudySpec) -> None:
    study = ct.create_study(spec)
    assert len(ct.trials_dataframe(study)) == 0
    assert list(ct.history_dataframe(study))[:2] == ["number", "epoch"]


def test_pandas_is_asked_for_in_one_line(
    trained: ct.StudySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ct.CifarTuneError, match=r"pip install 'cifar-tune\[notebook\]'"):
        ct.trials_dataframe(trained)


def test_the_best_is_confirmed_run_again_and_loaded(
    trained: ct.StudySpec, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    best = ct.best_trials(trained)
    frame = best.to_frame()
    assert [*frame.name] == [it.candidate.label for it in best.ranking.standings]
    confirmed = ct.confirm_best(trained, n_seeds=1, top=2)
    assert confirmed.confirmation is not None
    assert len(confirmed.confirmation.candidates) == 2
    assert confirmed.test_use.reads == 0
    rerun = ct.rerun_best(trained, n_seeds=1)
    assert rerun.test_accuracy is not None
    assert f"test accuracy {format_accuracy(rerun.test_accuracy.mean)}" in rerun._repr_html_()
    assert rerun.test_accuracy.seeds == 1
    assert ct.rerun_best(trained, n_seeds=1) == rerun  # no image was read again
    assert capsys.readouterr() == ("", "")

    (read,) = cli("test-reads", "--json").record["test_reads"]
    assert read["accuracy"] == rerun.test_accuracy.mean
    assert read["command"] == f"cifar_tune.rerun_best({trained.study_name!r}, n_seeds=1)"
    shown = cli("best", "show", "tiny", "--json").record
    assert shown["likely_best"] == confirmed.likely_best.label
    assert ct.write_report(trained, "report.html") == Path("report.html")
    assert "On fresh seeds" in Path("report.html").read_text(encoding="utf-8")


def test_a_model_is_loaded_as_it_was_trained(trained: ct.StudySpec) -> None:
    study = ct.load_study(trained.study_name)
    model = ct.load_model(study.best_trial)
    assert not model.training
    config = study.best_trial.user_attrs["config"]
    from cifar_tune.data.loader import place, validation_batches
    from cifar_tune.data.search_data import load_search_data

    full = trained.config(study.best_trial.params, config["seed"])
    split = load_search_data("bundled", Path()).split(full).validation
    batches = validation_batches(place(split, full, torch.device("cpu")), full, 0)
    with torch.inference_mode():
        right = [model(images).argmax(1) == labels for images, labels in batches]
    assert torch.cat(right).float().mean().item() == pytest.approx(study.best_value)

    result = ct.evaluate_on_test(study.best_trial, study=trained, device="cpu")
    assert result.trial == study.best_trial.number
    frame = ct.trials_dataframe(study)
    assert frame.test_accuracy[study.best_trial.number] == result.accuracy
    assert np.isnan(frame.test_accuracy).sum() == 2 or math.isfinite(result.accuracy)


def test_a_model_of_another_trial_is_refused(trained: ct.StudySpec) -> None:
    study = ct.load_study(trained.study_name)
    with pytest.raises(ct.CifarTuneError, match=r"is not of a study that is stored in other\.db"):
        ct.load_model(study.best_trial, storage="other.db")
    worse = min(study.trials[1:], key=lambda trial: trial.value)
    with pytest.raises(ct.CifarTuneError, match=r"weights (were not kept|cannot be read)"):
        ct.load_model(worse)


def test_what_does_not_end_is_an_error(trained: ct.StudySpec, stop_after: Any) -> None:
    with pytest.raises(ct.CifarTuneError, match="1 trial left: the time limit"):
        ct.confirm_best(trained, n_seeds=1, top=1, timeout=1e-3)
    with stop_after(1), pytest.raises(KeyboardInterrupt):
        ct.rerun_best(trained, n_seeds=1)
    with pytest.raises(ct.CifarTuneError, match="no complete trial of that number"):
        ct.rerun_best(trained, trial=99)


def test_results_show_themselves_in_a_notebook(trained: ct.StudySpec) -> None:
    outcome = ct.run_study(trained, n_trials=0)
    best = ct.best_trials(trained)
    for shown in (outcome._repr_html_(), best._repr_html_()):
        assert shown.count("<tr>") == 4  # the head and three trials
        assert "tiny/p=0.3" in shown
        assert "%" in shown
    assert "3 complete; best by validation" in outcome._repr_html_()
    evil = dataclasses.replace(outcome.trials[0], name="<script>alert(1)</script>")
    html = dataclasses.replace(outcome, trials=(evil,), why_left="<b>")._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
