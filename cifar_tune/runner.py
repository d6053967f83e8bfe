"""Asks Optuna for trials, trains them, reports every epoch and tells the result.

One runner is the only writer of a study; it holds the study's lease while it works.
"""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import optuna
from optuna.trial import TrialState

from cifar_tune import paths
from cifar_tune import storage as stored
from cifar_tune.atomic_file import check_disk_space
from cifar_tune.errors import CifarTuneError, NonFiniteLossError, TrialFailedError, WeightsError
from cifar_tune.facts import git_commit, software
from cifar_tune.lease import Lease, hold_lease
from cifar_tune.plan import Plan, Work, make_plan
from cifar_tune.records import EpochMetrics, TrialConfig, TrialSummary
from cifar_tune.search import distributions, make_pruner, make_sampler
from cifar_tune.seeds import derive_seed
from cifar_tune.storage_location import (
    StorageLocation,
    check_writable,
    database_error,
    explain_errors,
)
from cifar_tune.study_file import StudySpec

if TYPE_CHECKING:
    import torch

    from cifar_tune.data.source import SearchData
    from cifar_tune.weights.registry import Weights


KEPT_WEIGHTS_BYTES = 46_000_000
"""At most, of one trial: the file has the 11.2 to 11.3 million parameters as float32."""


class Observer(Protocol):
    """Is shown what a run does, as it does it."""

    def planned(self, plan: Plan) -> None:
        """The run is about to begin."""

    def trial_started(self, trial: TrialSummary, config: TrialConfig) -> None:
        """A trial begins."""

    def stepped(self, done: int) -> None:
        """So many of the epoch's training steps and validation batches are done."""

    def epoch_ended(self, metrics: EpochMetrics) -> None:
        """An epoch of the current trial ended."""

    def trial_ended(self, trial: TrialSummary) -> None:
        """The current trial ended."""


@dataclass(frozen=True)
class StudyOutcome:
    """What the storage holds of a study after a run.

    Attributes:
        trials: all trials of the study, in order.
        best: the complete trial with the highest validation accuracy; None if there is none.
        trials_run: trials that this run ended.
        seconds: wall-clock seconds of this run.
        interrupted: whether it was stopped before its work was done.
    """

    trials: tuple[TrialSummary, ...]
    best: TrialSummary | None
    trials_run: int
    seconds: float
    interrupted: bool

    @property
    def failed(self) -> bool:
        """Whether the study's work failed: a named trial did, or no trial is complete."""
        complete = {trial.name for trial in self.trials if trial.state == "complete"}
        named = {trial.name for trial in self.trials if trial.name is not None}
        return not complete or not named <= complete


@dataclass
class _Run:
    """What the steps of one run share."""

    spec: StudySpec
    study: optuna.Study
    seed: int
    location: StorageLocation
    data: SearchData
    weights: Mapping[str, Weights]
    device: torch.device
    lease: Lease
    observer: Observer
    facts: dict[str, Any]
    history: list[EpochMetrics] = field(default_factory=list)
    trials_run: int = 0


def run_study(
    spec: StudySpec,
    location: StorageLocation,
    data: SearchData,
    weights: Mapping[str, Weights],
    device: torch.device,
    observer: Observer,
    seed: int | None = None,
    more_trials: int | None = None,
) -> StudyOutcome:
    """Run what is left of a study: named trials first, then sampled ones.

    Ctrl-C and SIGTERM end it cleanly: what is finished is stored, and the trial that was cut short
    is run again by the next call.

    Args:
        weights: the pretrained ones that its trials start from, by name.
        seed: of the study; None takes the stored one.
        more_trials: trials to sample besides those already there; None fills up to the number
            that the study file states.

    Raises:
        StudyMismatchError: the stored study was made with other settings.
        StorageError: the database cannot be opened or written.
        WeightsError: the weights that are to be kept do not fit on the disk.
        InputError: another process runs this study.
        TrialFailedError: a trial ended with an error; it is stored, and will be run again.
    """
    start = time.monotonic()
    digests = stored.Digests(data.digests, {name: one.sha256 for name, one in weights.items()})
    with explain_errors(location):
        # All that can be refused is refused before the first byte is written.
        existing = stored.find_study(stored.open_to_read(location), spec.study_name)
        stored.check_definition(existing, spec, seed, digests)
        check_writable(location)
        _check_room_for_weights(spec, location, remaining_work(spec, existing, more_trials))
        storage = stored.open_to_write(location)
        study = stored.create_study(storage, spec.study_name)
        with hold_lease(storage.engine, study._study_id, spec.study_name) as lease:
            study_seed = stored.check_definition(study, spec, seed, digests)
            stored.write_definition(study, spec, study_seed, digests)
            facts = _facts(data.digests, device)
            run = _Run(
                spec, study, study_seed, location, data, weights, device, lease, observer, facts
            )
            interrupted = _run_remaining(run, more_trials)
            found = stored.read_study(study)
    seconds = round(time.monotonic() - start, 3)
    return StudyOutcome(found.trials, found.best, run.trials_run, seconds, interrupted)


def remaining_work(spec: StudySpec, study: optuna.Study | None, more_trials: int | None) -> Work:
    """What a run would do: of a study that is not stored yet, everything."""
    trials = study.get_trials(deepcopy=False) if study is not None else []
    settled = {
        trial.user_attrs.get("name")
        for trial in trials
        if trial.state.is_finished() and not stored.is_to_be_retried(trial)
    }
    wanted = spec.replicates(stored.DEFAULT_SEED)
    left = [spec.named_config(*one) for name, one in wanted.items() if name not in settled]
    sampled = stored.count_sampled(study) if study is not None else 0
    to_sample = max(spec.trials - sampled, 0) if more_trials is None else more_trials
    return Work(tuple(left), len(wanted), to_sample)


def _check_room_for_weights(spec: StudySpec, location: StorageLocation, work: Work) -> None:
    if spec.keep_weights == "named":
        folder = paths.kept_weights_file(location.path, spec.study_name, 0).parent
        check_disk_space(folder, len(work.named) * KEPT_WEIGHTS_BYTES, WeightsError)


def _run_remaining(run: _Run, more_trials: int | None) -> bool:
    """Run what is left; True if it was interrupted."""
    from cifar_tune.bench import measure_costs

    study = run.study
    stored.fail_abandoned(study, "its runner ended without a word")
    try:
        with _sigterm_as_interrupt():
            work = remaining_work(run.spec, study, more_trials)
            if work.trials == 0:
                return False
            costs = measure_costs(run.spec, run.device)
            run.observer.planned(make_plan(run.spec, work, costs))
            target = stored.count_sampled(study) + work.sampled
            study.pruner = make_pruner(run.spec.pruner)
            while _is_work_left(run, target):
                _run_next(run)
    except KeyboardInterrupt:
        with _without_interrupts():
            stored.fail_abandoned(study, "interrupted")
        return True
    return False


def _is_work_left(run: _Run, target: int) -> bool:
    """Whether there is a trial to run; one whose parameters are known is queued.

    Named trials come first, then sampled ones that were cut short, then new ones.
    """
    study = run.study
    if study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        return True
    if stored.queue_named(study, run.spec, run.seed):
        return True
    if stored.count_sampled(study) < target:
        stored.queue_retry(study)  # with none to queue, a new trial is sampled
        return True
    return False


def _run_next(run: _Run) -> None:
    """Run one trial: the first that waits in the queue, else a sampled one."""
    study = run.study
    # Seeds follow the count of sampled trials, not a trial's number: a trial that was cut short
    # takes up a number, and the study must go on as if it had not been.
    index = stored.count_sampled(study)
    draw = derive_seed(run.seed, "sampler", index)
    study.sampler = make_sampler(run.spec.sampler, draw)
    trial = study.ask(dict(distributions(run.spec.space)))
    seed = trial.user_attrs.get("seed", derive_seed(run.seed, "trial", index))
    config = run.spec.config(trial.params, seed, trial.user_attrs.get("settings"))
    stored.record_start(trial, config, _trial_facts(run, config, draw))
    run.observer.trial_started(_summary(run, trial), config)
    run.history.clear()
    try:
        _train(run, trial, config)
    except NonFiniteLossError as error:
        where = {"epoch": error.epoch, "step": error.step}
        failure = {"kind": "not_finite", "message": str(error), **where}
        stored.record_failure(study, trial.number, failure)
    except Exception as error:
        if isinstance(error, CifarTuneError) or database_error(error) is not None:
            raise
        _record_error(run, trial, error)
        raise TrialFailedError(
            f"trial {trial.number} failed: {type(error).__name__}: {error}; it is stored as failed "
            "and is run again by the same command"
        ) from error
    run.trials_run += 1
    run.observer.trial_ended(_summary(run, trial))


def _train(run: _Run, trial: optuna.Trial, config: TrialConfig) -> None:
    from cifar_tune.objective import run_trial

    is_named = "name" in trial.user_attrs

    def on_epoch(metrics: EpochMetrics) -> bool:
        run.history.append(metrics)
        stored.record_epoch(trial, run.history)
        run.observer.epoch_ended(metrics)
        # After the last epoch there is nothing left to save: the trial is complete.
        return is_named or metrics.epoch == config.epochs or not trial.should_prune()

    def on_step(done: int) -> None:
        run.lease.renew()
        run.observer.stepped(done)

    is_kept = is_named and run.spec.keep_weights == "named"
    place = (run.location.path, run.study.study_name, trial.number)
    result = run_trial(
        config,
        run.data,
        run.weights.get(config.weights),
        run.device,
        on_epoch,
        on_step,
        keep=paths.kept_weights_file(*place) if is_kept else None,
        predictions=paths.predictions_file(*place, "validation") if is_named else None,
    )
    stored.record_result(run.study, trial, result)


def _record_error(run: _Run, trial: optuna.Trial, error: Exception) -> None:
    lines = traceback.format_exception(error)
    failure = {
        "kind": "error",
        "message": f"{type(error).__name__}: {error}",
        "epoch": len(run.history) + 1,
        "traceback": "".join(lines)[-4000:],
    }
    stored.record_failure(run.study, trial.number, failure)


def _summary(run: _Run, trial: optuna.Trial) -> TrialSummary:
    return stored.summarize(run.study.get_trials(deepcopy=False)[trial.number])


def _trial_facts(run: _Run, config: TrialConfig, sampler_seed: int) -> dict[str, Any]:
    facts = {"split_sha256": run.data.split(config).digest, "sampler_seed": sampler_seed}
    weights = run.weights.get(config.weights)
    if weights is not None:
        facts |= {"weights_sha256": weights.sha256, "weights_source": weights.source}
    return {**run.facts, **facts}


def _facts(data_digests: Mapping[str, str], device: torch.device) -> dict[str, Any]:
    from cifar_tune.device import describe_device

    return {
        "data_digests": dict(data_digests),
        "software": software(),
        "git_commit": git_commit(),
        "device": describe_device(device),
    }


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does; signals can be set in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C for the moment that it takes to store what happened."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
