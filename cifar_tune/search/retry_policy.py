"""Decides whether a trial is tried again after its worker died or failed, and when a run gives up.

Plain data: nothing here knows of Optuna or of workers that run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cifar_tune.errors import TrialFailedError
from cifar_tune.workers.protocol import OUT_OF_MEMORY, Died, Failed

LIVES = 4
"""A trial is begun once, and continued at most three times after its worker died."""
ERRORS_IN_A_ROW = 3
"""Trials that end with an error, with none that ends well between, after which a run gives up."""
LOG_CHARACTERS = 4000

Failure = Mapping[str, Any]
"""What is stored of a trial that failed: its ``kind``, ``message`` and more."""


@dataclass(frozen=True)
class Retry:
    """The trial goes on in another worker.

    Attributes:
        reason: Why it stopped.
        note: What a reader is told.
        alone: Whether no other trial may run beside it.
        is_death: Whether its worker died, which is counted.
    """

    reason: str
    note: str
    alone: bool = False
    is_death: bool = False


@dataclass
class RetryPolicy:
    """What went wrong in a run so far, and what follows from it.

    Attributes:
        errors: Trials that ended with an error.
        errors_in_a_row: Those of them since a trial ended well.
    """

    errors: int = 0
    errors_in_a_row: int = 0
    _short_of_memory: set[int] = field(default_factory=set)

    def judge_failure(self, event: Failed) -> Retry | Failure:
        """Decide on a trial that failed: a GPU's memory may suffice for it alone."""
        if event.kind == OUT_OF_MEMORY and event.number not in self._short_of_memory:
            self._short_of_memory.add(event.number)
            note = "out of GPU memory; retried with no other trial beside it"
            return Retry(event.message, note, alone=True)
        kind = "not_finite" if event.kind == "not_finite" else "error"
        return {"kind": kind, "message": event.message, **event.detail}

    def judge_death(
        self, event: Died, earlier_deaths: int, log: Iterable[str], *, alone: bool
    ) -> Retry | Failure:
        """Decide on a trial whose worker died.

        Args:
            event: The death.
            earlier_deaths: How many workers died with the trial before.
            log: What happened to the trial last.
            alone: Whether it ran with nothing beside it.
        """
        deaths = earlier_deaths + 1
        if deaths < LIVES:
            note = f"{event.reason}; resumed from its last checkpoint"
            return Retry(event.reason, note, alone=alone, is_death=True)
        lines = "\n".join([*log, event.tail]).strip()
        message = f"{event.reason} ({deaths} workers died with this trial)"
        return {"kind": "died", "message": message, "log": lines[-LOG_CHARACTERS:]}

    def count_success(self) -> None:
        """Take note that a trial ended well."""
        self.errors_in_a_row = 0

    def count_failure(self, number: int, failure: Failure) -> None:
        """Take note that a trial failed; a loss that is not finite is a result, no error.

        Raises:
            TrialFailedError: Too many trials failed in a row.
        """
        if failure["kind"] == "not_finite":
            return
        self.errors += 1
        self.errors_in_a_row += 1
        if self.errors_in_a_row >= ERRORS_IN_A_ROW:
            raise TrialFailedError(
                f"{self.errors_in_a_row} trials failed in a row; the last: trial "
                f"{number}: {failure['message']}. They are stored as failed; run the same "
                "command to retry them"
            )
