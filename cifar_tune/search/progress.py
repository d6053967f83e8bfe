"""What is printed of a run, in words, and the plain lines of a run that has no terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from cifar_tune.config.trial import TrialConfig
from cifar_tune.config.wording import format_params
from cifar_tune.search.observer import Observer
from cifar_tune.storage.records import TrialSummary
from cifar_tune.wording import format_accuracy, format_count, format_duration, format_field

if TYPE_CHECKING:
    from cifar_tune.search.plan import Plan
    from cifar_tune.training.records import EpochMetrics


class PlainLines(Observer):
    """One line for each thing that happened, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._running: dict[int, tuple[str, int]] = {}  # label and epochs, by trial

    def planned(self, plan: Plan) -> None:
        """Print the plan."""
        self.noted("\n".join(plan_lines(plan)))

    def trial_started(self, trial: TrialSummary, config: TrialConfig) -> None:
        """Print the trial's parameters, or at which epoch it is resumed."""
        self._running[trial.number] = trial.label, config.epochs
        values = format_params({**trial.params, **trial.settings})
        started = "started" + (f": {values}" if values else "")
        self.noted(f"{trial.label}  {describe_resumed(trial) if trial.epochs else started}")

    def epoch_ended(self, number: int, metrics: EpochMetrics) -> None:
        """Print the epoch's figures."""
        label, epochs = self._running[number]
        self.noted(
            f"{label}  epoch {metrics.epoch}/{epochs}  "
            f"train loss {metrics.train_loss:.3f} "
            f"accuracy {format_accuracy(metrics.train_accuracy)}  "
            f"validation loss {metrics.val_loss:.3f} "
            f"accuracy {format_accuracy(metrics.val_accuracy)}  {metrics.seconds:.1f} s"
        )

    def trial_ended(self, trial: TrialSummary) -> None:
        """Print how the trial ended."""
        self.noted(trial_line(trial))

    def noted(self, text: str) -> None:
        """Print it."""
        self._console.print(text, soft_wrap=True)


def describe_resumed(trial: TrialSummary) -> str:
    """Return at which epoch a trial is resumed, that has some already."""
    return f"resumed at epoch {trial.epochs + 1}"


def trial_line(trial: TrialSummary) -> str:
    """Return how a trial ended, on one line."""
    state = trial.shown_state
    if trial.failure is not None:
        return f"{trial.label}  {state}: {trial.failure_message}"
    epochs = format_count(trial.epochs, "epoch")
    if trial.state == "waiting":
        return f"{trial.label}  paused after {epochs}"
    params = "" if trial.name else f"  {format_params(trial.params)}"
    accuracy, seconds = format_accuracy(trial.val_accuracy), format_duration(trial.seconds or 0.0)
    if state == "pruned":
        return f"{trial.label}  pruned at epoch {trial.epochs}: {accuracy} in {seconds}{params}"
    return f"{trial.label}  {state}: {accuracy} after {epochs} in {seconds}{params}"


_STYLES = {
    "complete": "green",
    "pruned": "yellow",
    "fail": "red",
    "running": "cyan",
    "waiting": "blue",
}


def state_style(state: str) -> str:
    """Return the colour of a trial's state."""
    return _STYLES.get(state, "dim")


def plan_lines(plan: Plan) -> list[str]:
    """Return a plan in words, in lines that are at most 76 columns wide."""
    if not plan.trials:
        return [format_field("plan", NOTHING_LEFT)]
    each = format_count(plan.seeds, "seed")
    parts = [
        f"{plan.named} of {format_count(plan.named_total, 'named trial')} ({each} each)"
        if plan.named_total
        else "",
        f"{plan.sampled:,} sampled" if plan.sampled or not plan.named else "",
        f"{plan.queued:,} queued" if plan.queued else "",
    ]
    epochs = f"{plan.epochs} a trial, {plan.epochs_most:,} in all"
    if plan.epochs_most > plan.epochs_least:
        epochs += f"; with pruning about {plan.epochs_expected:,}, at least {plan.epochs_least:,}"
    time = (
        f"about {format_duration(plan.seconds_expected)} "
        f"({format_duration(plan.seconds_least)} to {format_duration(plan.seconds_most)})"
    )
    if plan.workers > 1:
        time += f", {plan.workers} trials at once"
    return [
        format_field("plan", ", ".join(filter(None, parts))),
        format_field("epochs", epochs),
        format_field("time", time),
    ]


NOTHING_LEFT = "every trial has ended; nothing is left to run"
