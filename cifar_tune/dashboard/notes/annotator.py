"""Keeps notes and figures of a study up to date while a runner works on it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping

import optuna
from optuna.trial import FrozenTrial

from cifar_tune.config.study_file import StudySpec
from cifar_tune.dashboard.notes.attributes import (
    batches,
    is_ours,
    read_notes,
    seal,
    write_figures,
    write_notes,
)
from cifar_tune.dashboard.notes.background import Background
from cifar_tune.dashboard.notes.study_notes import Progress
from cifar_tune.dashboard.notes.summary import Summary, Wanted, compute_summary
from cifar_tune.dashboard.notes.trial_notes import NotedStudy, trial_note
from cifar_tune.evaluation.test_reads import read_ledger
from cifar_tune.search.observer import Annotator, Observer
from cifar_tune.search.open_study import OpenStudy
from cifar_tune.search.plan import Plan
from cifar_tune.storage.lease import Lease
from cifar_tune.storage.location import StorageLocation
from cifar_tune.storage.optuna_private import get_study_id, get_trial_id
from cifar_tune.storage.trials import summarize

SHORT_SECONDS = 10.0
"""A run that is no longer sums up its study at its end only, and in its own process: to begin
another one would take as long again."""
FINAL_SECONDS = 20.0
"""How long the end of a run waits for the last summary."""
POLL_SECONDS = 0.1


class StudyAnnotator(Annotator):
    """The runner's ``Annotator``: writes the notes of trials at once, and what takes longer when a
    background process has it."""

    def __init__(self, open_study: OpenStudy, observer: Observer) -> None:
        self._engine = open_study.storage.engine
        self._study = open_study.study
        self._spec = open_study.spec
        self._location = open_study.location
        self._work_list = open_study.work_list
        self._lease = open_study.lease
        self._observer = observer
        self._noted = NotedStudy.of(self._spec, self._location)
        self._background = Background()
        self._plan: Plan | None = None
        self._began = time.monotonic()
        self._is_stale = True
        self._has_failed = False

    def __enter__(self) -> StudyAnnotator:
        self._catch_up()
        return self

    def __exit__(self, *_: object) -> None:
        self._background.close()

    def planned(self, plan: Plan) -> None:
        """The run is about to begin."""
        self._plan = plan

    def _catch_up(self) -> None:
        """Bring the notes of all trials up to date: those of an earlier version, or of a run that
        died, are not."""
        trials = self._study.get_trials(deepcopy=False)
        tested = self._test_accuracies()
        notes = {
            get_trial_id(one): self._note(one, tested.get(_kept_weights(one))) for one in trials
        }
        with self._engine.connect() as connection:
            there = read_notes(connection, get_study_id(self._study))
        self._write(
            {
                identity: note
                for identity, note in notes.items()
                if identity not in there or (there[identity] != note and is_ours(there[identity]))
            }
        )

    def trial_changed(self, trial: FrozenTrial) -> None:
        """A trial began, goes on, waits or ended: write its note."""
        self._write({get_trial_id(trial): self._note(trial)})
        self._is_stale = True

    def poll(self) -> None:
        """Take up what the background process has, and begin the next summary when it is time."""
        self._take(0.0)
        is_short = time.monotonic() - self._began < SHORT_SECONDS
        if self._is_stale and not is_short and self._background.is_free():
            self._start(None)

    def finish(self, should_stop: Callable[[], bool], why_left: str | None) -> None:
        """The run is at its end: sum its study up once more, unless it is to stop.

        Args:
            why_left: what kept the run from doing all that it was to do.
        """
        if should_stop() or not (self._is_stale or why_left):
            return
        if time.monotonic() - self._began < SHORT_SECONDS:
            self._sum_up(why_left)
            return
        self._start(why_left)
        deadline = time.monotonic() + FINAL_SECONDS
        while not should_stop() and time.monotonic() < deadline:
            if self._take(POLL_SECONDS):
                return
        if not should_stop():
            self._fail(f"it takes more than {FINAL_SECONDS:.0f} seconds")

    # --- trials ---

    def _note(self, trial: FrozenTrial, test_accuracy: float | None = None) -> str:
        return seal(trial_note(self._noted, summarize(trial), trial.user_attrs, test_accuracy))

    def _write(self, notes: Mapping[int | None, str]) -> None:
        for some in batches(notes):
            with self._lease.fence() as connection:
                write_notes(connection, get_study_id(self._study), some)

    def _test_accuracies(self) -> dict[tuple[int, str | None], float]:
        """By trial number and its weights: what they gave the first time."""
        results = [one.result for one in read_ledger(self._engine)]
        return {
            (one.trial, one.weights_sha256): one.accuracy
            for one in reversed(results)
            if one.study_name == self._spec.study_name
        }

    # --- the study ---

    def _wanted(self, why_left: str | None) -> Wanted:
        progress = Progress(self._work_list.left(), self._plan, why_left)
        return Wanted(self._location, self._spec, progress)

    def _start(self, why_left: str | None) -> None:
        self._is_stale = False
        self._background.start(self._wanted(why_left))

    def _take(self, timeout: float) -> bool:
        """Whether the background process is done, well or not."""
        answer = self._background.take(timeout)
        if isinstance(answer, Summary):
            self._save(answer)
        elif answer is not None:
            self._fail(answer)
        return answer is not None

    def _sum_up(self, why_left: str | None) -> None:
        try:
            with warnings.catch_warnings(action="ignore"):  # e.g. Optuna's, of too few trials
                summary = compute_summary(self._wanted(why_left))
        except Exception as error:  # the run is complete without it
            self._fail(f"{type(error).__name__}: {error}")
        else:
            self._save(summary)

    def _save(self, summary: Summary) -> None:
        with self._lease.fence() as connection:
            write_notes(connection, get_study_id(self._study), {None: summary.note})
            write_figures(connection, get_study_id(self._study), summary.figures)

    def _fail(self, why: str) -> None:
        self._is_stale = True
        if not self._has_failed:
            self._has_failed = True
            self._observer.noted(
                f"the study's note and figures in the browser are not up to date: {why}"
            )


def _kept_weights(trial: FrozenTrial) -> tuple[int, str | None]:
    return trial.number, trial.user_attrs.get("kept_weights_sha256")


def write_trial_note(
    study: optuna.Study,
    spec: StudySpec,
    location: StorageLocation,
    lease: Lease,
    trial: FrozenTrial,
) -> None:
    """Bring the note of one trial up to date."""
    noted = NotedStudy.of(spec, location)
    note = seal(trial_note(noted, summarize(trial), trial.user_attrs))
    with lease.fence() as connection:
        write_notes(connection, get_study_id(study), {get_trial_id(trial): note})
