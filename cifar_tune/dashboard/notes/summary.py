"""The note of a study and its figures, computed from what is stored of it.

Loads SciPy and Plotly, which a run without a browser need not wait for. A figure is drawn as
optuna-dashboard shows it: alone in a box, without a caption.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import plotly.graph_objects as go

from cifar_tune.config.study_file import StudySpec, resolve
from cifar_tune.dashboard.notes.attributes import seal
from cifar_tune.dashboard.notes.figures import (
    plot_accuracies,
    plot_comparison,
    plot_pareto,
    plot_sweep,
)
from cifar_tune.dashboard.notes.study_notes import derived_note, study_note
from cifar_tune.dashboard.notes.trial_notes import NotedStudy
from cifar_tune.evaluation.evidence import gather
from cifar_tune.evaluation.study import ReportRecord, compute_report
from cifar_tune.evaluation.wording import format_key
from cifar_tune.reports.sections.curves import curves_of
from cifar_tune.search.plan import Plan, Work
from cifar_tune.search.runner import RunOptions, remaining_work
from cifar_tune.storage.location import StorageLocation
from cifar_tune.storage.studies import find_study, open_to_read

MAX_CHARACTERS = 100_000
"""Characters of a figure; it is sent anew with every look at the study."""


def compute_summary(
    location: StorageLocation, spec: StudySpec, left: Work, plan: Plan | None, why_left: str | None
) -> tuple[str, Mapping[str, str]]:
    """Return the note of a stored study, sealed, and its figures; it takes a second and more.

    The last three are as ``SummaryRequest`` has them.
    """
    study = NotedStudy.of(spec, location)
    if study.purpose is not None:
        evidence = gather(location, spec.study_name, f"cifar-tune best {study.purpose}")
        return seal(derived_note(study, evidence)), {}
    # A run of some named trials only says no less of the others.
    whole = resolve(spec.source, spec.profile_name, spec.overrides, spec.profile.seeds)
    study = NotedStudy.of(whole, location)
    record = compute_report(location, spec.source, whole, named=location)
    stored_study = find_study(open_to_read(location), whole.study_name)
    is_done = not remaining_work(whole, stored_study, RunOptions()).trials
    note = study_note(study, record, left, plan, why_left, is_done=is_done)
    return seal(note), _study_figures(record)


def _study_figures(record: ReportRecord) -> dict[str, str]:
    """Return Plotly's JSON by the id that a figure has in the page."""
    texts = {name: _finish(figure, title).to_json() for name, title, figure in _draw(record)}
    return {name: text for name, text in texts.items() if len(text) <= MAX_CHARACTERS}


def _draw(record: ReportRecord) -> Iterator[tuple[str, str, go.Figure]]:
    """Yield id, title and figure."""
    sweep = record.sweep
    if sweep is not None and (record.trained or sweep.others):
        name = f"accuracy-by-{sweep.parameter.replace('_', '-')}"
        title = f"Accuracy against {format_key(sweep.parameter)}"
        figure = plot_sweep(record, sweep)
        if len(figure.to_json()) > MAX_CHARACTERS:
            figure = plot_sweep(record, dataclasses.replace(sweep, others=()))
        yield name, f"{title}, with 95 % intervals", figure
    elif record.trained:
        title = "Accuracy of each named trial, with 95 % intervals"
        yield "accuracy-by-named-trial", title, plot_accuracies(record)
    if len(record.trained) > 1 and record.pareto:
        yield "accuracy-against-time", "Accuracy against training time", plot_pareto(record)
    if record.trained:
        title = "Learning curves of the named trials, means over seeds"
        yield "learning-curves-of-named-trials", title, plot_comparison(curves_of(record))


def _finish(figure: go.Figure, title: str) -> go.Figure:
    """Give a figure what the page of a report has around it: a title and a background."""
    return figure.update_layout(
        title={"text": title, "x": 0, "xref": "paper", "y": 0.98, "yanchor": "top"},
        legend={"y": 0.9},
        margin={"t": 80},
        paper_bgcolor="#ffffff",
    )
