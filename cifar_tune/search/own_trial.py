"""A trial that ``study.optimize`` has begun in a study of a study file, recorded as a run does."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import optuna
import torch
from optuna.trial import BaseTrial, TrialState

from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.trial import TrialConfig
from cifar_tune.errors import NonFiniteLossError, StudyMismatchError
from cifar_tune.search.observer import Annotator
from cifar_tune.search.open_study import OpenStudy, open_files
from cifar_tune.search.pruners import CompleteTrials
from cifar_tune.search.requests import check_request
from cifar_tune.search.study_sampler import StudySampler, find_index, seed_of
from cifar_tune.search.trial_callbacks import CallbackObserver, TrialCallback, logger
from cifar_tune.search.trial_recorder import TrialRecorder
from cifar_tune.search.trial_starter import RunningTrial, TrialStarter
from cifar_tune.search.work_list import Item, WorkList
from cifar_tune.storage import definition, trials
from cifar_tune.storage.lease import hold_lease
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.storage.optuna_private import get_engine, get_latest_trial, get_study_id
from cifar_tune.storage.origin import is_request, select_own_trials
from cifar_tune.storage.records import REFUSED, TrialSummary
from cifar_tune.storage.studies import locate_study
from cifar_tune.training.options import read_precision
from cifar_tune.training.records import EpochMetrics, TrialResult
from cifar_tune.workers.protocol import EpochEnded, Event, Materials, Started, Stepped
from cifar_tune.workers.train_task import describe_failure, train


def locate_own(trial: BaseTrial, spec: StudySpec) -> StorageLocation | None:
    """Return where the study of a trial is stored; None where no study file stands for it.

    Raises:
        StudyMismatchError: It is the study of another specification.
    """
    study: optuna.Study | None = getattr(trial, "study", None)
    location = None if study is None else locate_study(study)
    if study is None or location is None or "study_file" not in study.user_attrs:
        return None
    if study.study_name != spec.study_name:
        raise StudyMismatchError(
            f"study {study.study_name}: expected {spec.study_name}, the study of this objective"
        )
    return location


@contextmanager
def open_own(
    study: optuna.Study, spec: StudySpec, location: StorageLocation, materials: Materials
) -> Iterator[OpenStudy]:
    """Hold the lease of a study, check and store what defines it, and take up its files.

    Raises:
        StudyMismatchError: It was made with other settings.
        StudyBusyError: Another process trains it.
        StorageError: The database cannot be written.
    """
    study = select_own_trials(study)
    engine, study_id, name = get_engine(study), get_study_id(study), study.study_name
    digests = definition.Digests(
        materials.data.digests,
        {name: pretrained.sha256 for name, pretrained in materials.weights.items()},
    )
    with explain_errors(location), hold_lease(engine, study_id, name, logger.info) as lease:
        precision = spec.precision
        if precision is None and definition.is_defined(study):
            precision = definition.stored_precision(study)
        if precision is None:  # none is chosen by measuring: two programs are to give the same
            precision = read_precision(os.environ.get("CIFAR_TUNE_PRECISION")) or "fp32"
        spec = dataclasses.replace(spec, precision=precision)
        seed = definition.check_definition(study, spec, None, digests)
        definition.write_definition(study, spec, seed, digests)
        work_list = WorkList(spec, seed, trials.list_known(study), 0)
        files = open_files(spec, location, study)
        yield OpenStudy(spec, location, study, seed, lease, work_list, files)


class OwnTrial:
    """A trial of a study whose lease is held, from its beginning to just before its end.

    Optuna records the end. It is the line of its own training to the recorder: ``Channel``.
    """

    def __init__(
        self,
        study: OpenStudy,
        trial: optuna.Trial,
        materials_for: Callable[[TrialConfig], Materials],
        device: torch.device,
        callbacks: Sequence[TrialCallback],
    ) -> None:
        self._study = study
        self._trial = trial
        self._materials_for = materials_for
        self._device = device
        self._observer = CallbackObserver(study.spec.study_name, callbacks)
        complete = CompleteTrials(study.study)
        self._recorder = TrialRecorder(study, complete, self._observer, Annotator())
        self._running: RunningTrial
        self._goes_on = True

    def run(self) -> float:
        """Train the trial, keep its files and return its value.

        Raises:
            optuna.TrialPruned: The pruner ended it.
        """
        if self._refuse_misfit():
            return float("nan")
        starter = TrialStarter(self._study, self._materials_for(self._study.example), 1.0)
        self._running = self._begin(starter)
        result = self._train(starter)
        files = self._study.files
        files.remove_fallen()
        files.clear(self._running.number)
        files.remove_empty_folders()
        if result is None:
            return float("nan")
        if result.pruned:
            raise optuna.TrialPruned
        return result.val_accuracy

    def _refuse_misfit(self) -> bool:
        """Refuse a trial that was enqueued and does not fit its study; take note of one that was.

        Optuna would train one whose values are out of range.
        """
        trial, frozen = self._trial, get_latest_trial(self._trial)
        if "config" in trial.user_attrs or not is_request(frozen):
            return False
        trial.set_user_attr("queued", {**trials.asker_of(frozen), "trial": trial.number})
        fault = check_request(self._study.spec, frozen)[1]
        if fault:
            trial.set_user_attr("failure", {"kind": REFUSED, "message": fault})
            logger.warning("trial %d (queued) is refused: %s", trial.number, fault)
        return bool(fault)

    def _begin(self, starter: TrialStarter) -> RunningTrial:
        """Draw the trial's parameters, and store what is trained."""
        trial, study = self._trial, self._study
        frozen, sampler = get_latest_trial(trial), trial.study.sampler
        if isinstance(sampler, StudySampler):
            draw = sampler.find_draw(study.study, frozen)
        else:
            draw = find_index(study.study, frozen)
        if "seed" not in trial.user_attrs:
            trial.set_user_attr("seed", seed_of(study.seed, "trial", draw))
        name = trial.user_attrs.get("name")
        trials.suggest_all(trial, starter.space)
        item = Item(
            config=study.example,
            number=trial.number,
            name=name,
            index=draw[1],
            is_queued="queued" in trial.user_attrs,
            is_new="config" not in trial.user_attrs,
        )
        is_drawn = name is None and isinstance(sampler, StudySampler)
        sampler_seed = seed_of(study.seed, "sampler", draw) if is_drawn else None
        return starter.take(item, trial, sampler_seed)

    def _train(self, starter: TrialStarter) -> TrialResult | None:
        """Train the trial and keep what it made; return None where its loss was not finite."""
        recorder, running = self._recorder, self._running
        state = TrialState.FAIL
        try:
            recorder.begun(running)
            task = starter.make_task(running, recorder.complete.best_accuracy)
            result = train(task, self._materials_for(running.config), self._device, self)
            recorder.settle(running, result)
            state = TrialState.PRUNED if result.pruned else TrialState.COMPLETE
        except NonFiniteLossError as error:
            recorder.explain(running, describe_end(running.number, error))
            return None
        except BaseException as error:
            with suppress(Exception):  # of the two errors, the first is the one to be told
                recorder.explain(running, describe_end(running.number, error))
            raise
        finally:
            summary = trials.summarize(running.latest())
            self._observer.trial_ended(end(summary, state.name.lower(), running.history))
        return result

    # --- what the training says ---

    def send(self, event: Event) -> None:
        """Record it; see ``Channel``."""
        match event:
            case Started():
                self._recorder.started(self._running, event)
            case Stepped():
                self._study.lease.renew()
            case EpochEnded():
                self._goes_on = self._recorder.epoch_ended(self._running, event.metrics)

    def decide(self) -> bool:
        """Return what the recorder decided; see ``Channel``."""
        return self._goes_on

    def should_stop(self) -> bool:
        """Return False: Ctrl-C ends ``study.optimize`` by itself; see ``Channel``."""
        return False


def describe_end(number: int, error: BaseException) -> Mapping[str, Any]:
    """Return what is stored of an error that ended the trial of that number."""
    if not isinstance(error, Exception):
        return {"kind": "interrupted", "message": "study.optimize was interrupted"}
    failed = describe_failure(number, error)
    kind = failed.kind if failed.kind == "not_finite" else "error"
    return {"kind": kind, "message": failed.message, **failed.detail}


def end(summary: TrialSummary, state: str, history: Sequence[EpochMetrics]) -> TrialSummary:
    """Return a trial as it will be stored once Optuna has recorded its end."""
    return dataclasses.replace(
        summary,
        state=state,
        epochs=len(history),
        val_accuracy=history[-1].val_accuracy if history else None,
        seconds=round(sum(metrics.seconds for metrics in history), 3),
    )
