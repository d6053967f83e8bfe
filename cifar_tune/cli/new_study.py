"""The command ``cifar-tune study new``."""

from __future__ import annotations

from pathlib import Path

import click

from cifar_tune.cli.console import make_console
from cifar_tune.cli.help import command
from cifar_tune.cli.options import completes


@command(
    "new",
    waits_for="Reading study files",
    epilog="Example: cifar-tune study new my-study --from dropout",
)
@click.argument("name")
@click.option(
    "--from",
    "source",
    metavar="STUDY",
    help="Copy this study file.",
    shell_complete=completes("studies"),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The new file, or its folder; by default ./studies.",
)
def study_new(name: str, source: str | None, out: Path | None) -> None:
    """Write a study file with comments, for you to edit.

    NAME is the name of the new study. Without --from, its file is a small search on the images in
    the package. Each key is explained. No file is overwritten.
    """
    from cifar_tune.config.new_study import write_study_file
    from cifar_tune.config.study_file import resolve
    from cifar_tune.storage.invocations import study_arguments

    loaded = write_study_file(name, source, out)
    profiles = loaded.content.profiles
    spec = resolve(loaded, "quick" if "quick" in profiles else next(iter(profiles)))
    console = make_console()
    console.print(f"{loaded.path}: the study {loaded.name}, to be edited", soft_wrap=True)
    for subcommand in ("show", "run"):
        hint = f"  cifar-tune study {subcommand} {study_arguments(spec, None)}"
        console.print(hint, soft_wrap=True)
