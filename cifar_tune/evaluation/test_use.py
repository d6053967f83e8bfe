"""How often the test images were read for a study, and whether a choice can have depended on it."""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass
from typing import Any

from cifar_tune.config.derived import derived_name, family
from cifar_tune.evaluation.candidates import configuration_label
from cifar_tune.evaluation.test_reads import read_ledger
from cifar_tune.storage import studies as stored
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.wording import format_times

PICKING = "Picking by test scores biases the winner's score upward."
"""Why reads of the test images are counted."""


@dataclass(frozen=True)
class TestUse:
    """How often the test images were read for a study and for those derived from it.

    Attributes:
        reads: How many reads the ledger has.
        configurations: For how many configurations.
        trials_after: How many trials of the study, or of its confirmation, were begun after the
            first read.
    """

    reads: int
    configurations: int
    trials_after: int

    @property
    def is_flagged(self) -> bool:
        """Whether configurations can have been chosen with an eye on the test images."""
        return self.configurations > 1 or self.trials_after > 0

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON has them."""
        return {**asdict(self), "flagged": self.is_flagged}

    def sentence(self) -> str:
        """Return the counts in words."""
        if not self.reads:
            return "The test images have not been read for this study."
        is_one, times = self.configurations == 1, format_times(self.reads)
        what = "one configuration" if is_one else f"{self.configurations} configurations"
        return f"The test images have been read {times} for this study, for {what}."

    def warnings(self) -> list[str]:
        """Return why configurations may have been chosen with an eye on the test images."""
        warnings = []
        if self.configurations > 1:
            warnings.append(
                f"The test images were read for {self.configurations} configurations. {PICKING}"
            )
        if self.trials_after:
            many = "1 trial was" if self.trials_after == 1 else f"{self.trials_after} trials were"
            warnings.append(
                f"{many} run after the first read of the test images: the choice of a "
                "configuration may depend on them."
            )
        return warnings


def read_test_use(location: StorageLocation, study_name: str) -> TestUse:
    """Count the reads of the test images for a study and for those derived from it."""
    names = family(study_name)
    with explain_errors(location):
        storage = stored.open_to_read(location)
        if storage is None:
            return TestUse(0, 0, 0)
        reads = read_ledger(storage.engine, names)
        searching = (study_name, derived_name(study_name, "confirm"))
        studies = [stored.find_study(storage, name) for name in searching] if reads else []
        begun = [
            trial.datetime_start.astimezone(datetime.UTC)
            for study in studies
            if study is not None
            for trial in study.get_trials(deepcopy=False)
            if trial.datetime_start is not None
        ]
    first = min((datetime.datetime.fromisoformat(read.time) for read in reads), default=None)
    results = [read.result for read in reads]
    return TestUse(
        reads=len(reads),
        configurations=len({configuration_label(result.name, result.trial) for result in results}),
        trials_after=0 if first is None else sum(moment > first for moment in begun),
    )
