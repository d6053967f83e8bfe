"""What a run of a study came to."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import Any

from cifar_tune.config.wording import format_params
from cifar_tune.notebook import render_table
from cifar_tune.search.plan import Work
from cifar_tune.storage.records import TrialSummary
from cifar_tune.wording import format_accuracy, format_count, format_duration


@dataclass(frozen=True)
class StudyOutcome:
    """What the storage holds of a study after a run.

    Attributes:
        best: The complete trial with the highest validation accuracy; None if there is none.
        trials_run: How many trials this run ended.
        errors: How many of them ended with an error; the next run has another go at those.
        seconds: Wall-clock seconds of this run.
        interrupted: Whether it was stopped from outside before its work was done.
        why_left: The budget or the time that did not suffice, in words; None where neither is why.

    Example:
        >>> outcome = ct.run_study("dropout", n_trials=5)
        >>> outcome.is_done, outcome.best.params, outcome.best.val_accuracy
    """

    trials: tuple[TrialSummary, ...]
    best: TrialSummary | None
    trials_run: int
    errors: int
    seconds: float
    interrupted: bool
    left: Work
    why_left: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as a JSON object shows it."""
        return {
            "trials": [dataclasses.asdict(trial) for trial in self.trials],
            "best": None if self.best is None else dataclasses.asdict(self.best),
            "seconds": self.seconds,
            "left": {
                "named": len(self.left.named),
                "sampled": self.left.sampled,
                "queued": len(self.left.queued),
                "why": self.why_left,
            },
        }

    def __repr__(self) -> str:
        """Show how many trials there are, and the best."""
        best = "none" if self.best is None else f"{self.best.label}, {self.best.val_accuracy:.4f}"
        return f"<StudyOutcome: {format_count(len(self.trials), 'trial')}, best: {best}>"

    def _repr_html_(self) -> str:
        """Show the trials in a notebook."""
        counts = Counter(trial.outcome for trial in self.trials)
        text = ", ".join(f"{count} {state}" for state, count in counts.items())
        if self.best is not None:
            text += f"; best by validation: {format_accuracy(self.best.val_accuracy)}, "
            text += self.best.label
        rows = [
            (
                trial.number,
                trial.name or trial.origin,
                trial.outcome,
                format_params({**trial.params, **trial.settings}),
                trial.epochs,
                format_accuracy(trial.val_accuracy),
                "-" if trial.seconds is None else format_duration(trial.seconds),
            )
            for trial in self.trials
        ]
        columns = ("trial", "name", "state", "values", "epochs", "validation accuracy", "time")
        left = f"{format_count(self.left.trials, 'trial')} left" if self.left.trials else ""
        note = ": ".join(filter(None, (left, self.why_left)))
        return render_table("study", text, columns, rows, note)

    @property
    def is_done(self) -> bool:
        """Whether all that was to be done is done, and well."""
        return not (self.interrupted or self.failed or self.left.trials)

    @property
    def failed(self) -> bool:
        """Whether work failed.

        That is an error, a named trial that failed, or no complete trial where all was done.
        """
        complete = {trial.name for trial in self.trials if trial.state == "complete"}
        failed = {trial.name for trial in self.trials if trial.name and trial.has_failed}
        is_empty = not complete and not self.left.trials
        return self.errors > 0 or not failed <= complete or is_empty
