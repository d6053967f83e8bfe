"""The sampler of a study for ``study.optimize``, which draws what a run would draw."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from cifar_tune.config.seeds import derive_seed
from cifar_tune.config.study_file import StudySpec
from cifar_tune.search.samplers import distributions, make_sampler
from cifar_tune.storage.optuna_private import FIXED_PARAMS
from cifar_tune.storage.origin import list_all_trials, number_requests
from cifar_tune.storage.trials import list_known

Space = dict[str, BaseDistribution]


def find_index(study: optuna.Study, trial: FrozenTrial) -> tuple[bool, int]:
    """Return whether someone asked for a trial, and its index, from which its seeds follow.

    A work list has the same index for it.
    """
    if FIXED_PARAMS in trial.system_attrs and "retry_of" not in trial.user_attrs:
        return True, number_requests(list_all_trials(study))[trial.number]
    known = list_known(study)
    sampled = {it.number for it in known if it.name is None and it.queued is None}
    sampled -= {it.number for it in known if it.is_again}
    return False, sum(number < trial.number for number in sampled)


def seed_of(study_seed: int, purpose: str, draw: tuple[bool, int]) -> int:
    """Return the seed of a trial, or of its sampler, by ``purpose``; ``draw`` is its index."""
    is_queued, index = draw
    return derive_seed(study_seed, *(("queued",) if is_queued else ()), purpose, index)


class StudySampler(optuna.samplers.BaseSampler):
    """The sampler that a study file states, with a seed of its own for each trial.

    Optuna's samplers have one seed for all draws, so that a program that is started again would
    draw the same values again. Here the seed follows from the study's seed and from which of the
    sampled trials it is, as in a run.
    """

    def __init__(self, spec: StudySpec, study_seed: int) -> None:
        self._spec = spec
        self._study_seed = study_seed
        self._space: Mapping[str, BaseDistribution] = distributions(spec.space)
        self._draws: dict[int, tuple[bool, int]] = {}  # of trials that run
        self._samplers: dict[int, optuna.samplers.BaseSampler] = {}  # likewise
        self._lock = threading.Lock()

    def find_draw(self, study: optuna.Study, trial: FrozenTrial) -> tuple[bool, int]:
        """Return what ``find_index`` does, and another index for each of the trials that run.

        Trials that threads have begun at once may not be recorded yet as sampled ones.
        """
        with self._lock:
            if trial.number not in self._draws:
                is_queued, index = find_index(study, trial)
                while (is_queued, index) in self._draws.values():
                    index += 1
                self._draws[trial.number] = is_queued, index
            return self._draws[trial.number]

    def _of(self, study: optuna.Study, trial: FrozenTrial) -> optuna.samplers.BaseSampler:
        if trial.number not in self._samplers:
            seed = seed_of(self._study_seed, "sampler", self.find_draw(study, trial))
            sampler = make_sampler(self._spec.profile.sampler, seed, self._space)
            self._samplers[trial.number] = sampler
        return self._samplers[trial.number]

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Space:
        """Return the search space; see Optuna."""
        return self._of(study, trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Space
    ) -> dict[str, Any]:
        """Draw values together; see Optuna."""
        return self._of(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw a value; see Optuna."""
        sampler = self._of(study, trial)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Prepare; see Optuna."""
        self._of(study, trial).before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Any,
    ) -> None:
        """Forget the trial; see Optuna."""
        self._draws.pop(trial.number, None)
        sampler = self._samplers.pop(trial.number, None)
        if sampler is not None:
            sampler.after_trial(study, trial, state, values)
