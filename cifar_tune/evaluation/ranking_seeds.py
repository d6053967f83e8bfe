"""What a seed has in common for all configurations that were trained with it.

Outcomes of one seed may be high or low together, where it sets the order of the images or the split
for all. That cancels among configurations with the same seeds, and makes each of them scatter more
than the comparison does. The effects of seeds are drawn from their posterior in a model with two
crossed factors (Searle, Casella, McCulloch, "Variance Components", 1992) by Gibbs sampling: the
variance that each configuration has besides, the variance of the effects, the effects.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SHARES = np.array([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98])
"""The shares of the variance over seeds that seeds may have in common."""
WEIGHTS = np.array([0.6, 0.1, 0.1, 0.08, 0.06, 0.04, 0.02])
"""How likely each is before a study has shown it; chosen."""
PRIOR_DEGREES = 3.0
"""How many degrees of freedom the mean variance counts as, for that of one configuration."""
SWEEPS = 10
"""Sweeps of the sampler before each draw."""


def draw_effects(
    outcomes: Sequence[Sequence[float]],
    seeds: Sequence[Sequence[Hashable]],
    draws: int,
    random: np.random.Generator,
) -> tuple[list[list[Floats]], Floats]:
    """Return the outcomes less the effects of their seeds, for each of so many draws.

    The effects of a draw have the mean zero; the standard deviation of what that leaves out, the
    mean effect, comes with each [draws].
    """
    values = [np.array(part, dtype=np.float64) for part in outcomes]
    crossed = _cross(values, seeds)
    if crossed is None:
        return [values] * draws, np.zeros(draws)
    names, table, present = crossed
    drawn, variances = _sample(table, present, draws, random)
    places = {name: place for place, name in enumerate(names)}
    taken = [
        [
            part - [effects[places[name]] if name in places else 0.0 for name in which]
            for part, which in zip(values, seeds, strict=True)
        ]
        for effects in drawn
    ]
    return taken, np.sqrt(variances / len(names))


def _cross(
    values: Sequence[Floats], seeds: Sequence[Sequence[Hashable]]
) -> tuple[list[Hashable], Floats, npt.NDArray[np.bool_]] | None:
    """Return the seeds in common, with the outcomes of configurations with several [n, k]."""
    several = [
        dict(zip(which, part, strict=True))
        for part, which in zip(values, seeds, strict=True)
        if len(set(which)) > 1
    ]
    everyone = dict.fromkeys(name for row in several for name in row)
    names = [name for name in everyone if sum(name in row for row in several) > 1]
    rows = [row for row in several if sum(name in row for name in names) > 1]
    if len(names) < 2 or len(rows) < 2:
        return None
    present = np.array([[name in row for name in names] for row in rows])
    table = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    return names, table, present


def _sample(
    table: Floats, present: npt.NDArray[np.bool_], draws: int, random: np.random.Generator
) -> tuple[list[Floats], Floats]:
    """Return draws of the effects [k], and of their variance."""
    counts = present.sum(axis=1)
    table = np.where(present, table - _row_means(table, present)[:, None], 0.0)
    effects, drawn, variances = np.zeros(table.shape[1]), [], []
    for sweep in range(draws * SWEEPS):
        rest = np.where(present, table - effects, 0.0)
        rest = np.where(present, rest - _row_means(rest, present)[:, None], 0.0)
        squares = (rest**2).sum(axis=1)
        typical = max(float(squares.sum() / (counts.sum() - len(counts))), 1e-9)
        degrees = PRIOR_DEGREES + counts - 1
        own = (squares + PRIOR_DEGREES * typical) / random.chisquare(degrees)
        # The configurations' means have a flat prior and are integrated over.
        information = np.diag((present / own[:, None]).sum(axis=0))
        information -= (present / (own * counts)[:, None]).T @ present
        evidence = (table / own[:, None]).sum(axis=0)
        variance, effects = _draw_given(information, evidence, np.median(own), random)
        effects = effects - effects.mean()
        if sweep % SWEEPS == SWEEPS - 1:
            drawn.append(effects)
            variances.append(variance)
    return drawn, np.array(variances)


def _draw_given(
    information: Floats, evidence: Floats, own: float, random: np.random.Generator
) -> tuple[float, Floats]:
    """Return the variance of the effects, drawn, and the effects."""
    size = len(evidence)
    variances = own * SHARES[1:] / (1 - SHARES[1:])
    precisions = information + np.eye(size) / variances[:, None, None]
    means = np.linalg.solve(
        precisions, np.broadcast_to(evidence, (len(variances), size))[..., None]
    )
    logs = 0.5 * (means[..., 0] @ evidence - np.linalg.slogdet(precisions)[1])
    logs = np.r_[0.0, logs - size / 2 * np.log(variances)] + np.log(WEIGHTS)
    weights = np.exp(logs - logs.max())
    chosen = int(random.choice(len(weights), p=weights / weights.sum()))
    if chosen == 0:
        return 0.0, np.zeros(size)
    root = np.linalg.cholesky(np.linalg.inv(precisions[chosen - 1]))
    return float(variances[chosen - 1]), means[chosen - 1, :, 0] + root @ random.normal(size=size)


def _row_means(table: Floats, present: npt.NDArray[np.bool_]) -> Floats:
    means: Floats = (table * present).sum(axis=1) / present.sum(axis=1)
    return means
