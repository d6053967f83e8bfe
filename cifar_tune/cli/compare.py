"""The commands that put studies, or trials, beside each other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table as RichTable
from rich.text import Text

from cifar_tune.cli.console import make_console, make_table, print_json
from cifar_tune.cli.help import command
from cifar_tune.cli.options import completes, options, select_study, study_options, trial_argument
from cifar_tune.errors import StorageError
from cifar_tune.files import replacing
from cifar_tune.storage.location import locate_storage

if TYPE_CHECKING:
    from rich.console import Console

    from cifar_tune.reports.blocks import Block, Table
    from cifar_tune.storage.selector import StudySelector


@command(
    "compare",
    waits_for="Reading the studies",
    epilog="Example: cifar-tune study compare dropout dropout:quick:epochs=8",
)
@click.argument(
    "names",
    metavar="STUDY STUDY...",
    nargs=-1,
    required=True,
    shell_complete=completes("studies"),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the comparison as an HTML page.",
)
@options("storage", "json")
def study_compare(
    names: tuple[str, ...], out: Path | None, storage: str | None, as_json: bool
) -> None:
    """Compare stored studies and the models that they share.

    Protocols and searches are compared too. STUDY is a stored study's name, such as
    dropout:quick:epochs=8, or the name of a study file. Accuracies are compared in pairs of seeds,
    where the images are the same.
    """
    from cifar_tune.evaluation.study_comparison import compare_studies
    from cifar_tune.reports.comparison_page import draw_comparison
    from cifar_tune.reports.html import render_page

    location = locate_storage(storage)
    specs = [select_study(name, None, (), storage).find()[0] for name in names]
    comparison = compare_studies(specs, location)
    page = draw_comparison(comparison)
    console = make_console(to_stderr=as_json)
    if out is not None:
        content = render_page(page).encode()
        with replacing(out, len(content), StorageError) as temporary:
            temporary.write_bytes(content)
    if as_json:
        print_json({"storage": str(location), **comparison.to_dict()})
        return
    _print_blocks(console, page.blocks)
    console.print(page.lead)
    if out is not None:
        console.print(f"Written to {out}.", soft_wrap=True)


@command(
    "diff", waits_for="Reading the studies", epilog="Example: cifar-tune trial diff dropout 2 7"
)
@study_options("profile", "epochs", "set", "storage", "json")
@trial_argument("first_name")
@trial_argument("second_name")
def trial_diff(study: StudySelector, first_name: str, second_name: str, as_json: bool) -> None:
    """Show what differs between two trials and their results.

    NAME is the name of a study file or its path, TRIAL a trial's number or name.
    """
    spec, location = study.find()

    from cifar_tune.evaluation.trial import diff_trials, read_dossier
    from cifar_tune.reports.comparison_page import draw_differences

    both = [read_dossier(location, spec.study_name, name) for name in (first_name, second_name)]
    parts = diff_trials(*both)
    labels = [dossier.summary.label for dossier in both]
    if as_json:
        differences = {
            part: [dataclasses.asdict(difference) for difference in rows]
            for part, rows in parts.items()
        }
        print_json({"study_name": spec.study_name, "trials": labels, **differences})
        return
    _print_blocks(
        make_console(),
        [draw_differences(part, part.capitalize(), rows, labels) for part, rows in parts.items()],
    )


def _print_blocks(console: Console, blocks: list[Block]) -> None:
    """Print the tables and paragraphs of a page."""
    from cifar_tune.reports.blocks import Prose, Table

    for block in blocks:
        if isinstance(block, Table):
            console.print(Text(block.caption, style="bold"))
            console.print(_to_rich(block))
            if block.note:
                console.print(Text(block.note, style="dim"))
        elif isinstance(block, Prose):
            console.print(Text(block.text))
        console.print()


def _to_rich(table: Table) -> RichTable:
    from cifar_tune.reports.blocks import number_columns

    shown = make_table()
    for column, is_number in zip(table.columns, number_columns(table), strict=True):
        shown.add_column(column, justify="right" if is_number else "left")
    for row in table.rows:
        shown.add_row(
            *(Text("\n".join(filter(None, (cell.text, cell.note)))) for cell in row.cells)
        )
    return shown
