"""Calibrated probabilities: one temperature, fitted on validation images.

Source: C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On Calibration of Modern Neural Networks",
ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

BINS = 15
"""Of equal width, as in the source."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """A temperature and what it does on the images that it was fitted on.

    Attributes:
        temperature: that logits are divided by.
        error_before: expected calibration error of the softmax, a fraction; likewise after.
        images: how many it was fitted on.
    """

    temperature: float
    error_before: float
    error_after: float
    images: int


def fit_temperature(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]
) -> Calibration:
    """The temperature with the lowest cross-entropy.

    Args:
        logits: [N, classes].
        labels: [N].
    """
    given = logits.astype(np.float64)
    chosen = np.arange(len(labels)), labels

    def loss(log_temperature: float) -> float:
        scaled = given / np.exp(log_temperature)
        return float(-special.log_softmax(scaled, axis=1)[chosen].mean())

    found = optimize.minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
    temperature = float(np.exp(found.x))
    return Calibration(
        temperature=temperature,
        error_before=calibration_error(special.softmax(given, axis=1), labels),
        error_after=calibration_error(special.softmax(given / temperature, axis=1), labels),
        images=len(labels),
    )


def calibration_error(probabilities: Floats, labels: npt.NDArray[np.integer]) -> float:
    """Expected calibration error: by how much confidence and accuracy differ, on average.

    Args:
        probabilities: [N, classes].
        labels: [N].

    Returns:
        The mean over ``BINS`` bins of confidence, weighted by their images, as a fraction.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    error = 0.0
    for one in np.unique(bins):
        within = bins == one
        error += within.mean() * abs(right[within].mean() - confidence[within].mean())
    return float(error)
