"""Runs what is left of a study: opens it, takes up what an earlier run left, and dispatches trials.

One runner is the only writer of a study; it holds the study's lease while it works.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from cifar_tune.config.study_file import StudySpec
from cifar_tune.errors import StudyGoneError, WeightsError
from cifar_tune.files import check_disk_space
from cifar_tune.search.budget import Spending
from cifar_tune.search.dispatcher import Dispatcher
from cifar_tune.search.observer import Annotator, MakeAnnotator, Observer
from cifar_tune.search.open_study import OpenStudy, open_files
from cifar_tune.search.outcome import StudyOutcome
from cifar_tune.search.plan import Work, make_plan
from cifar_tune.search.pruners import CompleteTrials, make_pruner
from cifar_tune.search.requests import check_requests
from cifar_tune.search.stop_signals import StopSignals
from cifar_tune.search.trial_recorder import TrialRecorder
from cifar_tune.search.trial_starter import TrialStarter
from cifar_tune.search.work_list import WorkList
from cifar_tune.storage import definition, trials
from cifar_tune.storage import studies as stored
from cifar_tune.storage.kept_weights import room_needed
from cifar_tune.storage.lease import Lease, hold_lease
from cifar_tune.storage.location import StorageLocation, check_writable, explain_errors
from cifar_tune.storage.optuna_private import get_study_id
from cifar_tune.storage.queue import TrialQueue
from cifar_tune.storage.study_folders import is_claimed
from cifar_tune.storage.waiting import waits_end_when
from cifar_tune.workers.protocol import Materials, Pool

if TYPE_CHECKING:
    from cifar_tune.search.plan import Costs


@dataclass(frozen=True)
class RunOptions:
    """How much one run is to do.

    Attributes:
        more_trials: Trials to sample besides those that are done; None fills up to the number that
            the study file states.
        seconds: Stop the run after this many seconds; None for no such limit.
        only_queued: Do only what people asked for.
        seed: The seed of the study; None takes the stored one.
    """

    more_trials: int | None = None
    seconds: float | None = None
    only_queued: bool = False
    seed: int | None = None


@dataclass(frozen=True)
class Workers:
    """What trains the trials of a run.

    Attributes:
        make_pool: Begins the workers; called once, if there is something to do.
        measure: Times the steps of a worker; called before the workers are there.
    """

    materials: Materials
    make_pool: Callable[[], Pool]
    measure: Callable[[], Costs]


class Runner:
    """Runs what is left of a study.

    Trials that wait come first, then those that people asked for, then named ones, then sampled
    ones. Ctrl-C, SIGTERM and a closed terminal end a run cleanly: trials that run save their state
    at their next step, and the next run goes on with them under their numbers; a second Ctrl-C ends
    it at once. The next run goes on likewise after a runner that died. ``should_stop`` is asked
    often; True ends the run as one Ctrl-C does.
    """

    def __init__(
        self,
        spec: StudySpec,
        location: StorageLocation,
        workers: Workers,
        observer: Observer,
        options: RunOptions | None = None,
        make_annotator: MakeAnnotator = lambda *_: Annotator(),
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.spec = spec
        self.location = location
        self.workers = workers
        self.observer = observer
        self.options = options or RunOptions()
        self._make_annotator = make_annotator
        self._signals = StopSignals(should_stop)
        data, weights = workers.materials.data, workers.materials.weights
        self._digests = definition.Digests(
            data.digests, {name: pretrained.sha256 for name, pretrained in weights.items()}
        )

    def run(self) -> StudyOutcome:
        """Run until nothing is left that may be begun.

        Raises:
            StudyMismatchError: The stored study was made with other settings.
            StorageError: The database or a checkpoint cannot be opened or written.
            WeightsError: The weights that are to be kept do not fit on the disk.
            StudyBusyError: Another process runs this study.
            StudyGoneError: The study was deleted or renamed meanwhile.
            TrialFailedError: Trials ended with errors, one after another; they are stored, and
                will be run again.
        """
        start = time.monotonic()
        self.observer.preparing("Opening the study")
        with (
            explain_errors(self.location),
            self._signals as signals,
            waits_end_when(signals.should_stop),
        ):
            self._check()
            storage = stored.open_to_write(self.location)
            study = stored.create_study(storage, self.spec.study_name)
            name, study_id = self.spec.study_name, get_study_id(study)
            with hold_lease(storage.engine, study_id, name, self.observer.noted) as lease:
                open_study = self._open(storage, study, lease)
                dispatcher, why_left = self._work(open_study, start)
            final = stored.read_study(study)
        return StudyOutcome(
            trials=final.trials,
            best=final.best,
            trials_run=0 if dispatcher is None else dispatcher.trials_run,
            errors=0 if dispatcher is None else dispatcher.retries.errors,
            seconds=round(time.monotonic() - start, 3),
            interrupted=signals.should_stop(),
            left=open_study.work_list.left(),
            why_left=why_left,
        )

    def _check(self) -> None:
        """Refuse all that can be refused before the first byte is written."""
        reading = stored.open_to_read(self.location)
        existing = stored.find_study(reading, self.spec.study_name)
        if self.spec.precision is None:
            precision = "fp32" if existing is None else definition.stored_precision(existing)
            self.spec = replace(self.spec, precision=precision)
        definition.check_definition(existing, self.spec, self.options.seed, self._digests)
        check_writable(self.location)
        work = remaining_work(self.spec, existing, self.options)
        needed = room_needed(self.spec, len(work.named), work.sampled + len(work.queued))
        if needed:
            check_disk_space(self.location.beside.parent, needed, WeightsError)

    def _open(self, storage: RDBStorage, study: optuna.Study, lease: Lease) -> OpenStudy:
        """Take up what runs that died have left, and what people have asked for."""
        seed = definition.check_definition(study, self.spec, self.options.seed, self._digests)
        definition.write_definition(study, self.spec, seed, self._digests)
        # Those that are marked as running: the holder of the lease runs none yet.
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            trials.put_back(study, trial)
        TrialQueue(storage).enqueue_old_requests(study)
        open_study = OpenStudy(
            spec=self.spec,
            location=self.location,
            study=study,
            seed=seed,
            lease=lease,
            work_list=_make_work_list(self.spec, seed, study, self.options),
            files=open_files(self.spec, self.location, study),
        )
        open_study.take_requests(self.observer.noted)
        return open_study

    def _work(self, open_study: OpenStudy, start: float) -> tuple[Dispatcher | None, str | None]:
        """Do what is left; return what did it, if anything did, and why something still is."""
        dispatcher = why_left = None
        with self._make_annotator(open_study, self.observer) as annotator:
            if open_study.work_list.left().trials and not self._signals.should_stop():
                dispatcher = self._dispatch(open_study, annotator, start)
            open_study.files.remove_empty_folders()
            if dispatcher is not None and open_study.work_list.left().trials:
                why_left = dispatcher.refusal
            with self._signals.end_work():
                annotator.finish(self._signals.should_stop, why_left)
        return dispatcher, why_left

    def _dispatch(self, open_study: OpenStudy, annotator: Annotator, start: float) -> Dispatcher:
        self.observer.preparing("Measuring training steps")
        costs = self.workers.measure()
        self.observer.preparing("Starting workers")
        pool = self.workers.make_pool()
        deadline = None if self.options.seconds is None else start + self.options.seconds
        spending = Spending(self.spec.profile.budget, deadline, costs, pool.share)
        for trial in open_study.study.get_trials(deepcopy=False):
            spending.add_stored(trial)
        open_study.study.pruner = make_pruner(self.spec.profile.pruner)
        dispatcher = Dispatcher(
            open_study,
            TrialStarter(open_study, self.workers.materials, pool.share),
            TrialRecorder(open_study, CompleteTrials(open_study.study), self.observer, annotator),
            spending,
            pool,
        )
        plan = make_plan(self.spec, open_study.work_list.left(), costs, pool.slots)
        self.observer.planned(plan)
        annotator.planned(plan)
        self._signals.begin_work()
        try:
            dispatcher.run(self._signals.should_stop)
        except StudyGoneError:
            # A study that was renamed has its files still. The lease fences the other connection.
            reading = stored.open_to_read(self.location)
            if reading is None or not is_claimed(reading, open_study.files.folder):
                open_study.files.clean(begun=())
            raise
        return dispatcher


def remaining_work(spec: StudySpec, study: optuna.Study | None, options: RunOptions) -> Work:
    """Return what a run would do; of a study that is not stored yet, everything."""
    work_list = _make_work_list(spec, definition.DEFAULT_SEED, study, options)
    if study is not None:
        accepted, _ = check_requests(spec, study)
        work_list.ask(accepted)
    return work_list.left()


def _make_work_list(
    spec: StudySpec, seed: int, study: optuna.Study | None, options: RunOptions
) -> WorkList:
    known = trials.list_known(study) if study is not None else []
    return WorkList(spec, seed, known, options.more_trials, only_queued=options.only_queued)
