"""Hyperparameter studies of ResNet-18 on CIFAR-10 that stand up to a reader.

Names are imported at their first use, so that ``import cifar_tune`` loads neither PyTorch nor
Optuna.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cifar_tune.api.runs import run_study
    from cifar_tune.api.studies import create_study, list_study_files, load_study, load_study_file
    from cifar_tune.config.study_file import StudySpec
    from cifar_tune.config.trial import TrialConfig
    from cifar_tune.errors import CifarTuneError
    from cifar_tune.search.objective import Objective
    from cifar_tune.search.runner import StudyOutcome
    from cifar_tune.search.trial_callbacks import TrialCallback, TrialInfo
    from cifar_tune.training.records import EpochMetrics, TrialResult

_MODULES = {
    "CifarTuneError": "errors",
    "EpochMetrics": "training.records",
    "Objective": "search.objective",
    "StudyOutcome": "search.runner",
    "StudySpec": "config.study_file",
    "TrialCallback": "search.trial_callbacks",
    "TrialConfig": "config.trial",
    "TrialInfo": "search.trial_callbacks",
    "TrialResult": "training.records",
    "create_study": "api.studies",
    "list_study_files": "api.studies",
    "load_study": "api.studies",
    "load_study_file": "api.studies",
    "run_study": "api.runs",
}
"""The module of each public name."""

__all__ = [
    "CifarTuneError",
    "EpochMetrics",
    "Objective",
    "StudyOutcome",
    "StudySpec",
    "TrialCallback",
    "TrialConfig",
    "TrialInfo",
    "TrialResult",
    "__version__",
    "create_study",
    "list_study_files",
    "load_study",
    "load_study_file",
    "run_study",
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
