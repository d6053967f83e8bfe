"""Shows a run while it goes on: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from cifar_tune.config.trial import TrialConfig
from cifar_tune.config.wording import format_params
from cifar_tune.search.observer import LiveRun, Observer
from cifar_tune.storage.records import TrialSummary
from cifar_tune.wording import format_accuracy, format_count, format_duration

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
        """Print the trial's parameters, or after how many epochs it goes on."""
        self._running[trial.number] = trial.label, config.epochs
        values = format_params({**trial.params, **trial.settings})
        begins = "begins" + (f": {values}" if values else "")
        after = f"goes on after {format_count(trial.epochs, 'epoch')}"
        self.noted(f"{trial.label}  {after if trial.epochs else begins}")

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


class Bars(Observer):
    """A progress bar for the study and one for each trial that runs.

    Above them is a line for each trial that ended.
    """

    def __init__(self, console: Console) -> None:
        self._live = LiveRun(Observer())
        self._progress = Progress(
            TextColumn("[bold]{task.description:<9}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[count]:>7}"),
            TextColumn("{task.fields[live]}", markup=False),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        self._study: TaskID | None = None
        self._bars: dict[int, TaskID] = {}  # by trial
        self._start = time.monotonic()
        self._epochs = 0
        self._best: float | None = None

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def planned(self, plan: Plan) -> None:
        """Print the plan and put the study's bar up."""
        self._start = time.monotonic()
        self._live.planned(plan)
        self.noted("\n".join(plan_lines(plan)))
        total = plan.trials
        self._study = self._progress.add_task("study", total=total, live="", count=f"0/{total}")
        self._progress.start()

    def trial_started(self, trial: TrialSummary, config: TrialConfig) -> None:
        """Put up a bar for the trial."""
        self._live.trial_started(trial, config)
        bar = self._progress.add_task(f"trial {trial.number}", total=1.0, live="", count="")
        self._bars[trial.number] = bar
        self._update_trial(trial.number)
        self._update_study()

    def stepped(self, number: int, done: int) -> None:
        """Move the trial's bar on."""
        self._live.stepped(number, done)
        self._progress.update(self._bars[number], completed=self._live.state().trials[number].share)

    def epoch_ended(self, number: int, metrics: EpochMetrics) -> None:
        """Move the trial's bar on and show the accuracy."""
        self._live.epoch_ended(number, metrics)
        self._epochs += 1
        self._update_trial(
            number,
            f"  train {format_accuracy(metrics.train_accuracy)}, "
            f"validation {format_accuracy(metrics.val_accuracy)}",
        )
        self._update_study()

    def trial_ended(self, trial: TrialSummary) -> None:
        """Take the trial's bar down and leave a line for it."""
        self._live.trial_ended(trial)
        self._progress.remove_task(self._bars.pop(trial.number))
        if trial.state == "complete" and trial.val_accuracy is not None:
            self._best = max(trial.val_accuracy, self._best or 0.0)
        line = Text(trial_line(trial), style=state_style(trial.state), no_wrap=True)
        self._progress.console.print(line, overflow="ellipsis")
        self._update_study()

    def noted(self, text: str) -> None:
        """Print it above the bars."""
        self._progress.console.print(text)

    def _update_trial(self, number: int, accuracy: str = "") -> None:
        live = self._live.state().trials[number]
        label = live.trial.name or format_params(live.trial.params)
        self._progress.update(
            self._bars[number],
            completed=live.share,
            live=label + accuracy,
            count=f"{live.epochs}/{live.config.epochs}",
        )

    def _update_study(self) -> None:
        run = self._live.state()
        if self._study is None or run.plan is None:
            return
        elapsed = time.monotonic() - self._start
        live = f"{format_duration(elapsed)} gone"
        if self._epochs:
            left = max(run.plan.epochs_expected - self._epochs, 0)
            live += f", about {format_duration(left * elapsed / self._epochs)} left"
        if self._best is not None:
            live += f", best {format_accuracy(self._best)}"
        total = max(run.plan.trials, run.ended)  # more may have been asked for meanwhile
        self._progress.update(
            self._study, completed=run.ended, total=total, live=live, count=f"{run.ended}/{total}"
        )


def trial_line(trial: TrialSummary) -> str:
    """Return how a trial ended, on one line."""
    if trial.failure is not None:
        return f"{trial.label}  {trial.state}: {trial.failure_message}"
    epochs = format_count(trial.epochs, "epoch")
    if trial.state == "waiting":
        return f"{trial.label}  waits to be continued, {epochs} done"
    params = "" if trial.name else f"  {format_params(trial.params)}"
    seconds = format_duration(trial.seconds or 0.0)
    accuracy = format_accuracy(trial.val_accuracy)
    return f"{trial.label}  {trial.state} after {epochs}: {accuracy} in {seconds}{params}"


_STYLES = {"complete": "green", "pruned": "yellow", "fail": "red", "running": "cyan"}


def state_style(state: str) -> str:
    """Return the colour of a trial's state."""
    return _STYLES.get(state, "dim")


def plan_lines(plan: Plan) -> list[str]:
    """Return a plan in words."""
    if not plan.trials:
        return ["Nothing is left to do; --trials N adds N sampled trials."]
    lines = [
        f"Named trials: {plan.named} of {plan.named_total} left "
        f"({format_count(plan.seeds, 'seed')} each), "
        f"sampled trials: {plan.sampled}"
        + (f", queued trials: {plan.queued}" if plan.queued else "")
        + f"; {plan.epochs} epochs each, "
        f"{plan.epochs_most} in all without pruning"
        + (f"; {plan.workers} trials at once." if plan.workers > 1 else "."),
        f"Expected time: {format_duration(plan.seconds_expected)}, between "
        f"{format_duration(plan.seconds_least)} and {format_duration(plan.seconds_most)}.",
    ]
    if plan.epochs_most > plan.epochs_least:
        lines.append(
            f"Pruning may save up to {plan.epochs_most - plan.epochs_least} epochs "
            f"({format_duration(plan.seconds_saved_most)})."
        )
    return lines
