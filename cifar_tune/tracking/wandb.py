"""Runs of Weights & Biases: one group a study, one run a trial."""

from __future__ import annotations

from typing import Any

from cifar_tune.search.trial_callbacks import TrialCallback, TrialInfo
from cifar_tune.tracking.values import describe_trial, import_tracker, list_metrics, list_values
from cifar_tune.training.records import EpochMetrics


class WandbCallback(TrialCallback):
    """Log each trial as a run of Weights & Biases: hyperparameters, and metrics by epoch.

    The runs of a study are one group. A trial that is resumed gets a second run of its name, from
    the epoch on at which it is resumed.

    Needs ``cifar-tune[tracking]``. With ``study.optimize`` the callbacks of ``optuna-integration``
    work too; they log one value a trial, and no epochs.

    Args:
        project: The project of the runs.
        **settings: Further arguments of ``wandb.init``, such as ``mode="offline"`` or ``entity``.

    Raises:
        InputError: wandb is not installed.

    Example:
        >>> callback = ct.WandbCallback(project="cifar-tune", mode="offline")
        >>> outcome = ct.run_study("dropout", n_trials=5, callbacks=[callback])
    """

    def __init__(self, project: str = "cifar-tune", **settings: Any) -> None:
        self._wandb = import_tracker("wandb", "wandb", "tracking")
        self._settings = {"project": project, **settings}
        self._runs: dict[tuple[str, int], Any] = {}

    def trial_begun(self, info: TrialInfo) -> None:
        """Begin a run; several may be open at once."""
        self._runs[info.study_name, info.trial.number] = self._wandb.init(
            name=info.trial.name or f"trial {info.trial.number}",
            group=info.study_name,
            config={**describe_trial(info), **list_values(info)},
            reinit="create_new",
            **self._settings,
        )

    def epoch_ended(self, info: TrialInfo, metrics: EpochMetrics) -> None:
        """Log the metrics."""
        run = self._runs[info.study_name, info.trial.number]
        run.log(list_metrics(metrics), step=metrics.epoch, commit=True)

    def trial_ended(self, info: TrialInfo) -> None:
        """End the run."""
        run = self._runs.pop((info.study_name, info.trial.number))
        run.summary["state"] = info.trial.state
        run.finish(exit_code=1 if info.trial.state == "fail" else 0)
