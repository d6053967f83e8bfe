"""Draws the report of a study: from its record to the sections of a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cifar_tune.config.study_file import StudySpec
from cifar_tune.evaluation.study import ReportRecord, compute_report
from cifar_tune.evaluation.wording import format_differences, format_key
from cifar_tune.reports.blocks import Block, Page, Section
from cifar_tune.reports.sections.claims import draw_claims
from cifar_tune.reports.sections.confusion import draw_confusion
from cifar_tune.reports.sections.curves import draw_curves
from cifar_tune.reports.sections.reruns import draw_reruns
from cifar_tune.reports.sections.results import draw_results
from cifar_tune.reports.sections.search import draw_search
from cifar_tune.reports.sections.sweep import draw_sweep
from cifar_tune.reports.sections.trials import draw_protocol, draw_trials
from cifar_tune.storage.location import StorageLocation
from cifar_tune.storage.records import FOREIGN, SET_ASIDE
from cifar_tune.wording import format_count

SECTIONS: tuple[tuple[str, str, Callable[[ReportRecord], Iterable[Block]]], ...] = (
    ("results", "Results", draw_results),
    ("claims", "Claims, judged", draw_claims),
    ("sweep", "Accuracy against {parameter}", draw_sweep),
    ("curves", "Learning curves", draw_curves),
    ("fresh", "On fresh seeds", draw_reruns),
    ("mistakes", "What it gets wrong", draw_confusion),
    ("search", "The search", draw_search),
    ("trials", "All trials", draw_trials),
    ("protocol", "Protocol, and how to run it again", draw_protocol),
)
"""``id``, title and blocks in the order of the page; one without blocks is left out."""


def make_study_report(
    spec: StudySpec, location: StorageLocation, *, names_storage: bool
) -> tuple[ReportRecord, Page]:
    """Return the numbers and the page of the report of a stored study.

    Commands that a reader of the page is told have the storage in them if ``names_storage``; data
    is the same wherever it is stored.

    Raises:
        InputError: The study is not stored.
        StorageError: The storage cannot be read.
    """
    record = compute_report(location, spec.source, spec, location if names_storage else None)
    return record, draw_report(record)


def draw_report(record: ReportRecord) -> Page:
    """Draw the page of a study's report."""
    parameter = format_key(record.sweep.parameter) if record.sweep is not None else ""
    sections = (
        Section(id_, title.format(parameter=parameter), tuple(draw(record)))
        for id_, title, draw in SECTIONS
    )
    software, test_use = "; ".join(record.software), record.fresh.test_use
    return Page(
        title=record.title,
        lead=_lead(record),
        warning=" ".join(filter(None, (protocol_warning(record), *test_use.warnings()))),
        sections=tuple(section for section in sections if section.blocks),
        footer=f"{record.study_name}, made by {record.report_command} with {software}.",
    )


def _lead(record: ReportRecord) -> str:
    states = {
        state: sum(trial.state == state for trial in record.trials)
        for state in ("complete", "pruned", "fail", *SET_ASIDE, "running", "waiting", FOREIGN)
    }
    counts = ", ".join(f"{number} {state}" for state, number in states.items() if number)
    lead = f"{record.description} {format_count(len(record.trials), 'trial')}: {counts}."
    if not record.claims:
        return lead
    verdicts = ", ".join(
        f"{sum(claim.verdict == verdict for claim in record.claims)} {verdict}"
        for verdict in ("supported", "refuted", "undecided")
    )
    return f"{lead} Of {format_count(len(record.claims), 'claim')}: {verdicts}."


def protocol_warning(record: ReportRecord) -> str:
    """Return why the figures say nothing about the published ones; empty where they do."""
    if not record.differences:
        return ""
    return (
        f"These figures are of the profile {record.profile}, not of the protocol that the "
        f"published figures were measured with, and say nothing about them: "
        f"{format_differences(record.differences)}."
    )
