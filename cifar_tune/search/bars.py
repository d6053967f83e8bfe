"""Shows a run on a terminal: bars, a clock, and a line for each trial that ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from cifar_tune.config.trial import TrialConfig
from cifar_tune.config.wording import format_params
from cifar_tune.search.observer import LiveRun, LiveTrial, Observer
from cifar_tune.search.progress import (
    describe_resumed,
    plan_lines,
    state_style,
    trial_line,
)
from cifar_tune.search.run_progress import RunProgress
from cifar_tune.search.spinner import Spinner
from cifar_tune.storage.records import TrialSummary
from cifar_tune.wording import format_accuracy, format_clock

if TYPE_CHECKING:
    from cifar_tune.search.plan import Plan
    from cifar_tune.training.records import EpochMetrics

WIDE_COLUMNS = 100
"""A terminal that is narrower has shorter bars."""


class Bars(Observer):
    """A progress bar for the study and one for each trial that runs.

    Above them is a line for each trial that ended. Before the plan is known, a spinner says what is
    waited for.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner = Spinner(console)
        self._live = LiveRun(Observer())
        self._study: TaskID | None = None
        self._bars: dict[int, TaskID] = {}  # by trial
        self._run: RunProgress | None = None
        self._best: float | None = None
        self._progress = _RunBars(self._update_study, console)

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self._spinner.stop()
        self._progress.stop()

    def preparing(self, what: str) -> None:
        """Show what is waited for."""
        self._spinner.show(what)

    def planned(self, plan: Plan) -> None:
        """Print the plan and put the study's bar up."""
        self._spinner.stop()
        self._run = RunProgress(plan, time.monotonic())
        self._live.planned(plan)
        self.noted("\n".join([*plan_lines(plan), ""]))
        self._study = self._progress.add_task("study", total=1.0, live="", count="")
        self._progress.start()

    def trial_started(self, trial: TrialSummary, config: TrialConfig) -> None:
        """Put up a bar for the trial."""
        self._live.trial_started(trial, config)
        bar = self._progress.add_task(f"trial {trial.number}", total=1.0, live="", count="")
        self._bars[trial.number] = bar
        self._update_trial(trial.number)

    def stepped(self, number: int, done: int) -> None:
        """Move the trial's bar on."""
        self._live.stepped(number, done)
        self._update_trial(number)

    def epoch_ended(self, number: int, metrics: EpochMetrics) -> None:
        """Move the trial's bar on and show the accuracy."""
        self._live.epoch_ended(number, metrics)
        self._progress.update(
            self._bars[number],
            live=f"val {format_accuracy(metrics.val_accuracy)}, "
            f"train {format_accuracy(metrics.train_accuracy)}  ",
        )
        self._update_trial(number)

    def trial_ended(self, trial: TrialSummary) -> None:
        """Take the trial's bar down and leave a line for it."""
        self._live.trial_ended(trial)
        if self._run is not None:
            is_over, is_sampled = trial.state != "waiting", trial.origin == "sampled"
            self._run.end(trial.number, is_over=is_over, is_sampled=is_sampled)
        self._progress.remove_task(self._bars.pop(trial.number))
        if trial.state == "complete" and trial.val_accuracy is not None:
            self._best = max(trial.val_accuracy, self._best or 0.0)
        self._console.print(Text(trial_line(trial), style=state_style(trial.state)))

    def noted(self, text: str) -> None:
        """Print it above the bars."""
        self._console.print(text, soft_wrap=True)

    def _update_trial(self, number: int) -> None:
        live = self._live.state().trials[number]
        if self._run is not None:
            self._run.update(live, time.monotonic())
        self._progress.update(
            self._bars[number],
            completed=live.share,
            label=_describe(live),
            count=f"{live.epochs}/{live.config.epochs}",
        )

    def _update_study(self) -> None:
        """Bring the study's bar up to date; called whenever the bars are drawn."""
        run, state = self._run, self._live.state()
        if self._study is None or run is None or state.plan is None:
            return
        now, total = time.monotonic(), max(state.plan.trials, state.ended + len(state.trials))
        elapsed, remaining = format_clock(run.elapsed(now)), format_clock(run.remaining(now))
        best = "" if self._best is None else f", best {format_accuracy(self._best)}"
        self._progress.update(
            self._study,
            completed=run.fraction(now),
            live=f"elapsed {elapsed}, remaining {remaining}{best}",
            count=f"{state.ended}/{total}",
        )


def _describe(live: LiveTrial) -> str:
    """Return which trial it is, and that it was resumed until it has an epoch of this run."""
    label = live.trial.name or format_params(live.trial.params)
    is_resumed = live.trial.epochs and live.epochs == live.trial.epochs
    return f"{describe_resumed(live.trial)}  {label}" if is_resumed else label


class _RunBars(Progress):
    """The bars; ``update_study`` is called before they are drawn, several times a second."""

    def __init__(self, update_study: Callable[[], None], console: Console) -> None:
        self._update_study = update_study
        super().__init__(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=20 if console.width >= WIDE_COLUMNS else 8),
            TextColumn("{task.percentage:.1f} %", justify="right"),
            TextColumn("{task.fields[count]}", justify="right"),
            _LiveColumn(Column(no_wrap=False)),
            console=console,
            transient=True,
            refresh_per_second=4,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the bars as they are now."""
        self._update_study()
        yield from super().get_renderables()


class _LiveColumn(ProgressColumn):
    """The last column, which alone is cut where there is no room."""

    def render(self, task: Task) -> Text:
        """Return the accuracy of a trial and its name, or the clock of the study."""
        text = task.fields["live"] + task.fields.get("label", "")
        return Text(text, no_wrap=True, overflow="ellipsis")
