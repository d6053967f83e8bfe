"""Shows a run while it goes on: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.text import Text

from cifar_tune.plan import Plan
from cifar_tune.records import EpochMetrics, TrialConfig, TrialSummary
from cifar_tune.tables import (
    describe_failure,
    format_accuracy,
    format_duration,
    format_params,
    plan_lines,
    state_style,
    trial_label,
)


class PlainLines:
    """One line for each thing that happened, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._label = ""
        self._epochs = 0

    def planned(self, plan: Plan) -> None:
        """Print the plan."""
        self._print("\n".join(plan_lines(plan)))

    def trial_started(self, trial: TrialSummary, config: TrialConfig) -> None:
        """Print the trial's parameters."""
        self._label, self._epochs = trial_label(trial), config.epochs
        values = format_params({**trial.params, **trial.settings})
        self._print(f"{self._label}  begins" + (f": {values}" if values else ""))

    def stepped(self, done: int) -> None:
        """Steps are too many to print."""

    def epoch_ended(self, metrics: EpochMetrics) -> None:
        """Print the epoch's figures."""
        self._print(f"{self._label}  {epoch_line(metrics, self._epochs)}")

    def trial_ended(self, trial: TrialSummary) -> None:
        """Print how the trial ended."""
        self._print(trial_line(trial))

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


class Bars:
    """Progress bars for study, trial and epoch, under a line for each trial that ended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("[bold]{task.description:<6}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[live]}", markup=False),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        self._tasks: dict[str, TaskID] = {}
        self._plan: Plan | None = None
        self._start = time.monotonic()
        self._epoch_seconds: list[float] = []
        self._best: float | None = None

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def planned(self, plan: Plan) -> None:
        """Print the plan and put the bars up."""
        self._plan, self._start = plan, time.monotonic()
        self._console.print("\n".join(plan_lines(plan)))
        trials = plan.named + plan.sampled
        self._tasks = {
            "study": self._progress.add_task("study", total=trials, live=""),
            "trial": self._progress.add_task("trial", total=plan.epochs, live=""),
            "epoch": self._progress.add_task("epoch", total=None, live=""),
        }
        self._progress.start()

    def trial_started(self, trial: TrialSummary, config: TrialConfig) -> None:
        """Begin the bars of trial and epoch anew."""
        batches = config.steps + -(-config.validation_images // config.batch_size)
        self._reset("trial", config.epochs, trial_label(trial))
        self._reset("epoch", batches, "training")
        self._update_study()

    def stepped(self, done: int) -> None:
        """Move the epoch's bar on."""
        self._progress.update(self._tasks["epoch"], completed=done)

    def epoch_ended(self, metrics: EpochMetrics) -> None:
        """Move the trial's bar on and show the accuracy."""
        self._epoch_seconds.append(metrics.seconds)
        self._progress.advance(self._tasks["trial"])
        live = (
            f"last: train {format_accuracy(metrics.train_accuracy)}, "
            f"validation {format_accuracy(metrics.val_accuracy)}"
        )
        self._progress.update(self._tasks["epoch"], completed=0, live=live)
        self._update_study()

    def trial_ended(self, trial: TrialSummary) -> None:
        """Move the study's bar on and leave a line for the trial."""
        self._progress.advance(self._tasks["study"])
        if trial.state == "complete" and trial.val_accuracy is not None:
            self._best = max(trial.val_accuracy, self._best or 0.0)
        line = Text(trial_line(trial), style=state_style(trial.state), no_wrap=True)
        self._progress.console.print(line, overflow="ellipsis")
        self._update_study()

    def _reset(self, bar: str, total: int, live: str) -> None:
        self._progress.reset(self._tasks[bar], total=total, live=live)

    def _update_study(self) -> None:
        elapsed = time.monotonic() - self._start
        live = f"{format_duration(elapsed)} gone"
        if self._plan is not None and self._epoch_seconds:
            mean = sum(self._epoch_seconds) / len(self._epoch_seconds)
            left = max(self._plan.epochs_expected - len(self._epoch_seconds), 0) * mean
            live += f", about {format_duration(left)} left"
        if self._best is not None:
            live += f", best {format_accuracy(self._best)}"
        self._progress.update(self._tasks["study"], live=live)


def epoch_line(metrics: EpochMetrics, epochs: int) -> str:
    """An epoch's figures on one line."""
    return (
        f"epoch {metrics.epoch}/{epochs}  "
        f"train loss {metrics.train_loss:.3f} accuracy {format_accuracy(metrics.train_accuracy)}  "
        f"validation loss {metrics.val_loss:.3f} accuracy {format_accuracy(metrics.val_accuracy)}  "
        f"{metrics.seconds:.1f} s"
    )


def trial_line(trial: TrialSummary) -> str:
    """How a trial ended, on one line."""
    if trial.failure is not None:
        return f"{trial_label(trial)}  {trial.state}: {describe_failure(trial)}"
    after = f"after {trial.epochs} epoch{'s' if trial.epochs != 1 else ''}"
    params = "" if trial.name else f"  {format_params(trial.params)}"
    seconds = format_duration(trial.seconds or 0.0)
    accuracy = format_accuracy(trial.val_accuracy)
    return f"{trial_label(trial)}  {trial.state} {after}: {accuracy} in {seconds}{params}"
