"""A study that this process may write: what its parts of a run share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial

from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.trial import TrialConfig
from cifar_tune.search.plan import example_config
from cifar_tune.search.requests import check_requests
from cifar_tune.search.work_list import WorkList
from cifar_tune.storage.lease import Lease
from cifar_tune.storage.location import StorageLocation
from cifar_tune.storage.optuna_private import get_engine, get_stored_trial
from cifar_tune.storage.records import REFUSED
from cifar_tune.storage.study_files import StudyFiles
from cifar_tune.storage.study_folders import claim_folder
from cifar_tune.storage.trials import set_aside


@dataclass(frozen=True)
class OpenStudy:
    """A study whose lease is held, as runs before have left it.

    Attributes:
        seed: The study's seed; those of its trials are derived from it.
    """

    spec: StudySpec
    location: StorageLocation
    study: optuna.Study
    seed: int
    lease: Lease
    work_list: WorkList
    files: StudyFiles

    @property
    def example(self) -> TrialConfig:
        """A configuration that costs as much as any of the study's sampled trials may."""
        return example_config(self.spec)

    def take_requests(self, on_note: Callable[[str], None]) -> list[FrozenTrial]:
        """Take note of the trials that people asked for and that no run has begun.

        Those that do not fit the study are refused, and returned.
        """
        accepted, misfits = check_requests(self.spec, self.study)
        self.work_list.ask(accepted)
        refused = []
        for trial, reason in misfits:
            if set_aside(get_engine(self.study), trial, REFUSED, reason):
                on_note(f"trial {trial.number} (queued) is refused: {reason}")
                refused.append(get_stored_trial(self.study, trial))
        return refused


def open_files(spec: StudySpec, location: StorageLocation, study: optuna.Study) -> StudyFiles:
    """Return the files of a study whose lease is held, without what runs that died have left."""
    trials = study.get_trials(deepcopy=False)
    files = StudyFiles(spec, location.beside, claim_folder(study, location), trials)
    files.clean({trial.number for trial in trials if not trial.state.is_finished()})
    return files
