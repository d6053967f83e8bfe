"""The commands ``cifar-tune study export`` and ``study import``: a study on another machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cifar_tune.cli.console import print_json
from cifar_tune.cli.options import options, study_options
from cifar_tune.storage.location import locate_storage

if TYPE_CHECKING:
    from cifar_tune.cli.selector import StudySelector


@click.command("export", epilog="Example: cifar-tune study export dropout --out dropout.json")
@study_options("profile", "epochs", "set", "storage")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to write the JSON file.",
)
def study_export(study: StudySelector, out: Path) -> None:
    """Write a stored study to a file: definition, trials, metrics, versions, digests, test reads.

    NAME is the name of a study file or its path. Confirmations, re-runs and what trials say of each
    image go with it; weights and pictures do not.
    """
    spec, location = study.find()

    from cifar_tune.evaluation.export.study import export_study, write_export

    content = export_study(location, spec.study_name)
    write_export(content, out)
    counts = ", ".join(
        f"{exported['study_name']} with {len(exported['trials'])} trials"
        for exported in content["studies"]
    )
    click.echo(f"{out}: {counts}; {len(content['test_reads'])} reads of the test images")


@click.command("import", epilog="Example: cifar-tune study import dropout.json")
@click.argument(
    "files", metavar="FILE...", type=click.Path(path_type=Path), nargs=-1, required=True
)
@options("storage", "json")
def study_import(files: tuple[Path, ...], storage: str | None, as_json: bool) -> None:
    """Add exported studies to the storage; once more changes nothing.

    Each FILE is what `cifar-tune study export` wrote. One that was altered is refused.
    """
    from cifar_tune.evaluation.export.study import import_study, read_export

    location = locate_storage(storage)
    contents = [read_export(path) for path in files]  # all, before any is added
    imports = [import_study(content, location) for content in contents]
    trials = {name: added for imported in imports for name, added in imported.trials.items()}
    test_reads = sum(imported.test_reads for imported in imports)
    if as_json:
        print_json({"storage": str(location), "trials": trials, "test_reads": test_reads})
        return
    for study_name, added in trials.items():
        click.echo(f"{study_name}: {added} trials added to {location}")
    click.echo(f"{test_reads} reads of the test images added to the ledger")
