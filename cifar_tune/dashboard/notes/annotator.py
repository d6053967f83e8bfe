"""Keeps notes and figures of a study up to date while a runner works on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import optuna
from optuna.trial import FrozenTrial

from cifar_tune.config.study_file import StudySpec
from cifar_tune.dashboard.notes.attributes import seal, write_figures, write_notes
from cifar_tune.dashboard.notes.background import (
    Background,
    Summary,
    SummaryRequest,
    try_summary,
)
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
NOTES_AT_ONCE = 50
"""Notes in one transaction, during which nobody else writes."""

TestAccuracies = Mapping[tuple[int, str | None], float]
"""Accuracies on the test images, by the trial's number and the digest of its weights."""


class StudyAnnotator(Annotator):
    """The runner's ``Annotator``.

    It writes the notes of trials at once, and what takes longer when a background process has it.
    """

    def __init__(self, open_study: OpenStudy, observer: Observer) -> None:
        self._open_study = open_study
        self._observer = observer
        self._noted = NotedStudy.of(open_study.spec, open_study.location)
        self._background = Background()
        self._plan: Plan | None = None
        self._began = time.monotonic()
        self._is_stale = True
        self._has_failed = False

    def __enter__(self) -> StudyAnnotator:
        """Bring the notes of all trials up to date.

        Those of an earlier version are not, nor those of a run that died.
        """
        engine = self._open_study.storage.engine
        results = [read.result for read in read_ledger(engine, [self._open_study.spec.study_name])]
        # What the weights of a trial gave the first time they were tested.
        accuracies: TestAccuracies = {
            (result.trial, result.weights_sha256): result.accuracy for result in reversed(results)
        }
        self._write(self._open_study.study.get_trials(deepcopy=False), accuracies)
        return self

    def __exit__(self, *_: object) -> None:
        self._background.close()

    def planned(self, plan: Plan) -> None:
        """Take up what the run is about to do."""
        self._plan = plan

    def trial_changed(self, trial: FrozenTrial) -> None:
        """Write the note of a trial that began, goes on, waits or ended."""
        self._write([trial])
        self._is_stale = True

    def poll(self) -> None:
        """Take up what the background process has, and begin the next summary when it is time."""
        self._accept(self._background.take(0.0))
        if self._is_stale and not self._is_short() and self._background.is_free():
            self._start(None)

    def finish(self, should_stop: Callable[[], bool], why_left: str | None) -> None:
        """Sum the study up once more at the end of the run, unless it is to stop."""
        if should_stop() or not (self._is_stale or why_left):
            return
        if self._is_short():
            self._accept(try_summary(self._request(why_left)))
            return
        self._start(why_left)
        deadline = time.monotonic() + FINAL_SECONDS
        while not should_stop() and time.monotonic() < deadline:
            answer = self._background.take(POLL_SECONDS)
            if answer is not None:
                self._accept(answer)
                return
        if not should_stop():
            self._accept(f"it takes more than {FINAL_SECONDS:.0f} seconds")

    def _is_short(self) -> bool:
        return time.monotonic() - self._began < SHORT_SECONDS

    def _write(self, trials: Sequence[FrozenTrial], tested: TestAccuracies | None = None) -> None:
        study, lease = self._open_study.study, self._open_study.lease
        _write_trial_notes(study, self._noted, lease, trials, tested or {})

    def _request(self, why_left: str | None) -> SummaryRequest:
        study, left = self._open_study, self._open_study.work_list.left()
        return SummaryRequest(study.location, study.spec, left, self._plan, why_left)

    def _start(self, why_left: str | None) -> None:
        self._is_stale = False
        self._background.start(self._request(why_left))

    def _accept(self, answer: Summary | str | None) -> None:
        """Save a summary; of one that failed, tell why, once in a run."""
        if isinstance(answer, Summary):
            study_id = get_study_id(self._open_study.study)
            with self._open_study.lease.fence() as connection:
                write_notes(connection, study_id, {None: answer.note})
                write_figures(connection, study_id, answer.figures)
        elif answer is not None:
            self._is_stale = True
            if not self._has_failed:
                self._has_failed = True
                self._observer.noted(
                    f"the study's note and figures in the browser are not up to date: {answer}"
                )


def write_trial_note(
    study: optuna.Study,
    spec: StudySpec,
    location: StorageLocation,
    lease: Lease,
    trial: FrozenTrial,
) -> None:
    """Bring the note of one trial up to date."""
    _write_trial_notes(study, NotedStudy.of(spec, location), lease, [trial], {})


def _write_trial_notes(
    study: optuna.Study,
    noted: NotedStudy,
    lease: Lease,
    trials: Sequence[FrozenTrial],
    tested: TestAccuracies,
) -> None:
    for start in range(0, len(trials), NOTES_AT_ONCE):
        notes: dict[int | None, str] = {}
        for trial in trials[start : start + NOTES_AT_ONCE]:
            weights = trial.user_attrs.get("kept_weights_sha256")
            accuracy = tested.get((trial.number, weights))
            note = trial_note(noted, summarize(trial), trial.user_attrs, accuracy)
            notes[get_trial_id(trial)] = seal(note)
        with lease.fence() as connection:
            write_notes(connection, get_study_id(study), notes)
