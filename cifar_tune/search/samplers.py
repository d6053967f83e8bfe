"""Search space and sampler of a study, as Optuna's objects."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from statistics import fmean
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from cifar_tune.config.schema import GP, TPE, Sampler
from cifar_tune.config.space import Space, WholeRange
from cifar_tune.storage.optuna_private import sample_by_gaussian_process

MOST_TRIALS = 100
"""How many trials a process is fitted to at the most: what a draw costs grows with their cube."""


def distributions(space: Space) -> Mapping[str, BaseDistribution]:
    """Return Optuna's distribution of each searched hyperparameter."""
    return {
        name: IntDistribution(values.low, values.high, log=values.log)
        if isinstance(values, WholeRange)
        else FloatDistribution(values.low, values.high, log=values.log)
        for name, values in space.ranges().items()
    }


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


class GPOfAllTrials(optuna.samplers.GPSampler):
    """A Gaussian process that is told the search space, and learns from pruned trials too.

    Optuna's own learns from complete trials only: where a trial was pruned its expectations stay as
    high as they were, and it goes on proposing the same place. Here a pruned trial counts as what
    it would have come to, and one whose loss was not finite as the worst. Values are uniform
    until ``startup_trials`` are complete; ``later`` draws them from ``MOST_TRIALS`` on.
    """

    def __init__(
        self,
        space: Mapping[str, BaseDistribution],
        startup_trials: int,
        seed: int,
        later: optuna.samplers.BaseSampler,
    ) -> None:
        super().__init__(
            seed=seed, n_startup_trials=startup_trials, warn_independent_sampling=False
        )
        self._startup_trials = startup_trials
        self._known = dict(sorted(space.items()))
        self._later = later

    def infer_relative_search_space(self, *_: object) -> dict[str, BaseDistribution]:
        """Return the search space that is known."""
        return self._known

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Draw all hyperparameters; none while too few trials are complete."""
        drawn = [
            other
            for other in study.get_trials(deepcopy=False)
            if search_space.keys() <= other.params.keys()
        ]
        complete = [other for other in drawn if other.state == TrialState.COMPLETE]
        cut_short = [other for other in drawn if _is_pruned(other) or _is_not_finite(other)]
        if len(complete) < self._startup_trials:
            return {}
        if len(complete) + len(cut_short) > MOST_TRIALS:
            return self._later.sample_relative(study, trial, search_space)
        ended = [*complete, *(_appraise(other, complete) for other in cut_short)]
        running = [
            other
            for other in drawn
            if other.state == TrialState.RUNNING and other.number != trial.number
        ]
        return sample_by_gaussian_process(self, study, ended, running, search_space)


def _is_pruned(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.PRUNED and bool(trial.intermediate_values)


def _is_not_finite(trial: FrozenTrial) -> bool:
    failure = trial.user_attrs.get("failure") or {}
    return trial.state == TrialState.FAIL and failure.get("kind") == "not_finite"


def _appraise(trial: FrozenTrial, complete: list[FrozenTrial]) -> FrozenTrial:
    """Return a trial that is not complete, with the value that it probably would have come to.

    A pruned one would have gained, after its last epoch, what complete ones gained on average.
    """
    if _is_pruned(trial):
        epoch = max(trial.intermediate_values)
        gains = [
            (other.value or 0.0) - other.intermediate_values[epoch]
            for other in complete
            if epoch in other.intermediate_values
        ]
        value = trial.intermediate_values[epoch] + fmean(gains or [0.0])
    else:
        value = min(other.value or 0.0 for other in complete)
    appraised = copy.copy(trial)
    appraised.values = [value]
    return appraised
