"""A study that this process may write: what its parts of a run share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from cifar_tune.config.study_file import StudySpec
from cifar_tune.search.requests import check_requests
from cifar_tune.search.work_list import WorkList
from cifar_tune.storage.lease import Lease
from cifar_tune.storage.location import StorageLocation
from cifar_tune.storage.optuna_private import get_stored_trial
from cifar_tune.storage.records import REFUSED
from cifar_tune.storage.study_files import StudyFiles
from cifar_tune.storage.trials import set_aside


@dataclass(frozen=True)
class OpenStudy:
    """A study whose lease is held, as runs before have left it.

    Attributes:
        seed: The study's seed; those of its trials are derived from it.
    """

    spec: StudySpec
    location: StorageLocation
    storage: RDBStorage
    study: optuna.Study
    seed: int
    lease: Lease
    work_list: WorkList
    files: StudyFiles

    def take_requests(self, on_note: Callable[[str], None]) -> list[FrozenTrial]:
        """Take note of the trials that people asked for and that no run has begun.

        Those that do not fit the study are refused, and returned.
        """
        accepted, misfits = check_requests(self.spec, self.study)
        self.work_list.ask(accepted)
        refused = []
        for trial, reason in misfits:
            if set_aside(self.storage.engine, trial, REFUSED, reason):
                on_note(f"trial {trial.number} (queued) is refused: {reason}")
                refused.append(get_stored_trial(self.study, trial))
        return refused
