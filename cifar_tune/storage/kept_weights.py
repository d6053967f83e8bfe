"""Which trials' final weights stay on the disk: the policy of the study file, and its cap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cifar_tune.config.study_file import StudySpec

WEIGHTS_BYTES = 46_000_000
"""At most, of one trial: the file has the 11.2 to 11.3 million parameters as float32."""


@dataclass(frozen=True)
class Candidate:
    """A complete trial with a file of weights.

    Attributes:
        number: of the trial.
        is_named: whether it is a named trial.
        val_accuracy: what candidates are ranked by.
        size: of the file in bytes.
    """

    number: int
    is_named: bool
    val_accuracy: float
    size: int


def may_be_kept(spec: StudySpec, *, is_named: bool) -> bool:
    """Whether a trial is to write its weights at all; how good it is, is not known yet."""
    return spec.profile.keep_best > 0 or (is_named and spec.profile.keep_weights == "named")


def room_needed(spec: StudySpec, named: int) -> int:
    """Bytes that the weights of a run may take.

    Args:
        named: trials that it will complete.
    """
    trials = (named if spec.profile.keep_weights == "named" else 0) + spec.profile.keep_best
    return min(trials * WEIGHTS_BYTES, round(spec.profile.keep_gigabytes * 1e9))


def choose_kept(spec: StudySpec, candidates: Iterable[Candidate]) -> set[int]:
    """The numbers of the trials whose weights stay.

    Named trials come first, where the study file keeps theirs, in the order they were run; then
    the best of the others. What would go beyond the cap is left out.
    """
    keeps_named = spec.profile.keep_weights == "named"
    everyone = list(candidates)
    named = sorted((one for one in everyone if one.is_named and keeps_named), key=_number)
    others = [one for one in everyone if not (one.is_named and keeps_named)]
    best = sorted(others, key=lambda one: (-one.val_accuracy, one.number))[: spec.profile.keep_best]
    room = spec.profile.keep_gigabytes * 1e9
    kept = set()
    for one in (*named, *best):
        if one.size <= room:
            room -= one.size
            kept.add(one.number)
    return kept


def _number(candidate: Candidate) -> int:
    return candidate.number
