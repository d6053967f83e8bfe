"""Calibration of probabilities, on made-up logits whose calibration is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from cifar_tune.evaluation.export.temperature import calibration_error, fit_temperature


def draw(temperature: float, images: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are too large by a factor, and labels drawn from what they should say."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (images, 10))
    chances = softmax(logits, axis=1).cumsum(axis=1)
    labels = (generator.random((images, 1)) > chances).sum(axis=1)
    return (logits * temperature).astype(np.float32), labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found(temperature: float) -> None:
    found = fit_temperature(*draw(temperature))
    assert found.temperature == pytest.approx(temperature, rel=0.03)
    assert found.error_after < 0.01
    assert found.images == 20_000
    if temperature != 1.0:
        assert found.error_before > 0.05


def test_it_has_the_lowest_cross_entropy() -> None:
    logits, labels = draw(2.0, images=500)
    found = fit_temperature(logits, labels).temperature

    def loss(value: float) -> float:
        picked = log_softmax(logits.astype(float) / value, axis=1)[np.arange(500), labels]
        return -float(picked.mean())

    assert loss(found) <= min(loss(found * 1.01), loss(found / 1.01))


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    labels = np.array([0, 1, 0, 1])
    # Two of confidence 0.9, one of them right; two of 0.6, both right.
    assert calibration_error(probabilities, labels) == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)
    assert calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0.0
