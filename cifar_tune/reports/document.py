"""A document of the user's own in which every figure comes from the storage: a Jinja2 template.

The template asks for stored studies and takes numbers, tables and figures of their reports. What is
stored decides what it says, so text and evidence cannot drift apart.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import functools
import itertools
import os
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import optuna

from cifar_tune.config.derived import family
from cifar_tune.config.study_file import load_study_file
from cifar_tune.config.wording import format_params
from cifar_tune.errors import InputError, WorkError
from cifar_tune.evaluation.claims import ClaimRecord
from cifar_tune.evaluation.quantities import ContrastRecord, Measured
from cifar_tune.evaluation.study import ReportRecord, compute_report
from cifar_tune.files import read_text
from cifar_tune.reports.blocks import Card, Chart, Table
from cifar_tune.reports.bounded_templates import BoundedEnvironment, render
from cifar_tune.reports.figure_files import digest_chart
from cifar_tune.reports.markdown import pipe_table, to_markdown
from cifar_tune.reports.study_page import draw_report
from cifar_tune.storage import studies
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.storage.selector import StudySelector
from cifar_tune.storage.trials import summarize
from cifar_tune.wording import format_duration, format_percent, format_points

_FAULTS = (
    TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError,
    MemoryError, NameError,
)  # fmt: skip
"""What expressions of a template may raise."""
MOST_BYTES = 64 << 20
"""No template, document or figure is larger."""


@dataclass(frozen=True)
class Document:
    """A document, and the figures that it shows by file name."""

    text: str
    charts: Mapping[str, Chart]


def render_document(
    path: Path, storage: StudySelector, out: Path, figures: Path | None
) -> Document:
    """Fill a template in.

    Args:
        path: The template.
        storage: Says where the studies that it asks for are stored.
        out: The file where the document is going to be.
        figures: The folder where its figures are going to be; None leaves them out.

    Raises:
        InputError: The template cannot be read, is wrong, or asks for what is not stored; the
            message has the line.
        StorageError: The storage cannot be read.
    """
    source = _read(path)
    link = None if figures is None else os.path.relpath(figures, out.parent)
    charts: dict[str, Chart] = {}

    @functools.cache
    def open_study(name: str, profile: str | None = None, **overrides: Any) -> StoredReport:
        if not isinstance(name, str) or not isinstance(profile, str | None):
            raise TypeError(f"study({name!r:.40}): expected names in quotes")
        study = dataclasses.replace(storage, name=name, profile=profile, overrides=overrides)
        spec, location = study.find()
        return StoredReport(compute_report(location, spec.source, spec, named=None), charts, link)

    functions = {
        "study": open_study,
        "published": published_figure,
        "runs": lambda *reports: _runs(storage.location, reports),
    }
    with _located_errors(path):
        template = BoundedEnvironment(_FILTERS, functions).from_string(source)
        template.filename = str(path)
        return Document(render(template), charts)


@contextmanager
def _located_errors(path: Path) -> Iterator[None]:
    """Let what is wrong with a template name its line."""
    try:
        yield
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"{path}:{error.lineno}: {error.message}") from error
    except (jinja2.TemplateError, InputError, *_FAULTS) as error:
        # Jinja2 puts lines of the template into the traceback.
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno or "?" for frame in frames if frame.filename == str(path)), "?")
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}:{line}: {reason}") from error


def check_document(document: Document, out: Path, figures: Path | None) -> None:
    """Check that a document stands as it would be written now, and its figures show the same.

    Raises:
        InputError: The document, or a figure, cannot be read.
        WorkError: It differs; the message has the first line that does.
    """
    lines = itertools.zip_longest(
        _read(out).splitlines(), document.text.splitlines(), fillvalue="nothing"
    )
    for number, (is_there, expected) in enumerate(lines, start=1):
        if is_there != expected:
            raise WorkError(f"{out}:{number}: is {is_there!r}, expected {expected!r}")
    if figures is None:
        return
    for name, chart in document.charts.items():
        path = figures / f"{name}.svg"
        if digest_chart(chart) not in _read(path):
            raise WorkError(f"{path}: shows other data than are stored")


def _read(path: Path) -> str:
    try:
        return read_text(path, MOST_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read: {reason}") from error


# --- what a template is given -------------------------------------------------------------------


class StoredReport:
    """The report of a stored study, as a template sees it.

    Attributes:
        record: All numbers of the report.
    """

    def __init__(self, record: ReportRecord, charts: dict[str, Chart], link: str | None) -> None:
        self.record = record
        self._blocks = draw_report(record).blocks
        self._charts = charts
        self._link = link

    @property
    def command(self) -> str:
        """The command that runs the study."""
        return self.record.command

    def measured(self, model: str, quantity: str) -> Measured:
        """Return a quantity of a named trial over its seeds."""
        for record in self.record.models:
            if record.name == model and quantity in record.measured:
                return record.measured[quantity]
        raise LookupError(f"{self.record.study_name} has no {quantity} of {model}")

    def claim(self, name: str) -> ClaimRecord:
        """Return a claim of the study file, judged."""
        for claim in self.record.claims:
            if claim.name == name:
                return claim
        raise LookupError(f"{self.record.study_name} has no claim {name}")

    def claims(self) -> str:
        """Return all claims with their verdicts, as a list."""
        return "\n".join(to_markdown(card) for card in self._blocks if isinstance(card, Card))

    def table(self, id: str) -> str:  # noqa: A002  it is what the page calls it
        """Return a table of the report by its id, without links."""
        return to_markdown(self._find(Table, id))

    def chart(self, id: str) -> str:  # noqa: A002
        """Return a figure of the report by its id, to be drawn into the folder of figures."""
        chart = self._find(Chart, id)
        digest = digest_chart(chart)
        if self._link is None:
            return digest
        name = re.sub("[:/=,]", "-", f"{self.record.study_name}-{chart.id}")
        self._charts[name] = chart
        return f"![{chart.title}]({self._link}/{name}.svg)\n\n{chart.caption}\n{digest}"

    def _find(self, kind: type[Any], id_: str) -> Any:
        known = {block.id: block for block in self._blocks if isinstance(block, kind)}
        if id_ not in known:
            expected = ", ".join(known) or "none"
            raise LookupError(
                f"the report of {self.record.study_name} has no {kind.__name__.lower()} {id_!r}; "
                f"expected one of: {expected}"
            )
        return known[id_]


def published_figure(name: str, model: str, quantity: str) -> float:
    """Return what a study file says was published of a named trial."""
    if not isinstance(name, str):
        raise TypeError(f"published({name!r:.40}): expected a name in quotes")
    published = load_study_file(name).content.published
    for figures in published.figures if published is not None else ():
        value = getattr(figures, quantity, None)
        if figures.name == model and isinstance(value, float):
            return value
    raise LookupError(f"studies/{name}.toml has no published {quantity} of {model}")


def format_ends(record: Measured | ContrastRecord, digits: int = 1) -> str:
    """Return the interval of an accuracy in percent, or of a difference in points."""
    if record.low is None or record.high is None:
        return "one seed, so no interval"
    if isinstance(record, ContrastRecord):
        low = format_points(record.low, digits).removesuffix(" points")
        return f"{low} to {format_points(record.high, digits)}"
    return f"{100 * record.low:.{digits}f} to {100 * record.high:.{digits}f} %"


_FILTERS: dict[str, Callable[..., str]] = {
    "percent": format_percent,
    "points": format_points,
    "interval": format_ends,
    "duration": format_duration,
    "settings": format_params,
}


def _runs(location: StorageLocation, reports: Iterable[StoredReport]) -> str:
    """Return a table of what was run: each study with those derived from it."""
    with explain_errors(location):
        storage = studies.open_to_read(location)
        names = [name for report in reports for name in family(report.record.study_name)]
        stored = [studies.find_study(storage, name) for name in names]
    rows = [row for study in stored if study is not None and (row := _run(study)) is not None]
    columns = ("study", "trials", "epochs", "begun (UTC)", "ended (UTC)", "summed time", "device")
    return pipe_table(columns, rows, right=(False, False, True, False, False, True, False))


def _run(study: optuna.Study) -> tuple[str, ...] | None:
    """Return how many trials of a study ran, when, how long and on what; None if none did."""
    trials = [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.datetime_start and trial.user_attrs.get("history")
    ]
    if not trials:
        return None
    states = collections.Counter(summarize(trial).outcome for trial in trials)
    epochs = [epoch for trial in trials for epoch in trial.user_attrs["history"]]
    moments = [
        moment.astimezone(datetime.UTC)
        for trial in trials
        for moment in (trial.datetime_start, trial.datetime_complete)
        if moment is not None
    ]
    devices = dict.fromkeys(trial.user_attrs["facts"]["device"] for trial in trials)
    return (
        f"`{study.study_name}`",
        ", ".join(f"{count} {state}" for state, count in states.items()),
        f"{len(epochs):,}",
        f"{min(moments):%Y-%m-%d %H:%M}",
        f"{max(moments):%Y-%m-%d %H:%M}",
        format_duration(sum(epoch["seconds"] for epoch in epochs)),
        ", ".join(devices),
    )
