"""Runs what is left of a study: opens it, takes up what an earlier run left, and dispatches trials.

One runner is the only writer of a study; it holds the study's lease while it works.
"""

from __future__ import annotations

import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import RDBStorage

from cifar_tune.config.study_file import StudySpec
from cifar_tune.errors import StudyGoneError, WeightsError
from cifar_tune.files import check_disk_space
from cifar_tune.search.budget import Spending
from cifar_tune.search.dispatcher import Dispatcher
from cifar_tune.search.observer import Annotator, MakeAnnotator, NoAnnotator, Observer
from cifar_tune.search.plan import Work, make_plan
from cifar_tune.search.pruners import CompleteTrials, make_pruner
from cifar_tune.search.samplers import distributions
from cifar_tune.search.work_list import Agenda
from cifar_tune.storage import studies as stored
from cifar_tune.storage import trials
from cifar_tune.storage.kept_weights import room_needed
from cifar_tune.storage.lease import Lease, hold_lease
from cifar_tune.storage.location import StorageLocation, check_writable, explain_errors
from cifar_tune.storage.queue import TrialQueue
from cifar_tune.storage.records import TrialSummary
from cifar_tune.storage.trial_files import StudyFiles
from cifar_tune.training.provenance import git_commit
from cifar_tune.workers.protocol import Materials, Pool

if TYPE_CHECKING:
    from cifar_tune.search.plan import Costs


@dataclass(frozen=True)
class StudyOutcome:
    """What the storage holds of a study after a run.

    Attributes:
        trials: all trials of the study, in order.
        best: the complete trial with the highest validation accuracy; None if there is none.
        trials_run: trials that this run ended.
        errors: of them, those that ended with an error and are run again by the next run.
        seconds: wall-clock seconds of this run.
        interrupted: whether it was stopped from outside before its work was done.
        left: what was not done.
        why_left: the budget or the time that did not suffice, in words; None where neither is why.
    """

    trials: tuple[TrialSummary, ...]
    best: TrialSummary | None
    trials_run: int
    errors: int
    seconds: float
    interrupted: bool
    left: Work
    why_left: str | None

    @property
    def failed(self) -> bool:
        """Whether work failed: an error, a named trial that failed, or no trial that is complete
        where all was done."""
        complete = {trial.name for trial in self.trials if trial.state == "complete"}
        failed = {one.name for one in self.trials if one.name and one.has_failed}
        is_empty = not complete and not self.left.trials
        return self.errors > 0 or not failed <= complete or is_empty


@dataclass(frozen=True)
class RunLimits:
    """How much one run is to do.

    Attributes:
        more_trials: trials to sample besides those that are done; None fills up to the number that
            the study file states.
        seconds: after which the run ends; None for no such limit.
        only_queued: do only what people asked for.
    """

    more_trials: int | None = None
    seconds: float | None = None
    only_queued: bool = False


MakePool = Callable[[], Pool]


def run_study(
    spec: StudySpec,
    location: StorageLocation,
    materials: Materials,
    make_pool: MakePool,
    measure: Callable[[], Costs],
    observer: Observer,
    seed: int | None = None,
    limits: RunLimits | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    make_annotator: MakeAnnotator = NoAnnotator,
) -> StudyOutcome:
    """Run what is left of a study: trials that wait, then those that people asked for, then named
    ones, then sampled ones.

    Ctrl-C and SIGTERM end it cleanly: trials that run save their state at their next step, and the
    next call goes on with them under their numbers; a second Ctrl-C ends it at once. So does a
    call after a runner that died.

    Args:
        make_pool: gives the workers; called once, if there is something to do.
        measure: times the steps of a worker; called before the workers are there.
        seed: of the study; None takes the stored one.
        should_stop: asked often; True ends the run as one Ctrl-C does.
        make_annotator: gives what keeps the browser's notes up to date.

    Raises:
        StudyMismatchError: the stored study was made with other settings.
        StorageError: the database or a checkpoint cannot be opened or written.
        WeightsError: the weights that are to be kept do not fit on the disk.
        StudyBusyError: another process runs this study.
        StudyGoneError: the study was deleted or renamed meanwhile.
        TrialFailedError: trials ended with errors, one after another; they are stored, and will be
            run again.
    """
    start = time.monotonic()
    limits = limits or RunLimits()
    deadline = None if limits.seconds is None else start + limits.seconds
    data, weights = materials.data, materials.weights
    digests = stored.Digests(data.digests, {name: one.sha256 for name, one in weights.items()})
    with explain_errors(location), _StopSignals(should_stop) as signals:
        # All that can be refused is refused before the first byte is written.
        existing = stored.find_study(
            stored.open_to_read(location, signals.is_stopping), spec.study_name
        )
        if spec.precision is None:
            known = "fp32" if existing is None else stored.stored_precision(existing)
            spec = replace(spec, precision=known)
        stored.check_definition(existing, spec, seed, digests)
        check_writable(location, signals.is_stopping)
        work = remaining_work(spec, existing, limits)
        _check_room_for_weights(spec, location, work)
        storage = stored.open_to_write(location, signals.is_stopping)
        study = stored.create_study(storage, spec.study_name)
        lease_of = (storage.engine, study._study_id, spec.study_name, observer.noted)
        with hold_lease(*lease_of, signals.is_stopping) as lease:
            study_seed = stored.check_definition(study, spec, seed, digests)
            stored.write_definition(study, spec, study_seed, digests)
            opened = _open_study(spec, location, storage, study, study_seed, lease, limits)
            noted = (storage, study, spec, location, opened.agenda, lease, observer)
            with make_annotator(*noted) as annotator:
                dispatcher = _dispatch(
                    opened, materials, make_pool, measure, deadline, observer, annotator, signals
                )
                why_left = (
                    dispatcher.refusal if dispatcher and opened.agenda.left().trials else None
                )
                with signals.end_work():
                    annotator.finish(signals.is_stopping, why_left)
            found = stored.read_study(study)
    return StudyOutcome(
        trials=found.trials,
        best=found.best,
        trials_run=dispatcher.trials_run if dispatcher else 0,
        errors=dispatcher.errors if dispatcher else 0,
        seconds=round(time.monotonic() - start, 3),
        interrupted=signals.is_stopping(),
        left=opened.agenda.left(),
        why_left=why_left,
    )


@dataclass(frozen=True)
class _Opened:
    """A study whose lease is held, as runs before have left it."""

    spec: StudySpec
    study: optuna.Study
    seed: int
    lease: Lease
    queue: TrialQueue
    agenda: Agenda
    files: StudyFiles


def _open_study(
    spec: StudySpec,
    location: StorageLocation,
    storage: RDBStorage,
    study: optuna.Study,
    seed: int,
    lease: Lease,
    limits: RunLimits,
) -> _Opened:
    """Take up what runs that died have left, and what people have asked for."""
    trials.put_back_abandoned(study)
    queue = TrialQueue(storage.engine)
    queue.restore(spec.study_name, trials.list_queued(study))
    agenda = _make_agenda(spec, seed, study, limits)
    agenda.ask(queue.list_trials(spec.study_name))
    files = _open_files(spec, location, study)
    return _Opened(spec, study, seed, lease, queue, agenda, files)


def _dispatch(
    opened: _Opened,
    materials: Materials,
    make_pool: MakePool,
    measure: Callable[[], Costs],
    deadline: float | None,
    observer: Observer,
    annotator: Annotator,
    signals: _StopSignals,
) -> Dispatcher | None:
    """Do what is left; None if there is nothing."""
    dispatcher = None
    if opened.agenda.left().trials and not signals.is_stopping():
        costs = measure()
        dispatcher = _make_dispatcher(
            opened, costs, deadline, make_pool(), materials, observer, annotator
        )
        plan = make_plan(opened.spec, opened.agenda.left(), costs, dispatcher.pool.slots)
        observer.planned(plan)
        annotator.planned(plan)
        signals.begin_work()
        try:
            dispatcher.run(signals.is_stopping)
        except StudyGoneError:
            opened.files.clean(begun=())
            raise
    opened.files.remove_empty_folders()
    return dispatcher


def remaining_work(spec: StudySpec, study: optuna.Study | None, limits: RunLimits) -> Work:
    """What a run would do: of a study that is not stored yet, everything."""
    return _make_agenda(spec, stored.DEFAULT_SEED, study, limits).left()


def _make_agenda(
    spec: StudySpec, seed: int, study: optuna.Study | None, limits: RunLimits
) -> Agenda:
    known = trials.list_known(study) if study is not None else []
    return Agenda.make(spec, seed, known, limits.more_trials, only_queued=limits.only_queued)


def _check_room_for_weights(spec: StudySpec, location: StorageLocation, work: Work) -> None:
    folder = StudyFiles(spec, location.beside, "", {}).weights_folder
    needed = room_needed(spec, len(work.named))
    if needed:
        check_disk_space(folder, needed, WeightsError)


def _open_files(spec: StudySpec, location: StorageLocation, study: optuna.Study) -> StudyFiles:
    """The study's files, cleared of what runs that died have left."""
    everyone = study.get_trials(deepcopy=False)
    complete = {
        trial.number: ("name" in trial.user_attrs, float(trial.value or 0.0))
        for trial in everyone
        if trial.state.name == "COMPLETE" and "kept_weights_sha256" in trial.user_attrs
    }
    files = StudyFiles(spec, location.beside, uuid.uuid4().hex[:8], complete)
    files.clean({trial.number for trial in everyone if not trial.state.is_finished()})
    return files


def _make_dispatcher(
    opened: _Opened,
    costs: Costs,
    deadline: float | None,
    pool: Pool,
    materials: Materials,
    observer: Observer,
    annotator: Annotator,
) -> Dispatcher:
    study = opened.study
    study.pruner = make_pruner(opened.spec.pruner)
    spending = Spending(opened.spec.budget, deadline, costs, pool.share)
    for trial in study.get_trials(deepcopy=False):
        spending.begin_with(trial.user_attrs.get("history", ()), trial.user_attrs.get("facts", {}))
    return Dispatcher(
        spec=opened.spec,
        study=study,
        seed=opened.seed,
        space=distributions(opened.spec.space),
        agenda=opened.agenda,
        spending=spending,
        pool=pool,
        materials=materials,
        files=opened.files,
        lease=opened.lease,
        observer=observer,
        annotator=annotator,
        facts={
            "data_digests": dict(materials.data.digests),
            "git_commit": git_commit(),
            "device_share": pool.share,
        },
        complete=CompleteTrials(study),
        queue=opened.queue,
    )


class _StopSignals:
    """Hears Ctrl-C and SIGTERM: the first asks the run to stop, the second ends it at once; the
    first does so too until there are workers that have something to save.

    Signals can be set in the main thread only; elsewhere nothing is heard.
    """

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop
        self._stopping = threading.Event()
        self._has_workers = False
        self._before: dict[signal.Signals, Any] = {}

    def is_stopping(self) -> bool:
        """Whether the run was asked to stop."""
        return self._stopping.is_set() or self._should_stop()

    def begin_work(self) -> None:
        """From here on there are workers."""
        self._has_workers = True

    @contextmanager
    def end_work(self) -> Iterator[None]:
        """There are none any more: the first signal ends what is done here."""
        self._has_workers = False
        with suppress(KeyboardInterrupt):
            yield

    def __enter__(self) -> _StopSignals:
        if threading.current_thread() is threading.main_thread():
            for one in (signal.SIGINT, signal.SIGTERM):
                self._before[one] = signal.signal(one, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        is_first = not self._stopping.is_set()
        self._stopping.set()
        before = self._before[signal.Signals(number)]
        if callable(before) and before is not signal.default_int_handler:
            before(number, frame)  # whoever called this run is to hear it too
        if not is_first or not self._has_workers:
            raise KeyboardInterrupt
