"""What trackers are told of a trial, read back with their own readers."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cifar_tune as ct
from cifar_tune.config.trial import TrialConfig
from cifar_tune.storage.records import TrialSummary

STUDY = "dropout:quick"


def metrics(epoch: int) -> ct.EpochMetrics:
    return ct.EpochMetrics(epoch, 2.0 / epoch, 0.2 * epoch, 2.1 / epoch, 0.1 * epoch, 1.5)


def log_trial(
    callback: ct.TrialCallback, config: TrialConfig, first: int, last: int, state: str
) -> None:
    """Log the epochs of a trial from one to another, and how it ended."""
    trial = TrialSummary(number=3, seed=7, state="running", epochs=first - 1)
    info = ct.TrialInfo(STUDY, trial, config)
    callback.trial_begun(info)
    for epoch in range(first, last + 1):
        callback.epoch_ended(info, metrics(epoch))
    ended = dataclasses.replace(trial, state=state, epochs=last, val_accuracy=0.1 * last)
    callback.trial_ended(dataclasses.replace(info, trial=ended))


def test_tensorboard_has_every_epoch_once(
    make_config: Callable[..., TrialConfig], tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = make_config(epochs=3)
    log_trial(ct.TensorBoardCallback(tmp_path), config, 1, 2, "waiting")
    log_trial(ct.TensorBoardCallback(tmp_path), config, 3, 3, "complete")
    (study,) = tmp_path.iterdir()
    assert (study.name, [path.name for path in study.iterdir()]) == ("dropout_quick", ["trial-3"])
    events = EventAccumulator(str(study / "trial-3")).Reload()
    accuracies = [(event.step, round(event.value, 6)) for event in events.Scalars("val/accuracy")]
    assert accuracies == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert {"train/loss", "train/accuracy", "val/loss", "seconds"} <= set(events.Tags()["scalars"])
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_mlflow_has_one_run_of_a_trial(
    make_config: Callable[..., TrialConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # its database takes 20 s to make
    uri, config = f"file:{tmp_path}/runs", make_config(epochs=3)
    log_trial(ct.MLflowCallback(uri), config, 1, 2, "waiting")
    log_trial(ct.MLflowCallback(uri), config, 3, 3, "pruned")
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(STUDY)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "KILLED"
    assert run.data.tags["state"] == "pruned"
    assert run.data.params["dropout_rate"] == "0.3"
    history = client.get_metric_history(run.info.run_id, "val/accuracy")
    assert [(point.step, point.value) for point in history] == [
        (epoch, metrics(epoch).val_accuracy) for epoch in (1, 2, 3)
    ]


def test_wandb_is_told_the_same(make_config: Callable[..., TrialConfig], tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    class Kept(ct.WandbCallback):
        def trial_ended(self, info: ct.TrialInfo) -> None:
            (run,) = self._runs.values()
            seen.update({**run.config, **run.summary})
            seen.update(project=run.project, group=run.group, name=run.name)
            super().trial_ended(info)

    callback = Kept("studies", mode="offline", dir=str(tmp_path), settings={"silent": True})
    log_trial(callback, make_config(epochs=2), 1, 2, "complete")
    assert (seen["project"], seen["group"], seen["name"]) == ("studies", STUDY, "trial 3")
    assert (seen["dropout_rate"], seen["val/accuracy"]) == (0.3, metrics(2).val_accuracy)
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


@pytest.mark.parametrize(
    ("make", "module", "extra"),
    [
        (ct.TensorBoardCallback, "torch.utils.tensorboard", "tensorboard"),
        (ct.MLflowCallback, "mlflow.tracking", "tracking"),
        (ct.WandbCallback, "wandb", "tracking"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(
    make: Callable[[], Any], module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ct.CifarTuneError, match=rf"pip install 'cifar-tune\[{extra}\]'"):
        make()
