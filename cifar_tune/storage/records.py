"""What the storage has of trials and studies, as tables, JSON and notes show it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cifar_tune.errors import StorageError

FORMAT = 1
"""Version of what is stored with studies and trials; a later one may be read wrongly."""
DROPPED = "dropped"
"""Kind of failure of a trial that someone did not want to be gone on with."""
CANCELLED = "cancelled"
"""Kind of failure of a trial that someone asked for, and did not want before it was begun."""
REFUSED = "refused"
"""Kind of failure of a trial that someone asked for and that does not fit its study."""
SET_ASIDE = (DROPPED, CANCELLED, REFUSED)
FOREIGN = "foreign"
"""State of a trial that another program made; it counts nowhere."""


@dataclass(frozen=True, kw_only=True)
class TrialSummary:
    """A stored trial as tables and JSON show it.

    Attributes:
        number: Its number in the study, from 0.
        name: Name of a named trial with its replicate, e.g. ``dropout/p=0.3/seed=2``; None if it
            is sampled.
        seed: The seed that it was trained with; None until it was begun.
        state: ``waiting``, ``running``, ``complete``, ``pruned`` or ``fail``; ``foreign`` of one
            that another program made.
        params: The values of the searched hyperparameters.
        settings: What a named trial sets for itself besides; empty if it is sampled.
        epochs: How many epochs were trained.
        val_accuracy: Accuracy after the last of them, as a fraction; None before the first.
        seconds: Wall-clock seconds from start to end; None until it ended.
        failure: Why it failed: ``kind`` (``not_finite``, ``interrupted``, ``died``, ``error``,
            ``dropped``, ``cancelled`` or ``refused``), ``message`` and, where known, ``epoch`` and
            ``step``; None otherwise.
        queued: Whether a person asked for it.
    """

    number: int
    name: str | None = None
    seed: int | None = None
    state: str
    params: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    epochs: int = 0
    val_accuracy: float | None = None
    seconds: float | None = None
    failure: dict[str, Any] | None = None
    queued: bool = False

    @property
    def outcome(self) -> str:
        """Return the state, or ``dropped``, ``cancelled`` or ``refused`` of a trial that was.

        Optuna knows only ``fail`` for those.
        """
        kind = (self.failure or {}).get("kind")
        return kind if self.state == "fail" and kind in SET_ASIDE else self.state

    @property
    def shown_state(self) -> str:
        """Return the outcome as tables show it: ``paused`` or ``queued`` of a trial that waits."""
        if self.state == "waiting":
            return "queued" if self.queued and not self.epochs else "paused"
        return {"fail": "failed"}.get(self.outcome, self.outcome)

    @property
    def has_failed(self) -> bool:
        """Whether something went wrong with it; that it was dropped is no fault."""
        return self.outcome == "fail"

    @property
    def origin(self) -> str:
        """Where it comes from: ``named``, ``queued``, ``sampled`` or ``foreign``."""
        if self.state == FOREIGN:
            return FOREIGN
        return "named" if self.name is not None else "queued" if self.queued else "sampled"

    @property
    def label(self) -> str:
        """Its number and its name, or where it comes from if it has none."""
        return f"trial {self.number} {self.name or f'({self.origin})'}"

    @property
    def failure_message(self) -> str:
        """Why it failed, in words."""
        return str((self.failure or {}).get("message", "unknown reason"))


@dataclass(frozen=True)
class StoredStudy:
    """A stored study, with its trials in order and the best complete one, if any."""

    study_name: str
    profile: str
    overrides: dict[str, Any]
    trials: tuple[TrialSummary, ...]
    best: TrialSummary | None


def check_format(study_name: str, stored_format: int | None) -> None:
    """Check that this version can read a stored study; None stands for the first format.

    Raises:
        StorageError: A newer version wrote it.
    """
    if not isinstance(stored_format, int | None):
        raise StorageError(f"study {study_name}: format = {stored_format!r:.60}: expected a number")
    if (stored_format or FORMAT) > FORMAT:
        raise StorageError(
            f"study {study_name}: was written by a newer cifar-tune (format {stored_format}); this "
            f"one reads up to format {FORMAT}: pip install --upgrade cifar-tune"
        )
