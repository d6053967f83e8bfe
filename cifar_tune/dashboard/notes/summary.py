"""The note and the figures of a study, computed from what is stored of it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from cifar_tune.config.study_file import StudySpec, name_in_commands, resolve
from cifar_tune.dashboard.notes.attributes import seal
from cifar_tune.dashboard.notes.study_notes import Progress
from cifar_tune.dashboard.notes.trial_notes import NotedStudy
from cifar_tune.storage.location import StorageLocation


@dataclass(frozen=True)
class SummaryRequest:
    """A summary that is asked for: of which study, where it is stored, how far its run is."""

    location: StorageLocation
    spec: StudySpec
    progress: Progress


@dataclass(frozen=True)
class Summary:
    """The note of a study, sealed, and its figures as Plotly's JSON by their ids."""

    note: str
    figures: Mapping[str, str]


def try_summary(request: SummaryRequest) -> Summary | str:
    """Read a study and sum it up, or return in words why that fails: a run goes on without it.

    It takes a second and more, and loads SciPy and Plotly.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # e.g. Optuna's, of too few trials
            return _compute_summary(request)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _compute_summary(request: SummaryRequest) -> Summary:
    from cifar_tune.dashboard.notes.figures import study_figures
    from cifar_tune.dashboard.notes.study_notes import derived_note, study_note
    from cifar_tune.evaluation.evidence import gather
    from cifar_tune.evaluation.study import compute_report

    location, spec = request.location, request.spec
    study = NotedStudy.of(spec, location)
    if study.purpose is not None:
        evidence = gather(location, spec.study_name, f"cifar-tune best {study.purpose}")
        return Summary(seal(derived_note(study, evidence)), {})
    # A run of some named trials only says no less of the others.
    whole = resolve(spec.source, spec.profile_name, spec.overrides, spec.profile.seeds)
    study = NotedStudy.of(whole, location)
    record = compute_report(location, spec.source, whole, name_in_commands(spec.source))
    return Summary(seal(study_note(study, record, request.progress)), study_figures(record))
