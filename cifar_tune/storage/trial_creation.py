"""Begins trials in the database, and takes up those that wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState, create_trial

from cifar_tune.storage import optuna_private as private
from cifar_tune.storage.origin import is_begun
from cifar_tune.storage.trials import asker_of


def create_known(
    study: optuna.Study,
    space: Mapping[str, BaseDistribution],
    params: Mapping[str, float],
    attributes: Mapping[str, Any],
) -> optuna.Trial:
    """Begin a trial whose parameters are known; it is there with all of them or not at all."""
    template = create_trial(
        state=TrialState.RUNNING,
        params={name: params[name] for name in space},
        distributions=dict(space),
        user_attrs=dict(attributes),
    )
    study.sampler = optuna.samplers.RandomSampler()  # it has nothing to draw
    return private.open_trial(study, private.add_trial(study, template))


def create_sampled(
    study: optuna.Study,
    space: Mapping[str, BaseDistribution],
    sampler: optuna.samplers.BaseSampler,
    attributes: Mapping[str, Any],
    given: Mapping[str, float],
) -> optuna.Trial:
    """Begin a trial whose parameters the sampler draws, but for those that are given."""
    fixed = (
        {private.FIXED_PARAMS: dict(given)} if given else {}
    )  # as Study.enqueue_trial stores them
    template = create_trial(
        state=TrialState.RUNNING, user_attrs=dict(attributes), system_attrs=fixed
    )
    study.sampler = sampler
    return _suggest(private.open_trial(study, private.add_trial(study, template)), space)


def resume(
    study: optuna.Study,
    number: int,
    space: Mapping[str, BaseDistribution],
    sampler: optuna.samplers.BaseSampler,
) -> optuna.Trial | None:
    """Take up a trial that waits, under its number; what it was not given yet is drawn.

    Returns:
        None where it does not wait any more.
    """
    trial_id = private.get_trial_id_of_number(study, number)
    waiting = private.get_storage(study).get_trial(trial_id)
    begun = {} if is_begun(waiting) else {"queued": {**asker_of(waiting), "trial": number}}
    if not private.leave_waiting(private.get_engine(study), trial_id, TrialState.RUNNING, begun):
        return None
    study.sampler = sampler
    return _suggest(private.open_trial(study, trial_id), space)


def _suggest(trial: optuna.Trial, space: Mapping[str, BaseDistribution]) -> optuna.Trial:
    known = trial.params
    is_begun = bool(known.keys() & space.keys()) and not known.keys() >= space.keys()
    for name, distribution in space.items():
        if is_begun and name in known:
            _draw_again(trial, name, distribution)
        private.suggest(trial, name, distribution)
    return trial


def _draw_again(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> None:
    """Draw again what a run that died between two draws has stored.

    So that the next draw is the one that it would have made.
    """
    frozen = private.get_stored_trial(trial.study, trial)
    is_given = name in frozen.system_attrs.get(private.FIXED_PARAMS, {})
    if not is_given and name not in trial.relative_params:
        trial.study.sampler.sample_independent(trial.study, frozen, name, distribution)
