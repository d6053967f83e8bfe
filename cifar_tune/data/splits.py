"""Which rows train and which validate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Labels = npt.NDArray[np.uint8]


def plain_split(total: int, first: int, second: int, seed: int) -> tuple[Rows, Rows]:
    """Draw two disjoint sets of rows at random, regardless of class, as the assignment did.

    Args:
        total: rows to draw from.
        first: rows in the first set (training).
        second: rows in the second set (validation); ``first + second <= total``.
        seed: of the draw; NumPy's PCG64, the same on every machine.
    """
    order = np.random.default_rng(seed).permutation(total)
    return order[:first], order[first : first + second]


def stratified_split(labels: Labels, first: int, second: int, seed: int) -> tuple[Rows, Rows]:
    """Draw two disjoint sets of rows at random, each with the classes in proportion.

    In each set, a class has its share of the rows to within one row.

    Args:
        labels: Of the rows to draw from, uint8 [N].
        first: As for ``plain_split``.
        second: As for ``plain_split``.
        seed: As for ``plain_split``.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    # Shuffled rows of each class are spread evenly over 0 to 1; any stretch of that has all classes
    # in proportion.
    place = np.zeros(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels[order] == label)
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    spread = order[np.argsort(place, kind="stable")]
    return spread[:first], spread[first : first + second]


def balanced_head(labels: Labels, count: int) -> Rows:
    """Return the first ``count`` rows when classes take turns, in the original order.

    Every class has ``count / classes`` rows, give or take one.
    """
    rank = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = labels == label
        rank[rows] = np.arange(rows.sum())
    return np.sort(np.lexsort((labels, rank))[:count])
