"""How numbers, durations and names are written for a reader."""

from __future__ import annotations

from collections.abc import Mapping

_SHORT = {
    "dropout_rate": "dropout",
    "learning_rate": "lr",
    "augmentation_strength": "augment",
    "freeze_depth": "freeze",
    "frozen_batch_norm": "batch norm",
    "cosine_t_max": "T_max",
    "flip_probability": "flip",
    "crop_padding": "crop",
    "warmup_epochs": "warm-up",
    "weight_decay": "decay",
    "label_smoothing": "smoothing",
}


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


def format_params(params: Mapping[str, float | str]) -> str:
    """Searched values or a named trial's settings on one line, under short names."""
    return ", ".join(f"{_SHORT.get(key, key)} {_short(value)}" for key, value in params.items())


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"


def printable(name: object) -> str:
    """A name as text, escaped where it holds line breaks, control characters or broken Unicode."""
    text = str(name)
    return text if text.isprintable() else ascii(text)
