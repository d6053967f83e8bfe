"""Search space and sampler of a study, as Optuna's objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from cifar_tune.config.schema import GP, TPE, Sampler
from cifar_tune.config.space import Space, WholeRange
from cifar_tune.search.gp import GPOfAllTrials


def distributions(space: Space) -> Mapping[str, BaseDistribution]:
    """Return Optuna's distribution of each searched hyperparameter."""
    return {
        name: IntDistribution(values.low, values.high, log=values.log)
        if isinstance(values, WholeRange)
        else FloatDistribution(values.low, values.high, log=values.log)
        for name, values in space.ranges().items()
    }


class _TPEOfKnownSpace(optuna.samplers.TPESampler):
    """TPE that is told the search space.

    Optuna's own takes what the spaces of all trials have in common, which is the same one here, and
    compares 5,000 of them in 0.1 s for each new trial.
    """

    def __init__(self, space: Mapping[str, BaseDistribution], sampler: TPE, **options: Any) -> None:
        super().__init__(
            n_startup_trials=sampler.startup_trials, multivariate=sampler.multivariate, **options
        )
        # In the order in which Optuna has it, so that the draws are the same.
        self._known = dict(sorted(space.items())) if sampler.multivariate else {}

    def infer_relative_search_space(self, *_: object) -> dict[str, BaseDistribution]:
        return self._known


def make_sampler(
    sampler: Sampler,
    seed: int,
    space: Mapping[str, BaseDistribution],
    *,
    parallel: bool = False,
) -> optuna.samplers.BaseSampler:
    """Build the sampler for one draw.

    Args:
        sampler: The sampler.
        seed: The seed of this draw. A sampler that lives through a study would repeat its draws
            after a restart; one seed for each trial's number does not.
        space: Optuna's distribution of each searched hyperparameter.
        parallel: Whether trials run at once; those that run then count as bad ones ("constant
            liar"), so that the next is not drawn from the same place.
    """
    if isinstance(sampler, TPE):
        return _TPEOfKnownSpace(space, sampler, constant_liar=parallel, seed=seed)
    if isinstance(sampler, GP):
        tpe = TPE(name="tpe", startup_trials=sampler.startup_trials, multivariate=True)
        later = make_sampler(tpe, seed, space, parallel=parallel)
        return GPOfAllTrials(space, sampler.startup_trials, seed, later)
    return optuna.samplers.RandomSampler(seed=seed)
