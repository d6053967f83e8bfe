"""A study that this process may write: what its parts of a run share."""

from __future__ import annotations

from dataclasses import dataclass

import optuna
from optuna.storages import RDBStorage

from cifar_tune.config.study_file import StudySpec
from cifar_tune.search.work_list import WorkList
from cifar_tune.storage.lease import Lease
from cifar_tune.storage.location import StorageLocation
from cifar_tune.storage.queue import TrialQueue
from cifar_tune.storage.study_files import StudyFiles


@dataclass(frozen=True)
class OpenStudy:
    """A study whose lease is held, as runs before have left it.

    Attributes:
        seed: The study's seed; those of its trials are derived from it.
        queue: What people ask for, also while the study runs.
        work_list: What is left to do.
    """

    spec: StudySpec
    location: StorageLocation
    storage: RDBStorage
    study: optuna.Study
    seed: int
    lease: Lease
    queue: TrialQueue
    work_list: WorkList
    files: StudyFiles
