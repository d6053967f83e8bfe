"""What the commands of ``cifar-tune best`` print with ``--json``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cifar_tune.evaluation.ablation import Ablation
    from cifar_tune.evaluation.best import BestRecord, Rerun
    from cifar_tune.evaluation.ranking import Candidate
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cifar_tune.config.study_file import StudySpec
from cifar_tune.storage.location import StorageLocation

if TYPE_CHECKING:
    from cifar_tune.evaluation.best import BestRecord
    from cifar_tune.evaluation.ranking import Candidate


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
    record = found.record
    ranking = record.ranking
    return {
        **header_json(found),
        "validation_images": record.images,
        "observed_best": ranking.observed_best.candidate.label,
        "likely_best": ranking.standings[0].candidate.label,
        "lead": ranking.lead,
        "expected_lead": ranking.expected_lead,
        "seed_sd": ranking.seed_sd,
        "shortlist": [
            {
                **_candidate(one.candidate),
                "val_accuracy": one.candidate.mean,
                "low": one.low,
                "high": one.high,
                "expected": one.expected,
                "luck": one.luck,
                "probability_of_best": one.probability,
            }
            for one in ranking.shortlist
        ],
        "confirmation": _confirmation(record),
        "reruns": [rerun_json(one) for one in record.reruns],
        "ablations": [ablation_json(one) for one in record.ablations],
        "test_use": test_use_json(record),
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "name": candidate.label,
        "trials": list(candidate.numbers),
        "params": candidate.params,
        "settings": candidate.settings,
    }


def _confirmation(record: BestRecord) -> dict[str, Any] | None:
    found = record.confirmation
    if found is None:
        return None
    return {
        "study_name": found.study_name,
        "seeds": found.seeds,
        "best": None if found.best is None else found.best.candidate.label,
        "candidates": [
            {
                **_candidate(one.candidate),
                "observed": one.observed,
                "shrinkage": one.shrinkage,
                "val_accuracy": _measured(one.val_accuracy),
                "behind_best": None if one.behind is None else dataclasses.asdict(one.behind),
            }
            for one in found.candidates
        ],
    }


def _measured(measured: Any) -> dict[str, Any] | None:
    return None if measured is None else dataclasses.asdict(measured)


def rerun_json(rerun: Rerun) -> dict[str, Any]:
    """A configuration that was trained again."""
    return {
        "study_name": rerun.study_name,
        **_candidate(rerun.candidate),
        "train_on": rerun.train_on,
        "test_accuracy": _measured(rerun.test_accuracy),
        "val_accuracy": _measured(rerun.val_accuracy),
        "seconds": _measured(rerun.seconds),
        "replicates": list(rerun.replicates),
    }


def test_use_json(record: BestRecord) -> dict[str, Any]:
    """How often the test images were read for a study."""
    use = record.test_use
    return {**dataclasses.asdict(use), "flagged": use.is_flagged}


def ablation_json(ablation: Ablation) -> dict[str, Any]:
    """A configuration without each of its hyperparameters."""
    return {
        "study_name": ablation.study_name,
        **_candidate(ablation.candidate),
        "val_accuracy": _measured(ablation.val_accuracy),
        "parts": [dataclasses.asdict(one) for one in ablation.parts],
    }


@dataclass(frozen=True)
class Found:
    """A stored study, and all that is known of its best configuration."""

    name: str  # as the user gave it
    spec: StudySpec
    location: StorageLocation
    record: BestRecord
