"""The console that commands print to, JSON, and a run with its progress."""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from cifar_tune import paths
from cifar_tune.cli.defaults import describe_used
from cifar_tune.search.preparation import Prepared, load_materials, run_prepared, settle_precision
from cifar_tune.storage.passwords import mask_passwords
from cifar_tune.wording import escape_controls, format_field

if TYPE_CHECKING:
    from cifar_tune.config.study_file import StudySpec
    from cifar_tune.search.observer import Observer
    from cifar_tune.search.outcome import StudyOutcome
    from cifar_tune.search.runner import RunOptions
    from cifar_tune.storage.location import StorageLocation

LOADING = "Loading PyTorch"
"""What the spinner says first of commands that train."""
_waited_for = ExitStack()
"""The spinner of ``waiting_for_command``."""
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


def make_console(*, to_stderr: bool = False, is_quiet: bool = False) -> Console:
    """Return a console without markup: what is printed is the user's text, brackets and all."""
    _waited_for.close()  # whoever makes a console is about to print
    settings: dict[str, Any] = {
        "stderr": to_stderr,
        "quiet": is_quiet,
        "markup": False,
        "emoji": False,  # else a profile called x ends the name of a study with a cross
        "highlight": False,
    }
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


@dataclass(frozen=True)
class OutputOptions:
    """What a command prints, as asked for on the command line."""

    as_json: bool = False
    is_quiet: bool = False
    log: str | None = None

    @property
    def is_shown(self) -> bool:
        """Whether a person is to see what is done."""
        return not (self.as_json or self.is_quiet)

    def progress_console(self) -> Console:
        """Return the console for the progress: standard error beside JSON."""
        return make_console(to_stderr=self.as_json, is_quiet=self.is_quiet)


@contextmanager
def waiting_for_command(text: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Show a spinner until a command makes its console; nothing with --json or --quiet."""
    is_shown = not (options.get("as_json") or options.get("is_quiet"))
    with _waited_for:
        _waited_for.enter_context(waiting(text, is_shown=is_shown))
        yield


@contextmanager
def waiting(text: str, *, is_shown: bool = True) -> Iterator[None]:
    """Show a spinner on the terminal until there is something to print; nothing beside JSON."""
    from cifar_tune.search.spinner import Spinner

    with Spinner(make_console(is_quiet=not is_shown)) as spinner:
        spinner.show(text)
        yield


@contextmanager
def show_run(console: Console) -> Iterator[Observer]:
    """Yield who shows a run: bars on a terminal, lines elsewhere, nothing on a quiet console."""
    from cifar_tune.search.bars import Bars
    from cifar_tune.search.observer import Observer
    from cifar_tune.search.progress import PlainLines

    if console.quiet:
        yield Observer()
    elif console.is_terminal:
        with Bars(console) as bars:
            yield bars
    else:
        yield PlainLines(console)


def print_study(console: Console, name: str, title: str) -> None:
    """Print which study it is, before anything that takes long to load.

    Where options have their values from a file, that is said too.
    """
    console.print(format_field("study", f"{name}: {title}"), soft_wrap=True)
    used = describe_used(click.get_current_context())
    if used:
        console.print(format_field("defaults", used), soft_wrap=True)


def log_run(output: OutputOptions, prepared: Prepared, observer: Observer) -> Observer:
    """Return who shows a run, and logs it to TensorBoard too where that was asked for.

    Raises:
        InputError: TensorBoard is not installed, or its folder cannot be written.
        StorageError: A link or a file is where its folder is to be.
    """
    if output.log is None:
        return observer

    from cifar_tune.errors import StorageError
    from cifar_tune.files import check_real_folder
    from cifar_tune.search.trial_callbacks import CallbackObserver
    from cifar_tune.tracking.tensorboard import TensorBoardCallback

    folder = paths.event_files_folder(prepared.location.beside)
    check_real_folder(folder, StorageError)
    callback = TensorBoardCallback(folder)
    command = f"tensorboard --logdir {shlex.quote(str(folder))}"
    output.progress_console().print(format_field("log", command), soft_wrap=True)
    return CallbackObserver(prepared.spec.study_name, [callback], observer)


def run_on_console(
    prepared: Prepared,
    console: Console,
    options: RunOptions,
    observer: Observer,
    should_stop: Callable[[], bool] = lambda: False,
) -> StudyOutcome:
    """Print what is going to be run, and run what is left of it; the observer shows how."""
    observer.preparing("Loading Optuna")
    from cifar_tune.dashboard.notes.annotator import StudyAnnotator

    observer.preparing("Reading images and weights")
    materials = load_materials(prepared, options)
    prepared = announce(prepared, console, observer.preparing)
    return run_prepared(prepared, materials, observer, options, StudyAnnotator, should_stop)


def announce(prepared: Prepared, console: Console, preparing: Callable[[str], None]) -> Prepared:
    """Print what is going to be run, on what, and return it with its precision settled."""
    from cifar_tune.training.device import describe_device

    spec, protocol = prepared.spec, prepared.spec.protocol
    changed = ", ".join(f"{key} = {value}" for key, value in spec.overrides.items())
    fields = {
        "profile": f"{spec.profile_name}: {prepared.reason}",
        "changed": changed,
        "images": f"{protocol.data}: {protocol.train_images:,} training, "
        f"{protocol.validation_images:,} validation, {protocol.input_size} px, "
        f"{protocol.split} split",
        "weights": ", ".join(sorted(spec.weights())) or "none, random initialisation",
        "device": f"{describe_device(prepared.device)}, {prepared.workers}",
        "storage": str(prepared.location),
    }
    for name, text in fields.items():
        if text:
            console.print(format_field(name, text), soft_wrap=True)
    preparing("Comparing bf16 with fp32")
    prepared, check = settle_precision(prepared)
    console.print(format_field("precision", f"{check.precision}: {check.why}"), soft_wrap=True)
    return prepared
