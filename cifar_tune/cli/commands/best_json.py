"""What the commands of ``cifar-tune best`` print with ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cifar_tune.evaluation.ablation import Ablation
    from cifar_tune.evaluation.best import BestRecord
    from cifar_tune.evaluation.fresh_runs import Rerun
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cifar_tune.config.study_file import StudySpec
from cifar_tune.storage.location import StorageLocation

if TYPE_CHECKING:
    from cifar_tune.evaluation.best import BestRecord


def header_json(found: Found) -> dict[str, Any]:
    """What the JSON of every command begins with."""
    return {
        "study": found.spec.file_name,
        "study_name": found.spec.study_name,
        "profile": found.spec.profile_name,
        "storage": str(found.location),
    }


def best_json(found: Found) -> dict[str, Any]:
    """All that is known of the best configuration of a study."""
    return {**header_json(found), **found.record.to_dict()}


def rerun_json(rerun: Rerun) -> dict[str, Any]:
    """A configuration that was trained again."""
    return rerun.to_dict()


def test_use_json(record: BestRecord) -> dict[str, Any]:
    """How often the test images were read for a study."""
    return record.test_use.to_dict()


def ablation_json(ablation: Ablation) -> dict[str, Any]:
    """A configuration without each of its hyperparameters."""
    return ablation.to_dict()


@dataclass(frozen=True)
class Found:
    """A stored study, and all that is known of its best configuration."""

    name: str  # as the user gave it
    spec: StudySpec
    location: StorageLocation
    record: BestRecord
