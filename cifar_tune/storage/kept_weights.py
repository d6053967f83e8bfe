"""Which trials' final weights stay on the disk: the policy of the study file, and its cap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cifar_tune.config.study_file import StudySpec

WEIGHTS_BYTES = 46_000_000
"""At most, of one trial: the file has the 11.2 to 11.3 million parameters as float32."""


@dataclass(frozen=True)
class KeptCandidate:
    """A complete trial with a file of weights."""

    number: int
    is_named: bool
    val_accuracy: float
    size: int  # of the file, in bytes


class KeptWeights:
    """The trials of a study whose weights are kept, while more trials come to their end."""

    def __init__(self, spec: StudySpec, candidates: Iterable[KeptCandidate]) -> None:
        self._spec = spec
        self._kept = {candidate.number: candidate for candidate in candidates}
        self._fallen: set[int] = set()
        self._choose()

    def __contains__(self, number: int) -> bool:
        return number in self._kept

    def add(self, candidate: KeptCandidate) -> bool:
        """Add a trial, for which others may fall, and return whether its weights are kept."""
        self._kept[candidate.number] = candidate
        self._choose()
        self._fallen.discard(candidate.number)  # its file has not got its name yet
        return candidate.number in self._kept

    def pop_fallen(self) -> set[int]:
        """Return, once, the trials whose weights better ones have taken the place of."""
        fallen, self._fallen = self._fallen, set()
        return fallen

    def _choose(self) -> None:
        kept = choose_kept(self._spec, self._kept.values())
        self._fallen |= self._kept.keys() - kept
        self._kept = {number: self._kept[number] for number in kept}


def may_be_kept(spec: StudySpec, *, is_named: bool) -> bool:
    """Return whether a trial is to write its weights; how good it is, is not known yet."""
    return spec.profile.keep_best > 0 or (is_named and spec.profile.keep_weights == "named")


def room_needed(spec: StudySpec, named: int, others: int) -> int:
    """Return the bytes that the weights of a run may take, which completes so many trials."""
    if spec.profile.keep_weights != "named":
        named, others = 0, named + others
    trials = named + min(others, spec.profile.keep_best)
    return min(trials * WEIGHTS_BYTES, round(spec.profile.keep_gigabytes * 1e9))


def choose_kept(spec: StudySpec, candidates: Iterable[KeptCandidate]) -> set[int]:
    """Return the numbers of the trials whose weights stay.

    Named trials come first, where the study file keeps theirs, in the order they were run; then
    the best of the others. What would go beyond the cap is left out.
    """
    named: list[KeptCandidate] = []
    others: list[KeptCandidate] = []
    for candidate in candidates:
        is_wanted = candidate.is_named and spec.profile.keep_weights == "named"
        (named if is_wanted else others).append(candidate)
    named.sort(key=lambda candidate: candidate.number)
    others.sort(key=lambda candidate: (-candidate.val_accuracy, candidate.number))
    room = spec.profile.keep_gigabytes * 1e9
    kept = set()
    for candidate in (*named, *others[: spec.profile.keep_best]):
        if candidate.size <= room:
            room -= candidate.size
            kept.add(candidate.number)
    return kept
