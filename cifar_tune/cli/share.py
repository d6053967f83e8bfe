"""Commands that carry a study from one machine to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cifar_tune.cli.options import options


@click.command("export", epilog="Example: cifar-tune study export dropout --out dropout.json")
@click.argument("name")
@options("profile", "epochs", "set", "storage")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to write the JSON file.",
)
def study_export(name: str, **given: Any) -> None:
    """Write a stored study to a file: definition, trials, metrics, versions, digests, test reads.

    NAME is the name of a study file or its path. Confirmations, re-runs and what trials say of each
    image go with it; weights and pictures do not.
    """
    from cifar_tune.cli.commands import share

    share.export_study(name, **given)


@click.command("import", epilog="Example: cifar-tune study import dropout.json")
@click.argument(
    "files", metavar="FILE...", type=click.Path(path_type=Path), nargs=-1, required=True
)
@options("storage", "json")
def study_import(files: tuple[Path, ...], storage: str | None, as_json: bool) -> None:
    """Add exported studies to the storage; once more changes nothing.

    Each FILE is what `cifar-tune study export` wrote. One that was altered is refused.
    """
    from cifar_tune.cli.commands import share

    share.import_studies(files, storage, as_json=as_json)
