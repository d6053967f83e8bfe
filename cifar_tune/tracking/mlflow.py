"""Runs of MLflow: one experiment a study, one run a trial."""

from __future__ import annotations

from typing import Any

from cifar_tune.search.trial_callbacks import TrialCallback, TrialInfo
from cifar_tune.tracking.values import describe_trial, import_tracker, list_metrics, list_values
from cifar_tune.training.records import EpochMetrics

_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "fail": "FAILED"}


class MLflowCallback(TrialCallback):
    """Log each trial as a run of MLflow: hyperparameters, tags, and metrics by epoch.

    The experiment is called after the study. A trial that is resumed goes on in its run. Pruned
    trials have the status ``KILLED`` and the tag ``state`` says so.

    Needs ``cifar-tune[tracking]``. With ``study.optimize`` the callbacks of ``optuna-integration``
    work too; they log one value a trial, and no epochs.

    Args:
        tracking_uri: Where MLflow stores runs, such as ``sqlite:///mlflow.db`` or the address of a
            server; None takes ``$MLFLOW_TRACKING_URI``, else MLflow's default.

    Raises:
        InputError: MLflow is not installed.

    Example:
        >>> callback = ct.MLflowCallback("sqlite:///mlflow.db")
        >>> outcome = ct.run_study("dropout", n_trials=5, callbacks=[callback])
    """

    def __init__(self, tracking_uri: str | None = None) -> None:
        tracking = import_tracker("mlflow.tracking", "mlflow", "tracking")
        self._client = tracking.MlflowClient(tracking_uri)
        self._runs: dict[tuple[str, int], str] = {}

    def trial_begun(self, info: TrialInfo) -> None:
        """Begin a run, or take that of a trial that is resumed."""
        experiment = self._find_experiment(info.study_name)
        run_id = self._find_run(experiment, info) if info.trial.epochs else None
        if run_id is None:
            run_name = info.trial.name or f"trial {info.trial.number}"
            run = self._client.create_run(experiment, tags=describe_trial(info), run_name=run_name)
            run_id = run.info.run_id
            for key, value in list_values(info).items():
                self._client.log_param(run_id, key, value)
        else:
            self._client.update_run(run_id, status="RUNNING")
        self._runs[info.study_name, info.trial.number] = run_id

    def epoch_ended(self, info: TrialInfo, metrics: EpochMetrics) -> None:
        """Log the metrics."""
        run_id = self._runs[info.study_name, info.trial.number]
        for name, value in list_metrics(metrics).items():
            self._client.log_metric(run_id, name, value, step=metrics.epoch)

    def trial_ended(self, info: TrialInfo) -> None:
        """End the run, unless the trial is paused."""
        run_id = self._runs.pop((info.study_name, info.trial.number))
        state = info.trial.state
        self._client.set_tag(run_id, "state", state)
        if state in _STATUS:
            self._client.set_terminated(run_id, _STATUS[state])

    def _find_experiment(self, study_name: str) -> str:
        experiment: Any = self._client.get_experiment_by_name(study_name)
        if experiment is None:
            return str(self._client.create_experiment(study_name))
        return str(experiment.experiment_id)

    def _find_run(self, experiment: str, info: TrialInfo) -> str | None:
        wanted = f"tags.trial = '{info.trial.number}'"
        runs = self._client.search_runs([experiment], wanted, max_results=1)
        return str(runs[0].info.run_id) if runs else None
