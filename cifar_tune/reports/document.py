"""A document of the user's own in which every figure comes from the storage: a Jinja2 template.

The template asks for stored studies and takes numbers, tables and figures of their reports. What is
stored decides what it says, so text and evidence cannot drift apart.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import os
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from cifar_tune.config.derived import family
from cifar_tune.config.study_file import LoadedStudyFile, StudySpec, load_study_file
from cifar_tune.errors import CifarTuneError, InputError, WorkError
from cifar_tune.evaluation.invocations import name_options
from cifar_tune.evaluation.records import ClaimRecord, ContrastRecord, Measured
from cifar_tune.evaluation.study import ReportRecord, compute_report
from cifar_tune.reports.blocks import Card, Chart, Page, Table
from cifar_tune.reports.figure_files import digest_comment
from cifar_tune.reports.markdown import pipe_table, to_markdown
from cifar_tune.reports.study_page import draw_report
from cifar_tune.storage import studies as storage
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.storage.trials import summarize
from cifar_tune.wording import format_duration, format_params


@dataclass(frozen=True)
class Document:
    """A document, and the figures that it shows by file name."""

    text: str
    charts: Mapping[str, Chart]


FindStudy = Callable[[str, str | None, dict[str, Any]], tuple[LoadedStudyFile, StudySpec]]
"""Gives the stored study of a study file's name, a profile and overrides."""


def render_document(
    path: Path,
    location: StorageLocation,
    find_study: FindStudy,
    out: Path,
    figures: Path | None,
) -> Document:
    """Fill a template in.

    Args:
        out: where the document is going to be.
        figures: the folder where its figures are going to be; None leaves them out.

    Raises:
        InputError: the template cannot be read, is wrong, or asks for what is not stored; the
            message has the line.
        StorageError: the storage cannot be read.
    """
    source = _read(path)
    link = None if figures is None else os.path.relpath(figures, out.parent)
    charts: dict[str, Chart] = {}
    environment = SandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=False,  # Markdown is no HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= _FILTERS
    environment.globals |= {
        "study": functools.cache(functools.partial(_open, location, find_study, charts, link)),
        "published": published_figure,
        "runs": lambda *studies: _runs(location, studies),
    }
    try:
        template = environment.from_string(source)
        template.filename = str(path)
        return Document(template.render(), charts)
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"{path}:{error.lineno}: {error.message}") from error
    except (jinja2.TemplateError, CifarTuneError, TypeError, ValueError, LookupError) as error:
        if isinstance(error, CifarTuneError) and not isinstance(error, InputError):
            raise
        raise InputError(f"{path}:{_line(error, path)}: {error}") from error


def check_document(document: Document, out: Path, figures: Path | None) -> None:
    """Check that a document stands as it would be written now, and its figures show the same.

    Raises:
        InputError: it, or a figure, cannot be read.
        WorkError: it does not; the message has the first line that differs.
    """
    wanted, found = document.text.splitlines(), _read(out).splitlines()
    for number, (is_there, expected) in enumerate(
        itertools.zip_longest(found, wanted, fillvalue="nothing"), start=1
    ):
        if is_there != expected:
            raise WorkError(f"{out}:{number}: is {is_there!r}, expected {expected!r}")
    for name, chart in document.charts.items() if figures is not None else ():
        path = Path(figures or "", f"{name}.svg")
        if digest_comment(chart.figure) not in _read(path):
            raise WorkError(f"{path}: shows other data than are stored")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _line(error: BaseException, path: Path) -> int | str:
    """The line of the template in which an error arose, which Jinja2 puts into the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((one.lineno or "?" for one in frames if one.filename == str(path)), "?")


# --- what a template is given -------------------------------------------------------------------


class StoredReport:
    """The report of a stored study, as a template sees it.

    Attributes:
        record: all numbers of the report.
    """

    def __init__(
        self, record: ReportRecord, page: Page, charts: dict[str, Chart], link: str | None
    ) -> None:
        self.record = record
        self._blocks = [block for section in page.sections for block in section.blocks]
        self._charts = charts
        self._link = link

    @property
    def command(self) -> str:
        """The command that runs the study."""
        return self.record.command

    def measured(self, model: str, quantity: str) -> Measured:
        """A quantity of a named trial over its seeds."""
        found = next((one for one in self.record.models if one.name == model), None)
        if found is None or quantity not in found.measured:
            raise LookupError(f"{self.record.study_name} has no {quantity} of {model}")
        return found.measured[quantity]

    def claim(self, name: str) -> ClaimRecord:
        """A claim of the study file, judged."""
        found = next((one for one in self.record.claims if one.name == name), None)
        if found is None:
            raise LookupError(f"{self.record.study_name} has no claim {name}")
        return found

    def claims(self) -> str:
        """All claims with their verdicts, as a list."""
        return "\n".join(to_markdown(one) for one in self._blocks if isinstance(one, Card))

    def table(self, id: str) -> str:  # noqa: A002  it is what the page calls it
        """A table of the report by its id, without links."""
        return to_markdown(self._find(Table, id))

    def chart(self, id: str) -> str:  # noqa: A002
        """A figure of the report by its id, to be drawn into the folder of figures."""
        chart = self._find(Chart, id)
        digest = digest_comment(chart.figure)
        if self._link is None:
            return digest
        name = f"{self.record.study_name}-{chart.id}".translate(_IN_FILE_NAMES)
        self._charts[name] = chart
        return f"![{chart.title}]({self._link}/{name}.svg)\n\n{chart.caption}\n{digest}"

    def _find(self, kind: type[Any], id_: str) -> Any:
        known = {one.id: one for one in self._blocks if isinstance(one, kind)}
        if id_ not in known:
            expected = ", ".join(known) or "none"
            raise LookupError(
                f"the report of {self.record.study_name} has no {kind.__name__.lower()} {id_!r}; "
                f"expected one of: {expected}"
            )
        return known[id_]


_IN_FILE_NAMES = str.maketrans({":": "-", "/": "-", "=": "-", ",": "-"})


def _open(
    location: StorageLocation,
    find_study: FindStudy,
    charts: dict[str, Chart],
    link: str | None,
    name: str,
    profile: str | None = None,
    **overrides: Any,
) -> StoredReport:
    loaded, spec = find_study(name, profile, overrides)
    record = compute_report(location, loaded, spec, name)
    page = draw_report(record, f"cifar-tune report {name} {name_options(spec)}")
    return StoredReport(record, page, charts, link)


def published_figure(name: str, model: str, quantity: str) -> float:
    """What a study file says was published of a named trial."""
    published = load_study_file(name).content.published
    for one in published.figures if published is not None else ():
        value = getattr(one, quantity, None)
        if one.name == model and isinstance(value, float):
            return value
    raise LookupError(f"studies/{name}.toml has no published {quantity} of {model}")


def _runs(location: StorageLocation, studies: Iterable[StoredReport]) -> str:
    """A table of what was run: each study with those derived from it, when, on what, how long."""
    rows = []
    with explain_errors(location):
        opened = storage.open_to_read(location)
        names = [one for study in studies for one in family(study.record.study_name)]
        found = [storage.find_study(opened, name) for name in names]
    for study in found:
        trials = [] if study is None else study.get_trials(deepcopy=False)
        begun = [one for one in trials if one.datetime_start and one.user_attrs.get("history")]
        if study is None or not begun:
            continue
        states = [summarize(trial).outcome for trial in begun]
        counts = ", ".join(f"{states.count(one)} {one}" for one in dict.fromkeys(states))
        epochs = [epoch for trial in begun for epoch in trial.user_attrs["history"]]
        moments = [
            moment.astimezone(datetime.UTC)
            for trial in begun
            for moment in (trial.datetime_start, trial.datetime_complete)
            if moment is not None
        ]
        devices = dict.fromkeys(trial.user_attrs["facts"]["device"] for trial in begun)
        rows.append(
            (
                f"`{study.study_name}`",
                counts,
                f"{len(epochs):,}",
                f"{min(moments):%Y-%m-%d %H:%M}",
                f"{max(moments):%Y-%m-%d %H:%M}",
                format_duration(sum(epoch["seconds"] for epoch in epochs)),
                ", ".join(devices),
            )
        )
    columns = ("study", "trials", "epochs", "begun (UTC)", "ended (UTC)", "summed time", "device")
    numbers = (False, False, True, False, False, True, False)
    return pipe_table(columns, rows, numbers)


# --- how numbers are said -----------------------------------------------------------------------


def _percent(fraction: float, digits: int = 1) -> str:
    return f"{100 * fraction:.{digits}f} %"


def _points(fraction: float, digits: int = 1) -> str:
    return f"{100 * fraction:+.{digits}f} points".replace("-", "−")  # noqa: RUF001  a minus sign


def _interval(found: Measured | ContrastRecord, digits: int = 1) -> str:
    """Of an accuracy, or of a difference of accuracies in points."""
    if found.low is None or found.high is None:
        return "one seed, so no interval"
    if isinstance(found, ContrastRecord):
        return (
            f"{_points(found.low, digits).removesuffix(' points')} to {_points(found.high, digits)}"
        )
    return f"{100 * found.low:.{digits}f} to {100 * found.high:.{digits}f} %"


_FILTERS = {
    "percent": _percent,
    "points": _points,
    "interval": _interval,
    "duration": format_duration,
    "settings": format_params,
}
