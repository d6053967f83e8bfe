"""The Python API on tiny studies of real images, and beside the command line."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from command_line import Cli
from optuna.trial import TrialState
from places import REPOSITORY
from processes import write_study

import cifar_tune as ct
from cifar_tune.config.schema import GP, PercentilePruner
from cifar_tune.errors import NonFiniteLossError
from cifar_tune.search import costs
from cifar_tune.storage.lease import hold_lease
from cifar_tune.storage.optuna_private import get_engine, get_study_id
from cifar_tune.wording import format_accuracy
from cifar_tune.workers import train_task

SMALL = {"train_images": 64, "validation_images": 50, "batch_size": 32}


def attributes(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    """What is stored with a trial, without what differs from run to run."""
    stored = {**trial.user_attrs, "facts": dict(trial.user_attrs["facts"])}
    stored["history"] = [{**epoch, "seconds": 0} for epoch in stored["history"]]
    return stored


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder with one study file of tiny trials; nothing of it measures or draws."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CIFAR_TUNE_STORAGE", raising=False)
    monkeypatch.setenv("CIFAR_TUNE_WORKERS", "inline")
    monkeypatch.setenv("CIFAR_TUNE_DATA", str(tmp_path / "no-data"))
    monkeypatch.setattr(costs, "MEASURE_SECONDS", 0.1)
    monkeypatch.setattr(costs, "STEP_SECONDS_MOST", 0.1)
    monkeypatch.setattr(train_task, "draw_pictures", lambda *_: None)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    Path("studies").mkdir()
    write_study(Path("studies/tiny.toml"), trials=2, names=("tiny/p=0.3",), keep_best=1)
    yield
    optuna.logging.set_verbosity(verbosity)


@pytest.fixture
def spec() -> ct.StudySpec:
    return ct.load_study_file("tiny", profile="quick", overrides=SMALL, seeds=1)


@pytest.fixture
def pruned_spec() -> ct.StudySpec:
    """Two epochs, four searched hyperparameters, a Gaussian process and a pruner."""
    spec = ct.load_study_file("joint", profile="quick", overrides={**SMALL, "epochs": 2})
    pruner = PercentilePruner(name="percentile", percentile=50, startup_trials=1, warmup_epochs=0)
    return spec.with_profile(sampler=GP(name="gp", startup_trials=2), pruner=pruner)


class Told(ct.TrialCallback):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def trial_begun(self, info: ct.TrialInfo) -> None:
        self.events.append(("begun", info.trial.number, info.trial.state, info.trial.epochs))

    def epoch_ended(self, info: ct.TrialInfo, metrics: ct.EpochMetrics) -> None:
        self.events.append(("epoch", info.trial.number, metrics.epoch))

    def trial_ended(self, info: ct.TrialInfo) -> None:
        self.events.append(("ended", info.trial.number, info.trial.state, info.study_name))


# --- study files and studies --------------------------------------------------------------------


def test_profiles_overrides_and_seeds(spec: ct.StudySpec) -> None:
    assert ct.list_study_files()["tiny"] == Path("studies/tiny.toml")
    assert spec.protocol.train_images == 64
    assert spec.profile.seeds == 1
    assert ct.load_study_file(Path("studies/tiny.toml")).study_name == "tiny:quick"
    with pytest.raises(ct.CifarTuneError, match=r"unknown study 'tinny'.*tiny"):
        ct.load_study_file("tinny")
    with pytest.raises(ct.CifarTuneError, match="epochs"):
        ct.load_study_file("tiny", profile="quick", overrides={"epochs": 0})


@pytest.mark.parametrize("storage", ["s.db", "sqlite:///s.db", Path("s.db"), None])
def test_storage_is_a_path_or_a_url(spec: ct.StudySpec, storage: Any) -> None:
    study = ct.create_study(spec, storage=storage, seed=3)
    assert study.user_attrs["seed"] == 3
    assert ct.load_study(spec.study_name, storage=storage).user_attrs["seed"] == 3
    assert Path("s.db" if storage else "storage/cifar-tune.db").is_file()
    with pytest.raises(ct.CifarTuneError, match=r"is stored in .* already"):
        ct.create_study(spec, storage=storage, load_if_exists=False)
    with pytest.raises(ct.CifarTuneError, match="study nothing is not stored"):
        ct.load_study("nothing", storage=storage)


def test_optuna_keeps_its_verbosity(spec: ct.StudySpec) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    ct.create_study(spec)
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


# --- Objective ----------------------------------------------------------------------------------


def test_optimize_gives_the_trials_of_a_run(pruned_spec: ct.StudySpec) -> None:
    spec = pruned_spec.with_profile(seeds=0)
    study = ct.create_study(spec, storage="plain.db", seed=1)
    study.optimize(ct.Objective(spec, device="cpu"), n_trials=4)
    ct.run_study(spec, storage="run.db", n_trials=4, seed=1, device="cpu")
    run = ct.load_study(spec.study_name, storage="run.db")
    assert [trial.state for trial in study.trials] == [trial.state for trial in run.trials]
    assert TrialState.PRUNED in [trial.state for trial in run.trials]
    for ours, other in zip(study.trials, run.trials, strict=True):
        assert ours.params == other.params
        assert ours.value == other.value
        assert ours.intermediate_values == other.intermediate_values
        assert attributes(ours) == attributes(other)
    assert study.user_attrs["protocol"] == run.user_attrs["protocol"]


def test_a_run_goes_on_after_optimize(spec: ct.StudySpec, cli: Cli) -> None:
    study = ct.create_study(spec)
    study.optimize(ct.Objective(spec), n_trials=1)
    outcome = ct.run_study(spec)
    assert [trial.origin for trial in outcome.trials] == ["sampled", "named", "sampled"]
    assert len({trial.seed for trial in outcome.trials}) == 3
    assert outcome.is_done
    assert ct.run_study(spec).trials_run == 0
    shown = cli("study", "show", "tiny", "--profile", "quick", "--set", "train_images=64",
                "--set", "validation_images=50", "--json").record["stored"]  # fmt: skip
    assert [trial["state"] for trial in shown[0]["trials"]] == ["complete"] * 3


def test_an_enqueued_trial_is_the_studys_own_or_is_refused(
    spec: ct.StudySpec, caplog: pytest.LogCaptureFixture
) -> None:
    study = ct.create_study(spec)
    study.enqueue_trial({"dropout_rate": 0.25})
    study.enqueue_trial({"dropout_rate": 5.0})
    study.optimize(ct.Objective(spec), n_trials=3)
    first, second, third = study.trials
    assert first.params["dropout_rate"] == 0.25
    assert first.user_attrs["queued"]["trial"] == 0
    assert second.state == TrialState.FAIL
    assert second.user_attrs["failure"]["kind"] == "refused"
    assert "trial 1 (queued) is refused: dropout_rate = 5.0" in caplog.text
    assert len({trial.user_attrs["seed"] for trial in (first, third)}) == 2
    assert [*ct.trials_dataframe(study).origin] == ["queued", "queued", "sampled"]


def test_an_interrupted_trial_is_trained_again_by_a_run(spec: ct.StudySpec) -> None:
    class Interrupts(ct.TrialCallback):
        def trial_begun(self, info: ct.TrialInfo) -> None:  # noqa: ARG002
            raise KeyboardInterrupt

    study = ct.create_study(spec)
    with pytest.raises(KeyboardInterrupt):
        study.optimize(ct.Objective(spec, callbacks=[Interrupts()]), n_trials=1)
    (trial,) = study.trials
    assert trial.user_attrs["failure"]["kind"] == "interrupted"
    outcome = ct.run_study(spec)
    trials = ct.load_study(spec.study_name).trials
    (again,) = [other for other in trials if other.user_attrs.get("retry_of") == 0]
    assert again.params == trial.params
    assert outcome.is_done


def test_a_trial_that_a_run_paused_is_resumed_by_optimize(
    pruned_spec: ct.StudySpec, stop_after: Any
) -> None:
    with stop_after(4):
        outcome = ct.run_study(pruned_spec, n_trials=0)
    assert outcome.interrupted
    assert outcome.trials[0].state == "waiting"
    told = Told()
    study = ct.create_study(pruned_spec)
    study.optimize(ct.Objective(pruned_spec, callbacks=[told]), n_trials=1)
    (trial,) = study.trials
    assert trial.state == TrialState.COMPLETE
    assert [epoch["epoch"] for epoch in trial.user_attrs["history"]] == [1, 2]
    assert trial.user_attrs["restarts"][0]["steps"] > 0 or trial.user_attrs["restarts"][0]["epochs"]
    assert told.events[0][:3] == ("begun", 0, "running")


def test_a_loss_that_is_not_finite_is_recorded_and_the_search_goes_on(spec: ct.StudySpec) -> None:
    def explode(*_: Any) -> None:
        raise NonFiniteLossError(1, 2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cifar_tune.search.own_trial.train", explode)
        study = ct.create_study(spec)
        study.optimize(ct.Objective(spec), n_trials=2)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 2
    assert study.trials[0].user_attrs["failure"]["kind"] == "not_finite"


def test_a_study_that_another_process_runs_is_refused(spec: ct.StudySpec) -> None:
    study = ct.create_study(spec)
    with (
        hold_lease(get_engine(study), get_study_id(study), study.study_name, lambda _: None),
        pytest.raises(ct.CifarTuneError, match="is being run by process"),
    ):
        study.optimize(ct.Objective(spec), n_trials=1)
    other = ct.load_study_file("tiny", profile="quick")
    with pytest.raises(ct.CifarTuneError, match="expected tiny:quick, the study of this"):
        study.optimize(ct.Objective(other), n_trials=1)


def test_any_other_study_of_optunas(spec: ct.StudySpec) -> None:
    told = Told()
    study = optuna.create_study(direction="maximize")
    objective = ct.Objective(spec, callbacks=[told])
    study.optimize(objective, n_trials=1)
    (trial,) = study.trials
    assert trial.intermediate_values == {1: trial.value}
    assert trial.user_attrs["config"]["train_images"] == 64
    fixed = optuna.trial.FixedTrial({**trial.params}, number=trial.number)
    config = objective.suggest(fixed)
    assert config.digest == spec.config(trial.params, config.seed).digest
    assert objective.train(config).val_accuracy == trial.value
    assert [event[0] for event in told.events] == ["begun", "epoch", "ended"]
    assert [*ct.trials_dataframe(study).state] == ["complete"]


# --- run_study ----------------------------------------------------------------------------------


def test_callbacks_are_told_and_a_broken_one_loses_nothing(
    spec: ct.StudySpec, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(ct.TrialCallback):
        def epoch_ended(self, *_: Any) -> None:
            raise RuntimeError("no\x1b server")

    told = Told()
    outcome = ct.run_study(spec, n_trials=1, callbacks=[Broken(), told])
    assert outcome.is_done
    name = spec.study_name
    assert told.events == [
        ("begun", 0, "running", 0), ("epoch", 0, 1), ("ended", 0, "complete", name),
        ("begun", 1, "running", 0), ("epoch", 1, 1), ("ended", 1, "complete", name),
    ]  # fmt: skip
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "callback Broken: epoch_ended failed at trial 0" in warning.getMessage()
    assert "\x1b" not in warning.getMessage()


def test_an_interrupt_ends_a_run_with_its_outcome(spec: ct.StudySpec, stop_after: Any) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    told = Told()
    with stop_after(2):
        outcome = ct.run_study(spec, callbacks=[told])
    assert outcome.interrupted
    assert not outcome.is_done
    assert told.events[-1][:3] == ("ended", 0, "waiting")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert ct.run_study(spec).is_done


def test_optimize_in_threads_trains_one_trial_at_a_time(spec: ct.StudySpec) -> None:
    study = ct.create_study(spec)
    study.optimize(ct.Objective(spec), n_trials=3, n_jobs=3)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    assert len({trial.user_attrs["seed"] for trial in study.trials}) == 3
    assert len({trial.params["dropout_rate"] for trial in study.trials}) == 3


def test_a_run_in_another_thread(spec: ct.StudySpec) -> None:
    outcomes: list[ct.StudyOutcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(ct.run_study(spec, n_trials=0)))
    thread.start()
    thread.join()
    assert outcomes[0].is_done


def test_bad_arguments_are_errors_of_one_line(spec: ct.StudySpec) -> None:
    for arguments, words in (
        ({"workers": 0}, "--workers 0: expected"),
        ({"timeout": "soon"}, "--timeout soon: expected a duration"),
        ({"timeout": 0.0}, "--timeout 0.0"),
        ({"device": "tpu"}, "--device tpu: expected"),
        ({"n_trials": -1}, "n_trials = -1: expected a whole number from 0"),
        ({"n_trials": 1.5}, "n_trials = 1.5: expected a whole number"),
        ({"seed": -1}, "seed = -1: expected a whole number from 0"),
        ({"storage": "sqlite://"}, "--storage sqlite://: expected a file"),
    ):
        with pytest.raises(ct.CifarTuneError) as error:
            ct.run_study(spec, **arguments)  # type: ignore[arg-type]
        assert words in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(ct.CifarTuneError, match="seed = 'one'"):
        ct.create_study(spec, seed="one")  # type: ignore[arg-type]
    with pytest.raises(ct.CifarTuneError, match="seeds = 0: expected a whole number from 1"):
        ct.load_study_file("tiny", profile="quick", seeds=0)
    assert not Path("storage").exists()


# --- what is stored ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with a named trial and two sampled ones."""
    folder = tmp_path_factory.mktemp("stored")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(costs, "MEASURE_SECONDS", 0.1)
        patch.setattr(costs, "STEP_SECONDS_MOST", 0.1)
        patch.setattr(train_task, "draw_pictures", lambda *_: None)
        write_study(Path("tiny.toml"), trials=2, names=("tiny/p=0.3",), keep_best=1)
        small = ct.load_study_file("tiny.toml", profile="quick", overrides=SMALL, seeds=1)
        assert ct.run_study(small, workers="inline").is_done
    return folder / "storage"


@pytest.fixture
def trained(spec: ct.StudySpec, stored: Path) -> ct.StudySpec:
    shutil.copytree(stored, "storage")
    return spec


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


def test_nothing_is_printed(spec: ct.StudySpec, capfd: pytest.CaptureFixture[str]) -> None:
    study = ct.create_study(spec)
    study.optimize(ct.Objective(spec), n_trials=1)
    ct.run_study(spec, n_trials=1, workers="inline")
    ct.best_trials(spec)
    ct.write_report(spec)
    ct.load_model(study.best_trial)
    assert capfd.readouterr() == ("", "")
    assert dataclasses.is_dataclass(spec)
    assert os.environ["CIFAR_TUNE_WORKERS"] == "inline"


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


# --- the command line ----------------------------------------------------------------------------


def test_a_run_is_logged_to_tensorboard(spec: ct.StudySpec, cli: Cli) -> None:
    run = ["study", "run", "tiny", "--only", "tiny/p=0.3", "--seeds", "1", "--log", "tensorboard"]
    for key, value in spec.overrides.items():
        run += ["--set", f"{key}={value}"]
    answer = cli(*run)
    assert answer.code == 0, answer.err
    assert "tensorboard --logdir storage/cifar-tune-tensorboard" in answer.out
    (trial,) = Path("storage/cifar-tune-tensorboard").glob("tiny_quick*/trial-0")
    assert any(path.name.startswith("events.out.tfevents") for path in trial.iterdir())


# --- the documentation ---------------------------------------------------------------------------

FEWER = {
    '{"epochs": 3}': repr(SMALL),
    "seeds=2": "seeds=1",
    "n_trials=5": "n_trials=2",
    'n_trials=20, timeout="2h", workers=4': 'n_trials=1, timeout="2h", workers="inline"',
    "n_seeds=3": "n_seeds=1",
    "n_seeds=5": "n_seeds=1",
}
"""What the first block of the page is run with, in the place of its numbers."""


def test_the_block_of_the_documentation_runs() -> None:
    write_study(Path("studies/dropout.toml"), trials=2, names=("dropout/p=0.3",), keep_best=1)
    page = (REPOSITORY / "docs" / "python-api.md").read_text(encoding="utf-8")
    block = page.partition("```python\n")[2].partition("```")[0]
    for number, fewer in FEWER.items():
        assert block.count(number) >= 1, number
        block = block.replace(number, fewer)
    names: dict[str, Any] = {}
    exec(block, names)
    assert [trial.origin for trial in names["outcome"].trials] == [
        "sampled", "sampled", "named", "sampled",
    ]  # fmt: skip
    assert isinstance(names["model"], torch.nn.Module)
    assert Path("report.html").is_file()
