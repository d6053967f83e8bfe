"""Checks trials that people asked for: Optuna enqueues whatever it is given."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial

from cifar_tune.config.params import MOST_SEED, check_params
from cifar_tune.config.study_file import StudySpec
from cifar_tune.storage.origin import is_begun, number_requests, read_requested_params
from cifar_tune.wording import printable

_OF_RUNS = {
    "name",
    "settings",
    "config",
    "facts",
    "history",
    "restarts",
    "failure",
    "kept_weights_sha256",
}
"""User attributes that only a run stores with a trial."""


@dataclass(frozen=True)
class NewRequest:
    """A trial that was asked for, that fits its study and that no run has begun.

    Attributes:
        number: The number of the trial.
        index: Which it is of those that were asked for: its seeds follow from it.
        params: Values of searched hyperparameters; the sampler draws the others.
    """

    number: int
    index: int
    params: dict[str, float]


def check_requests(
    spec: StudySpec, study: optuna.Study
) -> tuple[list[NewRequest], list[tuple[FrozenTrial, str]]]:
    """Return the new requests that fit a study, and the other ones with what is wrong with them."""
    trials = study.get_trials(deepcopy=False)
    new = [trial for trial in trials if not is_begun(trial)]
    if not new:
        return [], []
    indices = number_requests(trials)
    accepted, misfits = [], []
    for trial in new:
        params, fault = check_request(spec, trial)
        if fault:
            misfits.append((trial, fault))
        else:
            accepted.append(NewRequest(trial.number, indices[trial.number], params))
    return accepted, misfits


def check_request(spec: StudySpec, trial: FrozenTrial) -> tuple[dict[str, float], str]:
    """Return the values of a trial that was asked for, and what is wrong with it, if anything."""
    attributes, given = trial.user_attrs, read_requested_params(trial)
    if not spec.space.ranges():
        return {}, f"{spec.file_name} has no search space"
    if trial.params:
        return {}, "it has values already: expected a trial of Study.enqueue_trial"
    params, faults = check_params(spec, given)
    lines = [f"{printable(key)} = {reprlib.repr(given[key])}: {faults[key]}" for key in faults]
    lines += [
        f"user attribute {key}: only a run stores it"
        for key in sorted(_OF_RUNS & attributes.keys())
    ]
    seed = attributes.get("seed", 0)
    if type(seed) is not int or not 0 <= seed <= MOST_SEED:
        lines.append(f"seed = {reprlib.repr(seed)}: expected a whole number from 0 to {MOST_SEED}")
    return params, "; ".join(lines)
