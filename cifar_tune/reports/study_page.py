"""Draws the report of a study: from its record to the sections of a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cifar_tune.config.study_file import StudySpec
from cifar_tune.evaluation.study import ReportRecord, compute_report
from cifar_tune.evaluation.wording import format_differences
from cifar_tune.reports.blocks import Block, Page, Section
from cifar_tune.reports.sections.answer import draw_opening
from cifar_tune.reports.sections.claims import draw_claims
from cifar_tune.reports.sections.confusion import draw_confusion
from cifar_tune.reports.sections.results import draw_comparison
from cifar_tune.reports.sections.search import draw_search
from cifar_tune.reports.sections.trials import draw_protocol, list_commands
from cifar_tune.storage.location import StorageLocation
from cifar_tune.storage.records import FOREIGN, SET_ASIDE
from cifar_tune.wording import format_count

SECTIONS: tuple[tuple[str, str, Callable[[ReportRecord], Iterable[Block]]], ...] = (
    ("comparison", "Comparison", draw_comparison),
    ("search", "Search", draw_search),
    ("mistakes", "Mistakes", draw_confusion),
    ("claims", "Claims", draw_claims),
    ("protocol", "Protocol", draw_protocol),
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
    sections = (Section(id_, title, tuple(draw(record))) for id_, title, draw in SECTIONS)
    devices, software = " and ".join(record.devices), "; ".join(record.software)
    return Page(
        title=record.title,
        subtitle=_describe_trials(record),
        lead=record.answer.sentence,
        warning="",
        opening=tuple(draw_opening(record)),
        sections=tuple(section for section in sections if section.blocks),
        commands=tuple(list_commands(record)),
        footer=f"Made from {record.study_name}; device: {devices}; software: {software}.",
    )


def _describe_trials(record: ReportRecord) -> str:
    states = {
        state: sum(trial.state == state for trial in record.trials)
        for state in ("complete", "pruned", "fail", *SET_ASIDE, "running", "waiting", FOREIGN)
    }
    counts = ", ".join(f"{number} {state}" for state, number in states.items() if number)
    trials = format_count(len(record.trials), "trial")
    return f"{record.description} {record.study_name}, {trials}: {counts}."


def protocol_warning(record: ReportRecord) -> str:
    """Return why the figures say nothing about the published ones; empty where they do."""
    if not record.differences:
        return ""
    return (
        f"These figures are of the profile {record.profile}, not of the protocol that the "
        f"published figures were measured with, and say nothing about them: "
        f"{format_differences(record.differences)}."
    )
