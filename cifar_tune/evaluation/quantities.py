"""A quantity over seeds, and the difference of two, as reports state them.

Accuracies are fractions, times are seconds of training and validation. Quantities are named as in
``QUANTITIES``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """A quantity of a model over its replicates.

    Attributes:
        mean: The arithmetic mean of accuracies, the geometric mean of times.
        sd: The standard deviation over seeds; None with one seed.
        low: The lower end of the 95 % interval, for the scatter of seeds and of images; None with
            one seed.
        high: The upper end of the interval.
        images: How many images each replicate was measured on; 0 for times and for training
            accuracy.
        basis: Where the noise of the images comes from: ``images`` (the answers on each image),
            ``binomial`` (a bound, where answers were not kept) or ``none``.
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    seeds: int
    images: int
    basis: str
    trials: tuple[int, ...]

    def to_row(self) -> dict[str, object]:
        """Return the figures under the names of a report's CSV columns."""
        return {"value": self.mean, **_spread(self)}


@dataclass(frozen=True)
class ContrastRecord:
    """By how much a model is better than the model ``than``, on average.

    In accuracies this is the difference; in seconds it is the share of the other's time that is
    saved, from the mean of the logarithms of the ratios.

    Attributes:
        judged_seeds: How many of the seeds, the first ones, a claim is judged on.
    """

    quantity: str
    than: str
    mean: float
    low: float | None
    high: float | None
    sd: float | None
    smallest_effect: float
    seeds: int
    images: int
    basis: str
    judged_seeds: int

    def to_row(self) -> dict[str, object]:
        """Return the figures under the names of a report's CSV columns."""
        return {
            "quantity": self.quantity,
            "than": self.than,
            "value": self.mean,
            **_spread(self),
        }


def _spread(record: Measured | ContrastRecord) -> dict[str, object]:
    return {key: getattr(record, key) for key in ("low", "high", "sd", "seeds", "images")}
