"""The console that commands print to, JSON, and a run with its progress."""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from cifar_tune.search.preparation import Prepared, load_materials, run_prepared, settle_precision
from cifar_tune.storage.passwords import mask_passwords
from cifar_tune.wording import escape_controls

if TYPE_CHECKING:
    from cifar_tune.config.study_file import StudySpec
    from cifar_tune.search.observer import Observer
    from cifar_tune.search.runner import RunOptions, StudyOutcome
    from cifar_tune.storage.location import StorageLocation

PLAIN_WIDTH = 120
"""Columns of a table that is not printed to a terminal."""


class _SafeConsole(Console):
    """A console that a stranger's text cannot command, and that a closed terminal does not end."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield what is printed, all of which goes this way: lines, tables and bars."""
        for segment in super().render(renderable, options):
            is_plain = segment.control or segment.text.isprintable()
            yield segment if is_plain else Segment(escape_controls(segment.text), segment.style)

    def print(self, *objects: Any, **settings: Any) -> None:
        """Print, or once the terminal is gone go on without it."""
        try:
            super().print(*objects, **settings)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def make_console(*, to_stderr: bool = False) -> Console:
    """Return a console without markup: what is printed is the user's text, brackets and all."""
    settings: dict[str, Any] = {"stderr": to_stderr, "markup": False, "highlight": False}
    console = _SafeConsole(**settings)
    return console if console.is_terminal else _SafeConsole(**settings, width=PLAIN_WIDTH)


def make_table(*columns: str, **settings: Any) -> Table:
    """Return a table whose first column is aligned left and the others right.

    ``settings`` are those of ``rich.table.Table``.
    """
    layout = {"box": SIMPLE_HEAD, "show_edge": False, "padding": (0, 1, 0, 0), **settings}
    table = Table(header_style="bold", **layout)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table


def print_json(record: object) -> None:
    """Print one JSON object on stdout; what cannot be printed as it is, as JSON escapes it."""
    text = json.dumps(record, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding)
        is_plain = escape_controls(text) == text
    except UnicodeEncodeError:
        is_plain = False
    if not is_plain:
        text = json.dumps(record, indent=2).replace("\x7f", "\\u007f")
    print(text)  # noqa: T201


def study_header(spec: StudySpec, location: StorageLocation) -> dict[str, Any]:
    """Return what the JSON object of a study begins with."""
    return {
        "study": spec.file_name,
        "study_name": spec.study_name,
        "profile": spec.profile_name,
        "storage": str(location),
    }


def command_line() -> str:
    """Return the command line as the ledger takes it down: without passwords."""
    arguments = [mask_passwords(argument, is_argument=True) for argument in sys.argv[1:]]
    return shlex.join(["cifar-tune", *arguments])


def run_on_console(
    prepared: Prepared,
    console: Console,
    options: RunOptions,
    observer: Observer | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> StudyOutcome:
    """Print what is going to be run, and run what is left of it.

    The progress is shown on the console, unless there is an observer for it.
    """
    from cifar_tune.dashboard.notes.annotator import StudyAnnotator
    from cifar_tune.search.progress import Bars, PlainLines

    materials = load_materials(prepared, options)
    prepared = announce(prepared, console)
    shown: AbstractContextManager[Observer] = nullcontext(observer or PlainLines(console))
    if observer is None and console.is_terminal:
        shown = Bars(console)
    with shown as told:
        return run_prepared(prepared, materials, told, options, StudyAnnotator, should_stop)


def announce(prepared: Prepared, console: Console) -> Prepared:
    """Print what is going to be run, on what, and return it with its precision settled."""
    from cifar_tune.training.device import describe_device

    spec, protocol = prepared.spec, prepared.spec.protocol
    weights = ", ".join(sorted(spec.weights())) or "none"
    device = describe_device(prepared.device)
    console.print(Text.assemble((spec.study_name, "bold"), f"  {spec.title}"))
    console.print(f"profile {spec.profile_name}: {prepared.reason}")
    console.print(
        f"images {protocol.data}: {protocol.train_images:,} / {protocol.validation_images:,} at "
        f"{protocol.input_size} px, split {protocol.split}; pretrained weights: {weights}\n"
        f"device {device}, {prepared.workers}, storage {prepared.location}",
        soft_wrap=True,
    )
    prepared, check = settle_precision(prepared)
    console.print(f"precision {check.precision}: {check.why}", soft_wrap=True)
    return prepared
