"""What people asked for, from a browser, another terminal or a notebook.

A trial that was asked for is a trial of Optuna's that waits, as ``Study.enqueue_trial`` adds one:
whoever holds the lease of its study checks it and trains it. Anyone may ask, and cancel what was
not begun.
"""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from cifar_tune.config.study_file import StudySpec
from cifar_tune.errors import InputError
from cifar_tune.storage.definition import check_definition
from cifar_tune.storage.optuna_private import FIXED_PARAMS, list_newest_ended
from cifar_tune.storage.origin import is_begun, is_request, read_asker, read_requested_params
from cifar_tune.storage.records import CANCELLED, REFUSED, TrialSummary
from cifar_tune.storage.studies import StudyCounts, count_trials, find_study, prepare_study
from cifar_tune.storage.study_requests import Request, State, StudyRequests, now
from cifar_tune.storage.trials import ELSEWHERE, set_aside, summarize
from cifar_tune.wording import format_accuracy, format_count, printable

MOST_WAITING = 1000
"""How many trials of a study may wait."""


class TrialQueue:
    """The requests in a database.

    Attributes:
        studies: The requests for whole studies.
    """

    def __init__(self, storage: RDBStorage) -> None:
        self._storage = storage
        self.studies = StudyRequests(storage.engine)

    def ask_for_trial(
        self, spec: StudySpec, study: str, params: Mapping[str, float], seed: int | None, by: str
    ) -> Request:
        """Enqueue a trial of a study, which is created where it is not stored yet.

        Args:
            spec: The study.
            study: Name or path of its study file.
            params: Checked values of searched hyperparameters.
            seed: Seed of the trial; None derives one.
            by: Where the request comes from, in words.

        Raises:
            InputError: The study has no search space, or too many of its trials wait.
            StudyMismatchError: It is stored with other settings.
        """
        if not spec.space.ranges():
            raise InputError(f"{spec.file_name} has no search space; run the study instead")
        prepare_study(self._storage, spec)
        (counts,) = self._count_trials(spec.study_name)
        if counts.states.get("waiting", 0) >= MOST_WAITING:
            raise InputError(
                f"{spec.study_name}: {MOST_WAITING:,} trials are queued already; run the study, or "
                "cancel some of them"
            )
        asker = {"by": by, "at": now(), "study": study}
        return _read_trial(counts, _enqueue(self._storage, counts.study_id, params, seed, asker))

    def ask_for_study(self, spec: StudySpec, study: str, by: str) -> Request:
        """Ask for all that is left of a study; arguments as for ``ask_for_trial``."""
        check_definition(find_study(self._storage, spec.study_name), spec, None, digests=None)
        return self.studies.add(spec.study_name, study, spec.profile_name, dict(spec.overrides), by)

    def list_requests(self, study_name: str | None = None) -> list[Request]:
        """Return the requests that wait or were begun, in the order in which they were made.

        Args:
            study_name: The study; None lists those of all.
        """
        requests = list(self.studies.list_rows(("waiting", "begun"), study_name).values())
        for counts in self._count_trials(study_name):
            if counts.states.keys() & {"waiting", "running"}:
                trials = self._storage.get_all_trials(
                    counts.study_id,
                    deepcopy=False,
                    states=(TrialState.WAITING, TrialState.RUNNING),
                )
                requests += [_read_trial(counts, trial) for trial in trials if is_request(trial)]
        return sorted(requests, key=lambda request: request.asked or "")

    def list_ended(self, limit: int) -> list[Request]:
        """Return the requests that are over, the newest first."""
        studies = {counts.study_id: counts for counts in self._count_trials(None)}
        rows = self.studies.list_rows(("ended", "cancelled", "refused")).values()
        requests = [request for request in rows if request.trial is None]  # else it is below
        for study_id, trial_id in list_newest_ended(self._storage.engine, "queued", limit):
            trial = self._storage.get_trial(trial_id)
            if study_id in studies and is_request(trial):
                requests.append(_read_trial(studies[study_id], trial))
        return sorted(requests, key=lambda request: request.asked or "", reverse=True)[:limit]

    def cancel(self, study_name: str, identity: str) -> bool:
        """Cancel a request that waits; return False where it does not wait any more."""
        return self._set_aside(study_name, identity, CANCELLED, "cancelled before it started")

    def refuse(self, request: Request, reason: str) -> bool:
        """Refuse a request that waits; return False where it does not wait any more."""
        return self._set_aside(request.study_name, str(request.id), REFUSED, reason)

    def _set_aside(self, study_name: str, identity: str, kind: str, reason: str) -> bool:
        for row, request in self.studies.list_rows(("waiting",), study_name).items():
            if str(request.id) == identity:
                return self.studies.change_row(row, "waiting", {"state": kind, "reason": reason})
        for counts in self._count_trials(study_name):
            waiting = self._storage.get_all_trials(
                counts.study_id, deepcopy=False, states=(TrialState.WAITING,)
            )
            for trial in waiting:
                if str(trial.number) == identity and not is_begun(trial):
                    return set_aside(self._storage.engine, trial, kind, reason)
        return False

    def enqueue_old_requests(self, study: optuna.Study) -> None:
        """Enqueue the trials that were asked for when they were rows of a table.

        The holder of the study's lease calls it; it goes on where one that died has left off.
        """
        rows = self.studies.list_rows(("waiting", "begun"), study.study_name).items()
        old = {row: request for row, request in rows if request.params is not None}
        if not old:
            return
        trials = filter(is_request, study.get_trials(deepcopy=False))
        numbers = {read_asker(trial).get("id"): trial.number for trial in trials}
        study_id = self._storage.get_study_id_from_name(study.study_name)
        for row, request in old.items():
            if row not in numbers:
                asker = {"id": row, "by": request.by, "at": request.asked, "study": request.study}
                trial = _enqueue(self._storage, study_id, request.params or {}, request.seed, asker)
                numbers[row] = trial.number
            ended = {"state": "ended", "trial": numbers[row]}
            self.studies.change_row(row, request.state, ended)

    def _count_trials(self, study_name: str | None) -> list[StudyCounts]:
        studies = count_trials(self._storage)
        return [counts for counts in studies if study_name in (None, counts.study_name)]


def _enqueue(
    storage: RDBStorage,
    study_id: int,
    params: Mapping[str, Any],
    seed: int | None,
    asker: Mapping[str, Any],
) -> FrozenTrial:
    """Add a trial as ``Study.enqueue_trial`` does, which does not return it."""
    seeds = {} if seed is None else {"seed": seed}
    template = create_trial(
        state=TrialState.WAITING,
        user_attrs={"queued": {**asker, **seeds}, **seeds},
        system_attrs={FIXED_PARAMS: dict(params)},
    )
    return storage.get_trial(storage.create_new_trial(study_id, template))


def _read_trial(counts: StudyCounts, trial: FrozenTrial) -> Request:
    """Return what was asked for with a trial; another program may have stored what it likes."""
    asker, failure = read_asker(trial), trial.user_attrs.get("failure") or {}
    state: State = "begun" if is_begun(trial) else "waiting"
    if trial.state.is_finished():
        kind = failure.get("kind")
        state = kind if kind in (CANCELLED, REFUSED) else "ended"
    params = read_requested_params(trial)
    return Request(
        id=trial.number,
        study_name=counts.study_name,
        study=str(asker.get("study", counts.study_name.partition(":")[0])),
        profile=counts.profile,
        overrides=counts.overrides,
        params={printable(key): _make_plain(value) for key, value in params.items()},
        seed=asker.get("seed"),
        by=printable(asker.get("by", ELSEWHERE)),
        asked=printable(asker["at"]) if "at" in asker else None,
        state=state,
        trial=trial.number,
        reason=failure.get("message") if state == REFUSED else None,
        outcome=_describe_outcome(summarize(trial)) if state in ("begun", "ended") else None,
    )


def _describe_outcome(trial: TrialSummary) -> str:
    """Return how a trial ended, or how far it is, with its validation accuracy."""
    if trial.has_failed:
        return f"failed: {trial.failure_message}"
    epochs = format_count(trial.epochs, "epoch")
    return f"{trial.outcome}, {epochs}, validation {format_accuracy(trial.val_accuracy)}"


def _make_plain(value: object) -> float | str:
    if isinstance(value, int | float) and abs(value) < sys.float_info.max:
        return value
    return reprlib.repr(value)
