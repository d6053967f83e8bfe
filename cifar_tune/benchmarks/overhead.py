"""Measures what the runner itself costs: asking, recording, pruning, telling, showing progress.

The real runner works on a real database with as many finished trials as asked for; its workers
alone are made up, and train nothing.
"""

from __future__ import annotations

import io
import random
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import optuna
from optuna.trial import TrialState, create_trial
from rich.console import Console

from cifar_tune.config.space import WholeRange
from cifar_tune.config.study_file import StudySpec, load_study_file, resolve
from cifar_tune.dashboard.notes.annotator import StudyAnnotator
from cifar_tune.data.search_data import load_search_data
from cifar_tune.search.plan import Costs, StepTimes
from cifar_tune.search.progress import PlainLines
from cifar_tune.search.runner import Runner, RunOptions, Workers
from cifar_tune.search.samplers import distributions
from cifar_tune.storage.location import StorageLocation, locate_storage
from cifar_tune.storage.studies import open_to_write
from cifar_tune.training.provenance import software
from cifar_tune.training.records import EpochMetrics, TrialResult
from cifar_tune.workers.protocol import EpochEnded, Event, Finished, Materials, Started, Task

EPOCHS = 20
"""Epochs of a measured trial: the assignment's models that search most have so many."""


@dataclass(frozen=True)
class Overhead:
    """What the runner costs, in milliseconds of wall-clock time.

    Attributes:
        finished: How many trials the study had before.
        trials: How many trials were measured, each of ``EPOCHS`` epochs unless it was pruned.
        epoch_median: The median of an epoch (report, prune, progress).
        epoch_high: The 90th percentile of an epoch.
        trial_median: The median of a trial without its epochs (ask, record, tell).
        trial_high: The 90th percentile of a trial without its epochs.
        mean_per_epoch: All of it together, over all epochs.
        share: The share of a trial of ``EPOCHS`` epochs of one second, as a fraction.
    """

    finished: int
    trials: int
    epoch_median: float
    epoch_high: float
    trial_median: float
    trial_high: float
    mean_per_epoch: float
    share: float


def measure_overhead(finished: int, trials: int, on_note: Callable[[str], None]) -> Overhead:
    """Fill a temporary database, run a study that trains nothing, and time the runner.

    The study has ``finished`` trials before. Of the ``trials`` the first is a warm-up and is not
    counted. ``on_note`` is told what is being done.
    """
    spec = resolve(load_study_file("joint"), "quick", {"epochs": EPOCHS})
    spec = replace(spec, named=())
    data = load_search_data("bundled", Path())
    with tempfile.TemporaryDirectory(prefix="cifar-tune-overhead-") as folder:
        location = locate_storage(str(Path(folder) / "overhead.db"))
        pool = _InstantPool()

        def run(more_trials: int) -> None:
            step = StepTimes(0.02, 0.02, 0.02, 0.02)
            materials = Materials(data, {}, Path(folder))
            workers = Workers(materials, lambda: pool, lambda: Costs(0, step, 5, step))
            observer = PlainLines(Console(file=io.StringIO()))
            options = RunOptions(more_trials)
            Runner(spec, location, workers, observer, options, StudyAnnotator).run()

        run(0)
        on_note(f"filling a database with {finished:,} finished trials")
        _fill(location, spec, finished)
        on_note(f"running {trials} trials of at most {EPOCHS} epochs that train nothing")
        run(trials + 1)
    return _summarize(finished, pool)


def _summarize(finished: int, pool: _InstantPool) -> Overhead:
    epochs, turns = pool.epoch_seconds, pool.turn_seconds[1:]
    of_epoch, of_trial = statistics.median(epochs), statistics.median(turns)
    return Overhead(
        finished=finished,
        trials=len(turns),
        epoch_median=1e3 * of_epoch,
        epoch_high=1e3 * statistics.quantiles(epochs, n=10)[-1],
        trial_median=1e3 * of_trial,
        trial_high=1e3 * statistics.quantiles(turns, n=10)[-1],
        mean_per_epoch=1e3 * (sum(epochs) + sum(turns)) / len(epochs),
        share=(EPOCHS * statistics.mean(epochs) + statistics.mean(turns)) / EPOCHS,
    )


def _fill(location: StorageLocation, spec: StudySpec, count: int) -> None:
    """Add made-up finished trials, with all that real ones have."""
    draw = random.Random(0)
    space = distributions(spec.space)
    storage = open_to_write(location)
    study = optuna.load_study(study_name=spec.study_name, storage=storage)
    for number in range(count):
        params = {
            key: draw.randint(values.low, values.high)
            if isinstance(values, WholeRange)
            else draw.uniform(values.low, values.high)
            for key, values in spec.space.ranges().items()
        }
        is_pruned = number % 2 == 1
        history = _made_up_epochs(draw, EPOCHS // 4 if is_pruned else EPOCHS)
        config = spec.config(params, number)
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if is_pruned else TrialState.COMPLETE,
                value=history[-1].val_accuracy,
                params=params,
                distributions=dict(space),
                intermediate_values={epoch.epoch: epoch.val_accuracy for epoch in history},
                user_attrs={
                    "seed": number,
                    "config": asdict(config),
                    "facts": {"data_digests": {}, "device": "made up", "software": software()},
                    "history": list(map(asdict, history)),
                },
            )
        )
    storage.engine.dispose()


def _made_up_epochs(draw: random.Random, epochs: int) -> list[EpochMetrics]:
    best = draw.uniform(0.3, 0.7)
    return [
        EpochMetrics(epoch, 1.0, 0.5, 1.0, best * (1 - 0.5**epoch) + draw.gauss(0, 0.01), 1.0)
        for epoch in range(1, epochs + 1)
    ]


class _InstantPool:
    """A pool that trains nothing, and notes how long the runner takes between two of its calls."""

    slots = 1
    share = 1.0

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._epochs: list[EpochMetrics] = []
        self._trained = 0
        self._draw = random.Random(1)
        self._since = time.perf_counter()
        self.epoch_seconds: list[float] = []
        self.turn_seconds: list[float] = []
        self._turn = 0.0

    def start(self, task: Task) -> None:
        """See ``Pool``."""
        self._turn += self._elapsed()
        self._epochs = _made_up_epochs(self._draw, task.config.epochs)
        self._trained = 0
        provenance = {"device": "none", "host": "none", "software": software()}
        self._events.append(Started(task.number, provenance, 0, 0))
        self._next_epoch(task.number)
        self._since = time.perf_counter()

    def next_event(self, timeout: float) -> Event | None:  # noqa: ARG002
        """See ``Pool``."""
        self._turn += self._elapsed()
        event = self._events.popleft() if self._events else None
        if isinstance(event, Finished):
            # What the runner does until the next trial's first epoch is the cost of a trial.
            self.turn_seconds.append(self._turn)
            self._turn = 0.0
        self._since = time.perf_counter()
        return event

    def decide(self, number: int, *, go_on: bool) -> None:
        """See ``Pool``."""
        self.epoch_seconds.append(self._elapsed())
        is_last = self._trained == len(self._epochs)
        if go_on and not is_last:
            self._next_epoch(number)
        else:
            result = TrialResult(tuple(self._epochs[: self._trained]), not is_last, None)
            self._events.append(Finished(number, result))
        self._since = time.perf_counter()

    def stop(self) -> None:
        """See ``Pool``."""

    def close(self) -> None:
        """See ``Pool``."""

    def _next_epoch(self, number: int) -> None:
        self._events.append(EpochEnded(number, self._epochs[self._trained]))
        self._trained += 1

    def _elapsed(self) -> float:
        return time.perf_counter() - self._since
