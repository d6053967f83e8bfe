"""Calibrated probabilities: one temperature, fitted on validation images.

Source: C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On Calibration of Modern Neural Networks",
ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import optimize, special

from cifar_tune.config.checked import Fraction, Positive

BINS = 15
"""The number of bins of equal width, as in the source."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """A temperature and what it does on the images that it was fitted on.

    Attributes:
        temperature: What logits are divided by.
        error_before: The expected calibration error of the softmax, a fraction.
        error_after: The same with the temperature.
        images: How many images it was fitted on.
    """

    temperature: Annotated[float, Field(strict=True, ge=0.01, le=100)]
    error_before: Fraction
    error_after: Fraction
    images: Positive


def fit_temperature(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]
) -> Calibration:
    """Return the temperature with the lowest cross-entropy of logits [N, classes], labels [N]."""
    unscaled = logits.astype(np.float64)
    chosen = np.arange(len(labels)), labels

    def loss(log_temperature: float) -> float:
        scaled = unscaled / np.exp(log_temperature)
        return float(-special.log_softmax(scaled, axis=1)[chosen].mean())

    minimum = optimize.minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
    temperature = float(np.exp(minimum.x))
    return Calibration(
        temperature=temperature,
        error_before=calibration_error(special.softmax(unscaled, axis=1), labels),
        error_after=calibration_error(special.softmax(unscaled / temperature, axis=1), labels),
        images=len(labels),
    )


def calibration_error(probabilities: Floats, labels: npt.NDArray[np.integer]) -> float:
    """Return the expected calibration error: how far confidence and accuracy differ, on average.

    It is the mean over ``BINS`` bins of confidence, weighted by their images, for probabilities
    [N, classes] and labels [N].
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    error = 0.0
    for place in np.unique(bins):
        within = bins == place
        error += within.mean() * abs(right[within].mean() - confidence[within].mean())
    return float(error)
