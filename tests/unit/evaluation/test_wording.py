"""How quantities, differences and settings are written."""

from __future__ import annotations

import pytest

from cifar_tune.evaluation import wording
from cifar_tune.evaluation.quantities import ContrastRecord, Measured


def measured(low: float | None, high: float | None, sd: float | None) -> Measured:
    return Measured(0.5, sd, low, high, seeds=3, images=100, basis="images", trials=(0, 1, 2))


def contrast(quantity: str, low: float | None, high: float | None) -> ContrastRecord:
    return ContrastRecord(quantity, "b", 0.1, low, high, 0.01, 0.02, 3, 100, "images", 3)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("val_accuracy", "validation accuracy"),
        ("train_images", "training images"),
        ("crop_padding", "padding of random crops (px)"),
        ("batch_size", "batch size"),
    ],
)
def test_keys_in_words(key: str, words: str) -> None:
    assert wording.format_key(key) == words


def test_intervals_are_of_the_quantity() -> None:
    assert wording.format_interval("val_accuracy", measured(0.481, 0.519, 0.01)) == "48.1 to 51.9"
    assert (
        wording.format_interval("seconds", measured(61.0, 75.0, 2.0)) == "1 min 1 s to 1 min 15 s"
    )


def test_effects_have_a_sign_or_a_word() -> None:
    assert wording.format_effect("val_accuracy", 0.0123) == "+1.2 points"
    assert wording.format_effect("val_accuracy", -0.0123) == "−1.2 points"  # noqa: RUF001
    assert wording.format_effect("seconds", 0.25) == "25 % less time"
    assert wording.format_effect("seconds", -0.25) == "25 % more time"
    both = contrast("test_accuracy", -0.01, 0.02)
    assert wording.format_effect_interval(both) == "−1.0 points to +2.0 points"  # noqa: RUF001
    assert wording.format_effect_interval(contrast("seconds", None, None)) == ""


def test_the_rest() -> None:
    assert wording.format_p_value(0.0004) == "p < 0.001"
    assert wording.format_p_value(0.0123) == "p = 0.012"
    assert wording.format_setting([True, 5000, 0.5, "x"]) == "yes, 5,000, 0.5, x"
    differences = [("epochs", "20", "5"), ("data", "cifar10", "bundled")]
    expected = "epochs 5 instead of 20; data bundled instead of cifar10"
    assert wording.format_differences(differences) == expected
    assert wording.short_name("dropout/p=0.3") == "p=0.3"
    assert wording.short_name("alone") == "alone"
