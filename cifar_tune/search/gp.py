"""Optuna's sampler of Gaussian processes, made to learn from all trials that have ended."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from statistics import fmean
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from cifar_tune.storage.optuna_private import sample_by_gaussian_process

MOST_TRIALS = 100
"""That a process is fitted to: what a draw costs grows with their cube."""


class GPOfAllTrials(optuna.samplers.GPSampler):
    """A Gaussian process that is told the search space, and learns from pruned trials too.

    Optuna's own learns from complete trials only: where a trial was pruned its expectations stay as
    high as they were, and it goes on proposing the same place. Here a pruned trial counts as what
    it would have come to, and one whose loss was not finite as the worst.

    Args:
        startup_trials: complete ones before it begins; until then values are uniform.
        later: draws from ``MOST_TRIALS`` on.
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
        """The search space that is known."""
        return self._known

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Draw all hyperparameters; none while too few trials are complete."""
        stored = study.get_trials(deepcopy=False)
        known = [one for one in stored if search_space.keys() <= one.params.keys()]
        complete = [one for one in known if one.state == TrialState.COMPLETE]
        others = [one for one in known if _is_pruned(one) or _is_not_finite(one)]
        if len(complete) < self._startup_trials:
            return {}
        if len(complete) + len(others) > MOST_TRIALS:
            return self._later.sample_relative(study, trial, search_space)
        ended = [*complete, *(_appraise(one, complete) for one in others)]
        running = [
            one for one in known if one.state == TrialState.RUNNING and one.number != trial.number
        ]
        return sample_by_gaussian_process(self, study, ended, running, search_space)


def _is_pruned(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.PRUNED and bool(trial.intermediate_values)


def _is_not_finite(trial: FrozenTrial) -> bool:
    failure = trial.user_attrs.get("failure") or {}
    return trial.state == TrialState.FAIL and failure.get("kind") == "not_finite"


def _appraise(trial: FrozenTrial, complete: list[FrozenTrial]) -> FrozenTrial:
    """A trial that is not complete, with the value that it probably would have come to.

    A pruned one would have gained, after its last epoch, what complete ones gained on average.
    """
    if _is_pruned(trial):
        epoch = max(trial.intermediate_values)
        gains = [
            (one.value or 0.0) - one.intermediate_values[epoch]
            for one in complete
            if epoch in one.intermediate_values
        ]
        value = trial.intermediate_values[epoch] + fmean(gains or [0.0])
    else:
        value = min(one.value or 0.0 for one in complete)
    appraised = copy.copy(trial)
    appraised.values = [value]
    return appraised
