"""Text and tables that commands print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from cifar_tune.plan import Plan
from cifar_tune.records import TrialSummary

_SHORT = {
    "dropout_rate": "dropout",
    "learning_rate": "lr",
    "augmentation_strength": "augment",
    "freeze_depth": "freeze",
}
_STYLES = {"complete": "green", "pruned": "yellow", "fail": "red", "running": "cyan"}


def format_accuracy(fraction: float | None) -> str:
    """A fraction as a percentage, or a dash."""
    return "-" if fraction is None else f"{100 * fraction:.1f} %"


def format_duration(seconds: float) -> str:
    """Seconds as a reader says them: ``42 s``, ``6 min 5 s``, ``3 h 20 min``, ``2 days 4 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} days {whole % 86_400 // 3600} h"


def format_params(params: Mapping[str, float]) -> str:
    """Searched values on one line, under short names."""
    return ", ".join(f"{_SHORT.get(key, key)} {value:.3g}" for key, value in params.items())


def trial_label(trial: TrialSummary) -> str:
    """A trial's number and, where it has one, its name."""
    return f"trial {trial.number} {trial.name or '(sampled)'}"


def state_style(state: str) -> str:
    """The colour of a trial's state."""
    return _STYLES.get(state, "dim")


def describe_failure(trial: TrialSummary) -> str:
    """Why a trial failed."""
    failure = trial.failure or {}
    return str(failure.get("message", "for an unknown reason"))


def plan_lines(plan: Plan) -> list[str]:
    """A plan in words."""
    if plan.named + plan.sampled == 0:
        return ["Nothing is left to do; --trials N adds N sampled trials."]
    seeds = f"{plan.seeds} seed" + ("s" if plan.seeds > 1 else "")
    lines = [
        f"Named trials: {plan.named} of {plan.named_total} left ({seeds} each), "
        f"sampled trials: {plan.sampled}; {plan.epochs} epochs each, "
        f"{plan.epochs_most} in all without pruning.",
        f"Expected time: {format_duration(plan.seconds_expected)}, between "
        f"{format_duration(plan.seconds_least)} and {format_duration(plan.seconds_most)}.",
    ]
    if plan.epochs_most > plan.epochs_least:
        lines.append(
            f"Pruning may save up to {plan.epochs_most - plan.epochs_least} epochs "
            f"({format_duration(plan.seconds_saved_most)})."
        )
    return lines


def trials_table(trials: Sequence[TrialSummary], best: TrialSummary | None) -> Table:
    """All trials of a study, the best one marked."""
    names = list(dict.fromkeys(key for trial in trials for key in trial.params))
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("trial", no_wrap=True)
    table.add_column("state")
    for name in names:
        table.add_column(_SHORT.get(name, name), justify="right")
    table.add_column("epochs", justify="right")
    table.add_column("validation", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    for trial in trials:
        is_best = best is not None and trial.number == best.number
        table.add_row(
            str(trial.number),
            Text(trial.name or "sampled"),
            Text(_state(trial), style=state_style(trial.state)),
            *(f"{trial.params[name]:.3g}" if name in trial.params else "" for name in names),
            str(trial.epochs),
            format_accuracy(trial.val_accuracy),
            "" if trial.seconds is None else format_duration(trial.seconds),
            style="bold" if is_best else "",
        )
    return table


def _state(trial: TrialSummary) -> str:
    failure = trial.failure or {}
    if failure.get("kind") == "not_finite":
        return f"fail: loss not finite, epoch {failure['epoch']}, step {failure['step']}"
    return str(failure.get("kind", trial.state))
