"""The command line: every command parses, calls the package and prints. Begin reading here.

Nothing heavy is imported before a command needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Mapping
from contextlib import suppress

import click
from click.shell_completion import CompletionItem

from cifar_tune import __version__
from cifar_tune.cli.help import Group, write_sections
from cifar_tune.errors import CifarTuneError
from cifar_tune.storage.passwords import mask_passwords
from cifar_tune.wording import escape_controls

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed work, 2 bad input, 130 interrupted."""
    _escape_what_cannot_be_encoded()
    try:
        code = app.main(arguments, prog_name="cifar-tune", standalone_mode=False)
    except click.ClickException as error:
        message = io.StringIO()
        error.show(message)
        _print_message(message.getvalue().rstrip())
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _print_message("interrupted")
        code = INTERRUPTED
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        code = INTERRUPTED
    except CifarTuneError as error:
        for line in str(error).splitlines():
            _print_message(f"error: {line}")
        code = error.exit_code
    except BrokenPipeError:
        # The reader of our output went away, e.g. `| head`; leave without a second complaint.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    if code == INTERRUPTED and arguments is None:
        _exit_at_once()
    sys.exit(code or 0)


def _escape_what_cannot_be_encoded() -> None:
    """Let the streams write the code of a character that their encoding does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print_message(message: str) -> None:
    """Print on stderr, without the passwords and control characters of what is quoted."""
    with suppress(OSError):  # the terminal may be gone
        print(escape_controls(mask_passwords(message)), file=sys.stderr)  # noqa: T201


def _exit_at_once() -> None:
    """Exit without taking PyTorch apart, which takes seconds: whoever interrupts waits for it."""
    with suppress(OSError, ValueError):  # the reader of our output may be gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(INTERRUPTED)


COMMANDS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Studies": {
        "study": ("study", "Create, list, plan, run and delete studies."),
    },
    "Trials and results": {
        "trial": ("trial", "List, show, test, repeat and drop single trials."),
        "best": ("best", "Find, confirm, re-run and export the best configuration."),
        "report": ("report", "Write a report of a study as one HTML file."),
        "test-reads": ("trial", "List every evaluation on the test images."),
        "predict": ("export", "Classify image files with an exported MODEL."),
    },
    "Browser": {
        "dashboard": ("dashboard", "Show studies in the browser with optuna-dashboard."),
        "serve": ("dashboard", "Show studies in the browser and run queued trials."),
    },
    "Images and weights": {
        "data": ("data", "List, download, import and verify images."),
        "weights": ("data", "List, download and import pretrained weights."),
    },
    "Shell": {
        "completion": ("completion", "Print a script that completes commands in a shell."),
    },
    "Measurements": {
        "bench": ("bench", "Time training against a plain and a tuned PyTorch loop."),
        "overhead": ("bench", "Measure the overhead of a study beside its training."),
        "calibrate": ("bench", "Simulate studies to see how often verdicts are right."),
    },
}
"""The commands by section: the module of each, which calls it the same, and the first paragraph of
its help."""
_LISTED = {name: entry for section in COMMANDS.values() for name, entry in section.items()}


class LazyGroup(Group):
    """The commands of ``COMMANDS``, whose modules are imported only when they are called.

    This is the recipe of Click's documentation, "Lazily Loading Subcommands", with one addition:
    the line that the group's help shows of each command stands beside its module, so that the help
    imports none of them either.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands in alphabetical order."""
        return sorted([*super().list_commands(ctx), *_LISTED])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing its module; None if there is none of that name."""
        if cmd_name not in _LISTED:
            return super().get_command(ctx, cmd_name)
        module = importlib.import_module(f"cifar_tune.cli.{_LISTED[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Return what completes the name of a command or an option, importing no command."""
        items = [
            CompletionItem(name, help=text)
            for name, (_, text) in _LISTED.items()
            if name.startswith(incomplete)
        ]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one line for each command, by section, importing none."""
        sections = {
            title: [(name, text) for name, (_, text) in section.items()]
            for title, section in COMMANDS.items()
        }
        write_sections(formatter, sections)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: cifar-tune study run dropout",
)
@click.version_option(__version__, prog_name="cifar-tune")
def app() -> None:
    """Hyperparameter studies of ResNet-18 on CIFAR-10 with Optuna."""
