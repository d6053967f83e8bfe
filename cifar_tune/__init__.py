"""Hyperparameter studies of ResNet-18 on CIFAR-10 with Optuna.

Names are imported at their first use, so that ``import cifar_tune`` loads neither PyTorch nor
Optuna.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cifar_tune.api.best import (
        best_trials,
        confirm_best,
        evaluate_on_test,
        load_model,
        rerun_best,
    )
    from cifar_tune.api.results import history_dataframe, trials_dataframe, write_report
    from cifar_tune.api.runs import run_study
    from cifar_tune.api.studies import create_study, list_study_files, load_study, load_study_file
    from cifar_tune.config.study_file import StudySpec
    from cifar_tune.config.trial import TrialConfig
    from cifar_tune.errors import CifarTuneError
    from cifar_tune.evaluation.best import BestRecord
    from cifar_tune.evaluation.fresh_runs import Rerun
    from cifar_tune.evaluation.test_reads import TestResult
    from cifar_tune.search.objective import Objective
    from cifar_tune.search.outcome import StudyOutcome
    from cifar_tune.search.trial_callbacks import TrialCallback, TrialInfo
    from cifar_tune.tracking.mlflow import MLflowCallback
    from cifar_tune.tracking.tensorboard import TensorBoardCallback
    from cifar_tune.tracking.wandb import WandbCallback
    from cifar_tune.training.records import EpochMetrics, TrialResult

_MODULES = {
    "BestRecord": "evaluation.best",
    "CifarTuneError": "errors",
    "EpochMetrics": "training.records",
    "MLflowCallback": "tracking.mlflow",
    "Objective": "search.objective",
    "Rerun": "evaluation.fresh_runs",
    "StudyOutcome": "search.outcome",
    "StudySpec": "config.study_file",
    "TensorBoardCallback": "tracking.tensorboard",
    "TestResult": "evaluation.test_reads",
    "TrialCallback": "search.trial_callbacks",
    "TrialConfig": "config.trial",
    "TrialInfo": "search.trial_callbacks",
    "TrialResult": "training.records",
    "WandbCallback": "tracking.wandb",
    "best_trials": "api.best",
    "confirm_best": "api.best",
    "create_study": "api.studies",
    "evaluate_on_test": "api.best",
    "history_dataframe": "api.results",
    "list_study_files": "api.studies",
    "load_model": "api.best",
    "load_study": "api.studies",
    "load_study_file": "api.studies",
    "rerun_best": "api.best",
    "run_study": "api.runs",
    "trials_dataframe": "api.results",
    "write_report": "api.results",
}
"""The module of each public name."""

__all__ = [
    "BestRecord",
    "CifarTuneError",
    "EpochMetrics",
    "MLflowCallback",
    "Objective",
    "Rerun",
    "StudyOutcome",
    "StudySpec",
    "TensorBoardCallback",
    "TestResult",
    "TrialCallback",
    "TrialConfig",
    "TrialInfo",
    "TrialResult",
    "WandbCallback",
    "__version__",
    "best_trials",
    "confirm_best",
    "create_study",
    "evaluate_on_test",
    "history_dataframe",
    "list_study_files",
    "load_model",
    "load_study",
    "load_study_file",
    "rerun_best",
    "run_study",
    "trials_dataframe",
    "write_report",
]


if not TYPE_CHECKING:  # type checkers see the imports above, and know each wrong name

    def __getattr__(name: str) -> Any:
        """Import a public name."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"cifar_tune.{_MODULES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Return the public names, also those that were not used yet."""
    return sorted({*globals(), *__all__})
