"""Hands trials to workers, reports what they say to Optuna, and tells how each trial ended."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from cifar_tune import errors
from cifar_tune.config.seeds import derive_seed
from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.trial import TrialConfig
from cifar_tune.errors import (
    CifarTuneError,
    InputError,
    LeaseLostError,
    StudyGoneError,
    TrialFailedError,
    WorkError,
)
from cifar_tune.search.budget import Spending
from cifar_tune.search.observer import Annotator, Flight, Observer
from cifar_tune.search.pruners import CompleteTrials
from cifar_tune.search.samplers import make_sampler
from cifar_tune.search.work_list import Agenda, Item
from cifar_tune.storage import trials
from cifar_tune.storage.kept_weights import may_be_kept
from cifar_tune.storage.lease import Lease
from cifar_tune.storage.queue import TrialQueue
from cifar_tune.storage.trial_files import StudyFiles
from cifar_tune.training.records import EpochMetrics, TrialFiles, TrialResult
from cifar_tune.workers.protocol import (
    OUT_OF_MEMORY,
    REFUSED,
    Died,
    EpochEnded,
    Event,
    Failed,
    Finished,
    Materials,
    Pool,
    Started,
    Stepped,
    Stopped,
    Task,
)

LIVES = 4
"""A trial is begun once, and continued at most three times after its worker died."""
ERRORS_IN_A_ROW = 3
"""Trials that end with an error, with none that ends well between, after which a run gives up."""
STOP_SECONDS = 3.0
"""How long workers may take to save once they are asked to stop; a run is to leave in five."""
POLL_SECONDS = 0.2
QUEUE_SECONDS = 1.0
"""At least so long between two looks for what people asked for."""
LAST_LINES = 20


@dataclass
class Dispatcher:
    """The loop of a run: fills free slots and handles what workers say, until nothing is left.

    Attributes:
        facts: of every trial of the run.
        complete: what the pruner compares with.
        queue: what people ask for meanwhile.
        is_stopping: whether the run is to end as soon as the workers have saved.
    """

    spec: StudySpec
    study: optuna.Study
    seed: int
    space: Mapping[str, BaseDistribution]
    agenda: Agenda
    spending: Spending
    pool: Pool
    materials: Materials
    files: StudyFiles
    lease: Lease
    observer: Observer
    annotator: Annotator
    facts: dict[str, Any]
    complete: CompleteTrials
    queue: TrialQueue
    flights: dict[int, Flight] = field(default_factory=dict)
    trials_run: int = 0
    errors: int = 0
    errors_in_a_row: int = 0
    refusal: str | None = None
    _next_look: float = 0.0
    _why: dict[int, str] = field(default_factory=dict)
    _lines: dict[int, deque[str]] = field(default_factory=dict)
    _had_memory_error: set[int] = field(default_factory=set)

    def run(self, is_stopping: Callable[[], bool]) -> None:
        """Run until nothing is left that may be begun, or until the run is to stop.

        Raises:
            CifarTuneError: something that no other trial would fare better with.
        """
        try:
            while not is_stopping():
                if self.spending.is_time_up():
                    self.refusal = "the time that --timeout gave is up"
                    break
                self._look_into_queue()
                self._fill()
                if not self.flights:
                    return
                self._handle(self.pool.next_event(POLL_SECONDS))
                self.lease.renew()
                self.annotator.poll()
            self._stop()
        except (LeaseLostError, StudyGoneError):
            raise  # the trials are another run's now, or nobody's
        except CifarTuneError:
            self._stop()
            raise
        except Exception:
            self.lease.check_study()
            raise
        finally:
            self.pool.close()

    # --- beginning ---

    def _look_into_queue(self) -> None:
        """Now and then, and always before the run ends."""
        if time.monotonic() >= self._next_look or not self.flights:
            self._next_look = time.monotonic() + QUEUE_SECONDS
            self.agenda.ask(self.queue.list_trials(self.spec.study_name))

    def _fill(self) -> None:
        while len(self.flights) < self.pool.slots:
            if any(flight.item.alone for flight in self.flights.values()):
                return
            item = self.agenda.next(self._fits)
            if item is None:
                return
            if item.is_new_request and not self.queue.begin(item.index):
                continue  # it was cancelled
            self._begin(item)

    def _fits(self, item: Item) -> bool:
        if item.alone and self.flights:
            return False
        running = [flight.left for flight in self.flights.values()]
        reason = self.spending.reason_against(item.config, running)
        self.refusal = reason or self.refusal
        return reason is None

    def _begin(self, item: Item) -> None:
        kind = () if item.request is None else ("queued",)
        draw = derive_seed(self.seed, *kind, "sampler", item.index)
        seed = derive_seed(self.seed, *kind, "trial", item.index)
        is_parallel = self.pool.slots > 1
        sampler = make_sampler(self.spec.sampler, draw, self.space, parallel=is_parallel)
        if item.number is not None:
            trial = trials.resume(self.study, item.number, self.space, sampler)
        elif item.params is not None and item.params.keys() >= self.space.keys():
            given = {"seed": seed, **item.attributes}
            trial = trials.create_known(self.study, self.space, item.params, given)
        else:
            given = {"seed": seed, **item.attributes}
            values = item.params or {}
            trial = trials.create_sampled(self.study, self.space, sampler, given, values)
        if item.request is not None:
            self.queue.name_trial(item.request, trial.number)
        elif item.number is None and item.params is None:
            self.agenda.sampled(trial.number)
        attributes = trial.user_attrs
        seed = attributes.get("seed", seed)  # one that was queued by other means has none
        config = self.spec.config(trial.params, seed, attributes.get("settings"))
        if "config" not in attributes:
            trials.record_config(trial, config)
        # They are stored once a worker has said what it is.
        facts = attributes.get("facts") or self._facts(config, draw)
        # A run that died may have stored an epoch of which it did not come to tell Optuna.
        reported = len(self.study._storage.get_trial(trial._trial_id).intermediate_values)
        history = [EpochMetrics(**epoch) for epoch in attributes.get("history", ())][:reported]
        why = None if item.number is None else self._why.get(trial.number, "the run had ended")
        restarts = list(attributes.get("restarts", ()))
        lines = self._lines.setdefault(trial.number, deque(maxlen=LAST_LINES))
        flight = Flight(
            item, trial, config, dict(facts), history, restarts, why, len(history), lines
        )
        self.flights[trial.number] = flight
        self.observer.trial_started(trials.summarize(trials.latest(trial)), config)
        best = self.complete.best_accuracy
        self.pool.start(Task(trial.number, config, self._files(flight), item.name, best))

    def _files(self, flight: Flight) -> TrialFiles:
        is_named = flight.item.name is not None
        return self.files.of_worker(
            flight.number,
            weights=may_be_kept(self.spec, is_named=is_named),
            predictions=is_named,
        )

    def _facts(self, config: TrialConfig, draw: int) -> dict[str, Any]:
        split = self.materials.data.split(config).digest
        facts = {"config_sha256": config.digest, "split_sha256": split, "sampler_seed": draw}
        weights = self.materials.weights.get(config.weights)
        if weights is not None:
            facts |= {"weights_sha256": weights.sha256, "weights_source": weights.source}
        return {**self.facts, **facts}

    # --- what workers say ---

    def _handle(self, event: Event | None) -> None:
        flight = self.flights.get(event.number) if event is not None else None
        if flight is None:
            return  # nothing was said, or of a trial that was given up
        if isinstance(event, Stepped):
            self.observer.stepped(flight.number, event.done)
        elif isinstance(event, EpochEnded):
            self.pool.decide(flight.number, go_on=self._report(flight, event.metrics))
        elif isinstance(event, Started):
            self._started(flight, event)
            self.annotator.trial_changed(trials.latest(flight.trial))
        elif isinstance(event, Finished):
            self._finished(flight, event.result)
        elif isinstance(event, Stopped):
            self._put_back(flight)
        elif isinstance(event, Failed):
            self._failed(flight, event)
        elif isinstance(event, Died):
            self._died(flight, event)

    def _started(self, flight: Flight, event: Started) -> None:
        flight.is_training = True
        flight.lines.append(f"started on {event.facts['host']}")
        for refusal in event.refusals:
            flight.lines.append(refusal)
            self.observer.noted(f"trial {flight.number}: checkpoint not used: {refusal}")
        if "device" not in flight.facts:
            flight.facts |= event.facts
            trials.record_facts(flight.trial, flight.facts)
        if flight.why is None:
            return
        restart: dict[str, Any] = {"why": flight.why}
        if flight.restarts and "epochs" not in flight.restarts[-1]:
            restart = flight.restarts.pop()  # of a death, that is recorded when it is seen
        restart |= {"epochs": event.epochs, "steps": event.steps}
        restart |= {key: event.facts[key] for key in ("host", "device")}
        if flight.reported and not event.epochs:
            restart["from"] = "the beginning: " + (
                "no checkpoint could be used"
                if event.shares_files
                else "this worker does not see the folder of the checkpoints"
            )
        flight.restarts.append(restart)
        trials.record_restarts(flight.trial, flight.restarts)

    def _report(self, flight: Flight, metrics: EpochMetrics) -> bool:
        """Tell Optuna of an epoch and ask the pruner; of a continued trial, once."""
        if metrics.epoch > flight.reported:
            del flight.history[metrics.epoch - 1 :]
            flight.history.append(metrics)
            trials.record_epoch(flight.trial, flight.history)
            flight.reported = metrics.epoch
            flight.lines.append(f"epoch {metrics.epoch}: {metrics.val_accuracy:.4f}")
            self.spending.add(flight.config, metrics)
            self.observer.epoch_ended(flight.number, metrics)
        elif replace(flight.history[metrics.epoch - 1], seconds=metrics.seconds) != metrics:
            # Trained again on another kind of machine: these are the epochs of what is kept.
            flight.history[metrics.epoch - 1] = metrics
            trials.record_history(flight.trial, flight.history)
        # After the last epoch there is nothing left to save: the trial is complete.
        is_decided = metrics.epoch < flight.reported or metrics.epoch == flight.config.epochs
        if flight.item.is_owed or is_decided:
            return True
        return not self.complete.should_prune(flight.trial)

    def _finished(self, flight: Flight, result: TrialResult) -> None:
        flight.is_training = False  # it has nothing left to save, should the run end here
        is_best = not result.pruned and self.complete.is_best(flight.number, result.val_accuracy)
        self._publish(flight, is_best=is_best)
        if result.note is not None:
            self.observer.noted(f"trial {flight.number}: {result.note}")
        if result.pruned:
            ended = trials.record_pruned(self.study, flight.trial)
        else:
            # Files first, then the record: what is recorded is there.
            with self.lease.fence():
                kept = self.files.settle(flight.number, flight.item.name, result)
            if kept.note is not None:
                self.observer.noted(f"trial {flight.number}: {kept.note}")
            ended = trials.record_complete(
                self.study, flight.trial, result.val_accuracy, kept.weights_sha256
            )
            self.complete.add(ended)
        self.errors_in_a_row = 0
        self._ended(flight, ended)
        self.files.remove_fallen()

    def _publish(self, flight: Flight, *, is_best: bool) -> None:
        """Bring a trial's pictures and tables to where a browser shows them."""
        self.files.write_metrics(flight.number, flight.history)
        with self.lease.fence():
            found = self.files.publish(flight.number, flight.trial._trial_id, is_best=is_best)
        trials.record_artifacts(flight.trial, found)

    def _failed(self, flight: Flight, event: Failed) -> None:
        if event.kind == REFUSED:
            self._put_back(flight)
            error = getattr(errors, str(event.detail["error"]), WorkError)
            raise error(f"trial {flight.number}: {event.message}")
        if event.kind == OUT_OF_MEMORY and flight.number not in self._had_memory_error:
            self._had_memory_error.add(flight.number)
            self.observer.noted(
                f"trial {flight.number}: the GPU has too little memory; it is tried again alone"
            )
            self._again(flight, event.message, alone=True)
            return
        kind = "not_finite" if event.kind == "not_finite" else "error"
        self._fail(flight, {"kind": kind, "message": event.message, **event.detail})

    def _died(self, flight: Flight, event: Died) -> None:
        deaths = 1 + sum(one.get("died", False) for one in flight.restarts)
        text = f"trial {flight.number}: {event.reason}"
        if deaths < LIVES:
            death = {"why": event.reason, "died": True}
            trials.record_restarts(flight.trial, [*flight.restarts, death])
            self.observer.noted(f"{text}; it goes on from its last checkpoint")
            self._again(flight, event.reason, alone=flight.item.alone)
            return
        lines = "\n".join([*flight.lines, event.tail]).strip()
        message = f"{event.reason}, for the {deaths}th time"
        self._fail(flight, {"kind": "died", "message": message, "log": lines[-4000:]})

    def _fail(self, flight: Flight, failure: dict[str, Any]) -> None:
        failure.setdefault("epoch", flight.reported + 1)
        self._publish(flight, is_best=False)
        self._ended(flight, trials.record_failure(self.study, flight.trial, failure))
        if failure["kind"] == "not_finite":
            return
        self.errors += 1
        self.errors_in_a_row += 1
        if self.errors_in_a_row >= ERRORS_IN_A_ROW:
            raise TrialFailedError(
                f"{self.errors_in_a_row} trials failed one after another, the last one: trial "
                f"{flight.number}: {failure['message']}; they are stored as failed and are run "
                "again by the same command"
            )

    # --- ending ---

    def _ended(self, flight: Flight, trial: FrozenTrial) -> None:
        del self.flights[flight.number]
        self.trials_run += 1
        if flight.item.request is not None:
            self.queue.end(flight.item.request)
        self.files.clear(flight.number)
        self.observer.trial_ended(trials.summarize(trial))
        self.annotator.trial_changed(trial)

    def _again(self, flight: Flight, why: str, *, alone: bool) -> None:
        """Let a trial go on in another worker, before all others."""
        self._why[flight.number] = why
        self._put_back(flight, alone=alone)

    def _put_back(self, flight: Flight, *, alone: bool = False) -> None:
        trials.put_back(self.study, flight.trial)
        del self.flights[flight.number]
        waiting = self.study._storage.get_trial(flight.trial._trial_id)
        self.observer.trial_ended(trials.summarize(waiting))
        self.annotator.trial_changed(waiting)
        self.agenda.put_back(flight.item, flight.number, flight.left.epochs, alone=alone)

    def _stop(self) -> None:
        """Let all workers save, and let their trials wait for the next run."""
        self.pool.stop()
        deadline = time.monotonic() + STOP_SECONDS
        event = self.pool.next_event(0.0)
        while time.monotonic() < deadline:
            with suppress(TrialFailedError, InputError):  # the run ends, one way or the other
                self._handle(event)
            # A worker that is still starting has nothing to save.
            is_saving = any(flight.is_training for flight in self.flights.values())
            if event is None and not is_saving:
                break
            left = deadline - time.monotonic()
            event = self.pool.next_event(min(max(left, 0.0), POLL_SECONDS))
        self.pool.close()
        for flight in list(self.flights.values()):
            self._put_back(flight)
