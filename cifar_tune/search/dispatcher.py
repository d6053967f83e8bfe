"""Hands trials to workers and handles what they say, until nothing is left to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial

from cifar_tune import errors
from cifar_tune.search.budget import TIME_IS_UP, Spending
from cifar_tune.search.open_study import OpenStudy
from cifar_tune.search.retry_policy import Failure, Retry, RetryPolicy
from cifar_tune.search.trial_recorder import TrialRecorder
from cifar_tune.search.trial_starter import RunningTrial, TrialStarter
from cifar_tune.search.work_list import Item
from cifar_tune.storage.optuna_private import list_waiting
from cifar_tune.storage.trials import put_back
from cifar_tune.workers import protocol

STOP_SECONDS = 3.0
"""How long workers may take to save once they are asked to stop; a run is to leave in five."""
POLL_SECONDS = 0.2
QUEUE_SECONDS = 1.0
"""At least so long between two looks for what people asked for."""
LOOK_SHARE = 20
"""How many times as long as a look takes it is until the next one."""


@dataclass
class Dispatcher:
    """The loop of a run: fills free slots and handles what workers say.

    Attributes:
        running: The trials that workers have, by their number.
        trials_run: How many trials this run ended.
        refusal: Why the last trial that was looked at may not be begun; None if all may.
    """

    open_study: OpenStudy
    starter: TrialStarter
    recorder: TrialRecorder
    spending: Spending
    pool: protocol.Pool
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    running: dict[int, RunningTrial] = field(default_factory=dict)
    trials_run: int = 0
    refusal: str | None = None
    _earlier: dict[int, RunningTrial] = field(default_factory=dict)
    _next_look: float = 0.0
    _waiting: list[int] | None = None

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Run until nothing is left that may be begun, or until the run is to stop.

        Raises:
            CifarTuneError: Something that no other trial would fare better with.
        """
        try:
            while not should_stop():
                if self.spending.is_time_up():
                    self.refusal = TIME_IS_UP
                    break
                self._look_into_queue()
                self._fill()
                if not self.running:
                    return
                self._handle(self.pool.next_event(POLL_SECONDS))
                self.open_study.lease.renew()
                self.recorder.annotator.poll()
            self._stop()
        except (errors.LeaseLostError, errors.StudyGoneError):
            raise  # the trials are another run's now, or nobody's
        except errors.CifarTuneError:
            self._stop()
            raise
        except Exception:
            self.open_study.lease.check_study()
            raise
        finally:
            self.pool.close()

    # --- beginning ---

    def _look_into_queue(self) -> None:
        """Take up what people asked for, now and then and always before the run ends."""
        start = time.monotonic()
        if start < self._next_look and self.running:
            return
        waiting = list_waiting(self.open_study.study)
        if waiting != self._waiting:
            self._waiting = waiting
            for trial in self.open_study.take_requests(self.recorder.observer.noted):
                self.recorder.annotator.trial_changed(trial)
        # To read a thousand that wait takes a good part of a second.
        taken = time.monotonic() - start
        self._next_look = start + max(QUEUE_SECONDS, LOOK_SHARE * taken)

    def _fill(self) -> None:
        while len(self.running) < self.pool.slots:
            if any(running.item.alone for running in self.running.values()):
                return
            item = self.open_study.work_list.next(self._fits)
            if item is None:
                return
            self._begin(item)

    def _fits(self, item: Item) -> bool:
        if item.alone and self.running:
            return False
        others = [running.config_left for running in self.running.values()]
        reason = self.spending.reason_against(item.config, others)
        self.refusal = reason or self.refusal
        return reason is None

    def _begin(self, item: Item) -> None:
        earlier = None if item.number is None else self._earlier.pop(item.number, None)
        running = self.starter.begin(item, earlier, is_parallel=self.pool.slots > 1)
        if running is None:
            return  # it was cancelled
        if item.number is None and item.params is None:
            self.open_study.work_list.sampled(running.number)
        self.running[running.number] = running
        self.recorder.begun(running)
        best_so_far = self.recorder.complete.best_accuracy
        self.pool.start(self.starter.make_task(running, best_so_far))

    # --- what workers say ---

    def _handle(self, event: protocol.Event | None) -> None:
        if event is None or event.number not in self.running:
            return  # nothing was said, or of a trial that was given up
        running = self.running[event.number]
        match event:
            case protocol.Stepped():
                self.recorder.observer.stepped(event.number, event.done)
            case protocol.EpochEnded():
                if event.metrics.epoch > running.epochs:  # else an earlier run has counted it
                    self.spending.add(running.config, event.metrics)
                go_on = self.recorder.epoch_ended(running, event.metrics)
                self.pool.decide(event.number, go_on=go_on)
            case protocol.Started():
                self.recorder.started(running, event)
            case protocol.Finished():
                self._end(running, self.recorder.finished(running, event.result))
                self.retries.count_success()
                self.open_study.files.remove_fallen()
            case protocol.Stopped():
                self._put_back(running)
            case protocol.Failed(kind=kind) if kind == protocol.REFUSED:
                self._put_back(running)
                error = getattr(errors, str(event.detail["error"]), errors.WorkError)
                raise error(f"trial {event.number}: {event.message}")
            case protocol.Failed():
                self._retry_or_give_up(running, self.retries.judge_failure(event))
            case protocol.Died():
                judgement = self.retries.judge_death(
                    event, running.deaths, running.log, alone=running.item.alone
                )
                self._retry_or_give_up(running, judgement)

    def _retry_or_give_up(self, running: RunningTrial, judgement: Retry | Failure) -> None:
        if not isinstance(judgement, Retry):
            self._end(running, self.recorder.failed(running, judgement))
            self.retries.count_failure(running.number, judgement)
            return
        if judgement.is_death:
            self.recorder.died(running, judgement.reason)
        self.recorder.note(running, judgement.note)
        running.reason = judgement.reason
        self._earlier[running.number] = running
        self._put_back(running, alone=judgement.alone)

    # --- ending ---

    def _end(self, running: RunningTrial, trial: FrozenTrial) -> None:
        del self.running[running.number]
        self.trials_run += 1
        self.recorder.ended(trial)

    def _put_back(self, running: RunningTrial, *, alone: bool = False) -> None:
        """Let a trial wait; it goes on before all others."""
        trial = put_back(self.open_study.study, running.trial)
        del self.running[running.number]
        self.recorder.ended(trial)
        self.open_study.work_list.put_back(
            running.item, running.number, running.config_left.epochs, alone=alone
        )

    def _stop(self) -> None:
        """Let all workers save, and let their trials wait for the next run."""
        self.pool.stop()
        deadline = time.monotonic() + STOP_SECONDS
        event = self.pool.next_event(0.0)
        while time.monotonic() < deadline:
            # The run ends, one way or the other.
            with suppress(errors.TrialFailedError, errors.InputError):
                self._handle(event)
            # A worker that is still starting has nothing to save.
            is_saving = any(running.is_training for running in self.running.values())
            if event is None and not is_saving:
                break
            left = deadline - time.monotonic()
            event = self.pool.next_event(min(max(left, 0.0), POLL_SECONDS))
        self.pool.close()
        for running in list(self.running.values()):
            self._put_back(running)
