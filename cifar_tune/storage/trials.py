"""Records trials in the database, from their beginning to their end, and reads them back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import Engine

from cifar_tune.config.names import read_number, resolve_name, suggest_name
from cifar_tune.storage import optuna_private as private
from cifar_tune.storage.origin import (
    is_begun,
    is_foreign,
    is_request,
    number_requests,
    read_asker,
    read_own_attributes,
)
from cifar_tune.storage.records import DROPPED, FOREIGN, SET_ASIDE, TrialSummary
from cifar_tune.training.records import EpochMetrics
from cifar_tune.wording import format_count

ELSEWHERE = "Optuna API"
"""Who asked for a trial that this program did not enqueue."""
RETRIED = ("interrupted", "died", "error")
"""Kinds of failure after which a trial is run again. A loss that is not finite is a result."""


def begin(
    study: optuna.Study,
    space: Mapping[str, BaseDistribution],
    sampler: optuna.samplers.BaseSampler,
    attributes: Mapping[str, Any],
    params: Mapping[str, float],
) -> optuna.Trial:
    """Begin a trial whose parameters the sampler draws, but for those that are given.

    Where all are given, the trial is there with all of them or not at all.
    """
    has_all = params.keys() >= space.keys()
    template = create_trial(
        state=TrialState.RUNNING,
        params={name: params[name] for name in space} if has_all else {},
        distributions=dict(space) if has_all else {},
        user_attrs=dict(attributes),
        # As Study.enqueue_trial stores them.
        system_attrs={private.FIXED_PARAMS: dict(params)} if params and not has_all else {},
    )
    study.sampler = optuna.samplers.RandomSampler() if has_all else sampler
    trial = private.open_trial(study, private.add_trial(study, template))
    return trial if has_all else suggest_all(trial, space)


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
    return suggest_all(private.open_trial(study, trial_id), space)


def suggest_all(trial: optuna.Trial, space: Mapping[str, BaseDistribution]) -> optuna.Trial:
    """Give a trial its parameters: those that it has or was asked for with, else drawn ones."""
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


def put_back(study: optuna.Study, trial: FrozenTrial | optuna.Trial) -> FrozenTrial:
    """Let a trial that runs wait: it keeps its number, its parameters and its epochs."""
    private.set_trial_state(study, private.get_trial_id(trial), TrialState.WAITING)
    return private.get_stored_trial(study, trial)


def record_history(trial: optuna.Trial, history: list[EpochMetrics]) -> None:
    """Store the epochs so far."""
    trial.set_user_attr("history", [dataclasses.asdict(metrics) for metrics in history])


def record_complete(study: optuna.Study, trial: optuna.Trial, val_accuracy: float) -> FrozenTrial:
    """End a trial as complete, with the validation accuracy of its last epoch."""
    return study.tell(trial, val_accuracy)


def record_pruned(study: optuna.Study, trial: optuna.Trial) -> FrozenTrial:
    """End a trial as pruned. Optuna takes no value for it: it takes the last one reported."""
    return study.tell(trial, state=TrialState.PRUNED)


def record_drop(study: optuna.Study, trial: FrozenTrial) -> FrozenTrial:
    """End a trial as failed, since it is not wanted any more."""
    if trial.state == TrialState.RUNNING:
        put_back(study, trial)
    message = f"dropped after {format_count(len(trial.intermediate_values), 'epoch')}"
    set_aside(private.get_engine(study), trial, DROPPED, message)
    return private.get_stored_trial(study, trial)


def set_aside(engine: Engine, trial: FrozenTrial, kind: str, message: str) -> bool:
    """End a trial that waits as failed, for a reason that is no fault of a run.

    ``Study.tell`` ends none that waits.

    Returns:
        Whether it still waited.
    """
    attributes: dict[str, Any] = {"failure": {"kind": kind, "message": message}}
    if not is_begun(trial):
        attributes["queued"] = asker_of(trial)
    return private.leave_waiting(engine, private.get_trial_id(trial), TrialState.FAIL, attributes)


def asker_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return who asked for a trial, as it is stored once a run has seen it."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"by": ELSEWHERE, "at": now, **read_asker(trial)}


def name_of(trial: FrozenTrial) -> str:
    """Return the name of a trial with its replicate, or its number if it has none."""
    return str(read_own_attributes(trial).get("name", trial.number))


def find_trials(trials: Iterable[FrozenTrial], text: str, study_name: str) -> list[FrozenTrial]:
    """Return the trial of a number, or those of a name, which may be as tables show it.

    Several have one name where one was run again.

    Raises:
        InputError: Trials of several names are called so.
    """
    number = read_number(text)
    if number is not None:
        return [trial for trial in trials if trial.number == number]
    by_name: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        by_name.setdefault(name_of(trial), []).append(trial)
    name = resolve_name(text, by_name, f"trial {text} of {study_name}")
    return [] if name is None else by_name[name]


def suggest_trial(trials: Iterable[FrozenTrial], text: str) -> str:
    """Return the question whether a trial was meant, to end a message with, if any is near."""
    return suggest_name(text, map(name_of, trials))


def rank(trial: FrozenTrial) -> tuple[float, int]:
    """Return the key by which the best of complete trials is the greatest.

    That is the one with the highest validation accuracy, and the first of equals.
    """
    return trial.value or 0.0, -trial.number


def is_to_be_retried(trial: FrozenTrial) -> bool:
    """Return whether a trial failed for a reason that is not its configuration's."""
    failure = trial.user_attrs.get("failure") or {}
    return trial.state == TrialState.FAIL and failure.get("kind", "error") in RETRIED


def list_known(study: optuna.Study) -> list[Known]:
    """Return the trials of a study as a work list takes them."""
    trials = study.get_trials(deepcopy=False)
    retried = {read_own_attributes(trial).get("retry_of") for trial in trials}
    indices = number_requests(trials)
    return [
        Known(
            number=trial.number,
            name=read_own_attributes(trial).get("name"),
            state=_work_state(trial, retried),
            seed=read_own_attributes(trial).get("seed"),
            params=trial.params,
            epochs=len(trial.intermediate_values),
            is_again="retry_of" in trial.user_attrs,
            queued=read_asker(trial) or None,
            index=indices.get(trial.number, 0),
        )
        for trial in trials
        if is_begun(trial)
    ]


def _work_state(trial: FrozenTrial, retried: set[int | None]) -> str:
    if not trial.state.is_finished():
        return "waiting"
    if is_to_be_retried(trial):
        # Without parameters it is as if it had never been; another one is sampled.
        is_done = trial.number in retried or not trial.params
        return "retried" if is_done else "retry"
    if (trial.user_attrs.get("failure") or {}).get("kind") in SET_ASIDE:
        return "dropped"
    return "settled"


def summarize(trial: FrozenTrial) -> TrialSummary:
    """Return a stored trial as tables and JSON show it."""
    if is_foreign(trial):
        return TrialSummary(number=trial.number, state=FOREIGN)
    attributes, values = read_own_attributes(trial), trial.intermediate_values
    seconds = sum(epoch["seconds"] for epoch in attributes.get("history", ()))
    return TrialSummary(
        number=trial.number,
        name=attributes.get("name"),
        seed=attributes.get("seed"),
        state=trial.state.name.lower(),
        params=trial.params,
        settings=attributes.get("settings", {}),
        epochs=len(values),
        val_accuracy=values[max(values)] if values else None,
        seconds=round(seconds, 3) if trial.state.is_finished() else None,
        failure=attributes.get("failure"),
        queued="queued" in attributes or is_request(trial),
    )


@dataclass(frozen=True)
class Known:
    """A trial that the storage has.

    Attributes:
        name: Name of a named trial with its replicate; None if sampled.
        state: ``waiting``, ``settled``, ``retry`` (it failed, and is to be run again), ``retried``
            (that was done) or ``dropped`` (it stands in for nothing, also where it was cancelled
            or refused).
        is_again: Whether it is another one's second run.
        queued: Who asked for it, as it is stored; None where nobody did.
        index: Which it is of those that were asked for.
    """

    number: int
    name: str | None
    state: str
    seed: int | None
    params: Mapping[str, float]
    epochs: int
    is_again: bool
    queued: Mapping[str, Any] | None = None
    index: int = 0
