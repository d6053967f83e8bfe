"""Numbers and names as a page says them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cifar_tune.wording import format_duration

if TYPE_CHECKING:  # they stand on SciPy, which takes a second to load
    from cifar_tune.evaluation.records import Measured, TrialRecord

WORDS = {
    "train_accuracy": "training accuracy",
    "val_accuracy": "validation accuracy",
    "test_accuracy": "test accuracy",
    "test_flip_accuracy": "test accuracy with mirrored images averaged in",
    "seconds": "training time",
    "dropout_rate": "dropout rate",
    "learning_rate": "learning rate",
    "augmentation_strength": "augmentation strength",
    "freeze_depth": "freeze depth",
    "train_images": "training images",
    "input_size": "input size (px)",
    "normalize_mean": "mean of the normalisation",
    "normalize_std": "deviation of the normalisation",
    "augment_validation": "validation images augmented",
    "weights": "pretrained weights",
    "cosine_t_max": "T_max of the cosine schedule",
    "optimizer": "optimiser",
    "crop_padding": "padding of random crops (px)",
    "warmup_epochs": "epochs of warm-up",
}
"""Quantities and hyperparameters as a reader says them."""


def say(key: str) -> str:
    """A key in words."""
    return WORDS.get(key, key.replace("_", " "))


def say_value(quantity: str, value: float) -> str:
    """A quantity: an accuracy in percent, a time in minutes and seconds."""
    return format_duration(value) if quantity == "seconds" else f"{100 * value:.1f} %"


def say_spread(quantity: str, measured: Measured) -> str:
    """Interval and standard deviation."""
    if measured.low is None or measured.high is None or measured.sd is None:
        return "one seed"
    if quantity == "seconds":
        interval = f"{format_duration(measured.low)} to {format_duration(measured.high)}"
        return f"{interval}, sd {format_duration(measured.sd)}"
    interval = f"{100 * measured.low:.1f} to {100 * measured.high:.1f}"
    return f"{interval}, sd {100 * measured.sd:.1f}"


def say_effect(quantity: str, value: float) -> str:
    """A difference: in points of accuracy, or as a share of the other's time."""
    if quantity == "seconds":
        return f"{100 * abs(value):.0f} % {'less' if value >= 0 else 'more'} time"
    return f"{100 * value:+.1f} points".replace("-", "−")  # noqa: RUF001  a minus sign


def say_p(value: float) -> str:
    """A p-value."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def say_setting(value: object) -> str:
    """The value of a setting."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(say_setting, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def say_differences(differences: Iterable[tuple[str, str, str]]) -> str:
    """What sets two protocols apart, of (key, there, here)."""
    return "; ".join(f"{say(key)} {here} instead of {there}" for key, there, here in differences)


def count(number: int, noun: str) -> str:
    """A number of things: ``1 trial``, ``2 trials``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def anchor(number: int) -> str:
    """The ``id`` of a trial's row."""
    return f"trial-{number}"


def short(name: str) -> str:
    """A named trial without the study that it belongs to."""
    return name.partition("/")[2] or name


def sources(
    trials: tuple[TrialRecord, ...], numbers: tuple[int, ...]
) -> tuple[tuple[str, str], ...]:
    """Trials as links: number and name, or where each comes from."""
    by_number = {trial.number: trial for trial in trials}
    found = ((number, by_number[number]) for number in numbers)
    return tuple(
        (f"{number} {one.name or f'({one.kind})'}", anchor(number)) for number, one in found
    )
