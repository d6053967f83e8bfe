"""Keeps notes and figures of a study up to date while a runner works on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import optuna
from optuna.trial import FrozenTrial

from cifar_tune.config.derived import PURPOSES, derive_spec
from cifar_tune.config.study_file import StudySpec
from cifar_tune.dashboard.notes.attributes import seal, write_figures, write_notes
from cifar_tune.dashboard.notes.background import (
    Background,
    Summary,
    SummaryRequest,
    try_summary,
)
from cifar_tune.dashboard.notes.trial_notes import NotedStudy, trial_note
from cifar_tune.errors import StudyBusyError
from cifar_tune.evaluation.test_reads import read_ledger
from cifar_tune.search.observer import Annotator, Observer
from cifar_tune.search.open_study import OpenStudy
from cifar_tune.search.plan import Plan
from cifar_tune.search.runner import RunOptions, remaining_work
from cifar_tune.storage import studies as stored
from cifar_tune.storage.lease import Lease, hold_lease
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.storage.optuna_private import get_engine, get_study_id, get_trial_id
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
        accuracies = _read_accuracies(self._open_study.study)
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
            self._start(None, self._plan)

    def finish(self, should_stop: Callable[[], bool], why_left: str | None) -> None:
        """Sum the study up once more at the end of the run, unless it is to stop."""
        if should_stop() or not (self._is_stale or why_left):
            return
        if self._is_short():
            self._accept(try_summary(self._request(why_left, None)))
            return
        self._start(why_left, None)
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

    def _request(self, why_left: str | None, plan: Plan | None) -> SummaryRequest:
        study, left = self._open_study, self._open_study.work_list.left()
        return SummaryRequest(study.location, study.spec, left, plan, why_left)

    def _start(self, why_left: str | None, plan: Plan | None) -> None:
        self._is_stale = False
        self._background.start(self._request(why_left, plan))

    def _accept(self, answer: Summary | str | None) -> None:
        """Save a summary; of one that failed, tell why, once in a run."""
        if isinstance(answer, Summary):
            _write_summary(self._open_study.study, self._open_study.lease, answer)
        elif answer is not None:
            self._is_stale = True
            if not self._has_failed:
                self._has_failed = True
                self._observer.noted(
                    f"the study's note and figures in the browser are not up to date: {answer}"
                )


def refresh_notes(location: StorageLocation, spec: StudySpec) -> None:
    """Bring the notes of a study, and of those derived from it, up to date between its runs.

    Called after what changes them beside a run: test reads, a confirmation, dropped trials. A study
    that another process runs is left to that one.
    """
    with explain_errors(location):
        storage = stored.open_to_write(location)
        for part in (spec, *(derive_spec(spec, purpose, (), 0) for purpose in PURPOSES)):
            study = stored.find_study(storage, part.study_name)
            if study is None:
                continue
            left = remaining_work(part, study, RunOptions())
            with (
                suppress(StudyBusyError),
                hold_lease(
                    storage.engine, get_study_id(study), part.study_name, lambda _: None
                ) as lease,
            ):
                noted, all_trials = NotedStudy.of(part, location), study.get_trials(deepcopy=False)
                _write_trial_notes(study, noted, lease, all_trials, _read_accuracies(study))
                summary = try_summary(SummaryRequest(location, part, left, None))
                if isinstance(summary, Summary):
                    _write_summary(study, lease, summary)


def _read_accuracies(study: optuna.Study) -> TestAccuracies:
    """Return what the weights of each trial gave the first time they were tested."""
    results = [read.result for read in read_ledger(get_engine(study), [study.study_name])]
    return {(result.trial, result.weights_sha256): result.accuracy for result in reversed(results)}


def _write_summary(study: optuna.Study, lease: Lease, summary: Summary) -> None:
    with lease.fence() as connection:
        write_notes(connection, get_study_id(study), {None: summary.note})
        write_figures(connection, get_study_id(study), summary.figures)


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
