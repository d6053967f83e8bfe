"""Quantities, hyperparameters and figures as a report writes them."""

from __future__ import annotations

from collections.abc import Iterable

from cifar_tune.config.wording import long_name
from cifar_tune.evaluation.quantities import ContrastRecord, Measured
from cifar_tune.wording import format_duration, format_percent, format_points

_WORDS = {
    "train_accuracy": "training accuracy",
    "val_accuracy": "validation accuracy",
    "test_accuracy": "test accuracy",
    "test_flip_accuracy": "test accuracy with mirrored images averaged in",
    "seconds": "training time",
    "train_images": "training images",
    "input_size": "input size (px)",
    "normalize_mean": "mean of the normalisation",
    "normalize_std": "deviation of the normalisation",
    "augment_validation": "validation images augmented",
    "weights": "pretrained weights",
}
"""Keys of no hyperparameter, whose words are not the key without its underscores."""


def format_key(key: str) -> str:
    """Return a quantity or a setting in words, with its unit."""
    return _WORDS.get(key) or long_name(key)


def format_quantity(quantity: str, value: float) -> str:
    """Return an accuracy in percent, or a time in minutes and seconds."""
    return format_duration(value) if quantity == "seconds" else format_percent(value)


def format_interval(quantity: str, measured: Measured) -> str:
    """Return the ends of a 95 % interval, accuracies without the percent sign."""
    if measured.low is None or measured.high is None:
        return "one seed"
    if quantity == "seconds":
        return f"{format_duration(measured.low)} to {format_duration(measured.high)}"
    return f"{100 * measured.low:.1f} to {100 * measured.high:.1f}"


def format_effect(quantity: str, value: float) -> str:
    """Return a difference: points of accuracy, or a share of the other model's time."""
    if quantity == "seconds":
        return f"{format_percent(abs(value), 0)} {'less' if value >= 0 else 'more'} time"
    return format_points(value)


def format_effect_interval(contrast: ContrastRecord) -> str:
    """Return the 95 % interval of a difference; empty for one seed."""
    if contrast.low is None or contrast.high is None:
        return ""
    ends = (format_effect(contrast.quantity, end) for end in (contrast.low, contrast.high))
    return " to ".join(ends)


def format_noise(noise: float, lead: float) -> str:
    """Return how many points are noise, beside a lead that is to be told apart from that."""
    digits = 0 if noise >= 0.02 and abs(lead - noise) > 0.01 else 1
    return f"{100 * noise:.{digits}f}"


def round_up(images: int) -> int:
    """Return a number of images to two figures: it is no better known than that."""
    size: int = 10 ** max(len(str(images)) - 2, 0)
    return int(-(-images // size) * size)


def format_p_value(value: float) -> str:
    """Return a p-value: ``p = 0.012``, ``p < 0.001``."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def format_setting(value: object) -> str:
    """Return the value of a setting, yes or no for a boolean."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(format_setting, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def format_differences(differences: Iterable[tuple[str, str, str]]) -> str:
    """Return what sets two protocols apart, given as (key, there, here)."""
    return "; ".join(
        f"{format_key(key)} {here} instead of {there}" for key, there, here in differences
    )


def short_name(name: str) -> str:
    """Return a named trial's name without the study that it belongs to."""
    return name.partition("/")[2] or name
