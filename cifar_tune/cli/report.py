"""The command ``cifar-tune report``."""

from __future__ import annotations

import csv
import dataclasses
import shlex
import sys
import webbrowser
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from cifar_tune import paths
from cifar_tune.cli.console import (
    make_console,
    print_json,
)
from cifar_tune.cli.defaults import is_given
from cifar_tune.cli.help import command
from cifar_tune.cli.options import gather, options, study_options
from cifar_tune.errors import InputError, StorageError
from cifar_tune.files import write_text

if TYPE_CHECKING:
    from cifar_tune.config.study_file import StudySpec
    from cifar_tune.evaluation.study import ReportRecord
    from cifar_tune.reports.blocks import Page
    from cifar_tune.storage.selector import StudySelector
    from cifar_tune.training.pictures.activation_record import ActivationRecord

ACTIVATIONS = "activations"
_OF_ACTIVATIONS = f"Feature maps ({ACTIVATIONS})"
DOCUMENT_SUFFIX = ".j2"
"""Suffix of a template's file name; the document is called the same without it."""
_SEARCHED_FOR_WEIGHTS = ("final", "transfer", "dropout")
"""Studies in which a trial with kept weights is looked for first, where none is named."""


@dataclass(frozen=True)
class _OutputOptions:
    """What is made of a report, as given on the command line."""

    as_json: bool
    as_csv: bool
    out: Path | None
    figures: Path | None
    figure_format: Literal["svg", "png"]
    check: bool
    opens: bool


@dataclass(frozen=True)
class _ActivationOptions:
    """Which activations are meant, as given on the command line."""

    study_name: str | None
    trial: str | None
    images: tuple[str, ...]
    layers: tuple[str, ...]
    root: Path


@command(
    "report",
    sections=dict.fromkeys(("--study", "--trial", "--image", "--layer"), _OF_ACTIVATIONS)
    | {"--open": "Output"},
    epilog="Example: cifar-tune report dropout",
)
@study_options("profile", "epochs", "set", "storage", "data-dir", "json")
@click.option("--csv", "as_csv", is_flag=True, help="Print the same numbers as CSV, one a line.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to write the file; by default beside the database, in reports/, and a document "
    "beside its template.",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write each figure as a file of its own too.",
)
@click.option(
    "--figure-format",
    type=click.Choice(["svg", "png"]),
    default="svg",
    show_default=True,
    help="Format of the files of --figures.",
)
@click.option(
    "--check",
    is_flag=True,
    help="With a template: write nothing; exit code 1 if the document differs from its template.",
)
@click.option(
    "--study",
    "study_name",
    metavar="NAME",
    help="The study; by default one with kept weights.",
)
@click.option("--trial", metavar="TRIAL", help="Its number or name; by default the best.")
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="INDEX|PATH",
    help="A test image or a file; by default a ship and a cat. May be repeated.",
)
@click.option(
    "--layer", "layers", multiple=True, metavar="LAYER", help="One layer more. May be repeated."
)
@options("open")
@gather("output", _OutputOptions)
@gather("activations", _ActivationOptions)
def report(study: StudySelector, output: _OutputOptions, activations: _ActivationOptions) -> None:
    """Write a report of a study as one HTML file.

    The file needs no network. NAME is the name of a study file or its path, or activations: feature
    maps of a trained trial. Claims that the study file makes are judged. With --json or --csv, the
    numbers are printed instead. Or NAME is a document of your own, a Jinja2 template such as
    results.md.j2, in which stored studies fill in numbers, tables and figures.
    """
    if output.as_json and output.as_csv:
        raise InputError("--json and --csv: expected one of the two")
    if output.opens and (output.as_json or output.as_csv):
        raise InputError("--open: belongs to a report as HTML")
    if study.name != ACTIVATIONS:
        flags = {
            "study": activations.study_name,
            "trial": activations.trial,
            "image": activations.images,
            "layer": activations.layers,
        }
        _refuse(flags, f"`cifar-tune report {ACTIVATIONS}`")
    if study.name.endswith(DOCUMENT_SUFFIX):
        _write_document(study, output)
        return
    _refuse({"check": output.check}, f"a document, such as results.md{DOCUMENT_SUFFIX}")
    name, record, page = (
        _make_activations(study, activations)
        if study.name == ACTIVATIONS
        else _make_study(study, names_storage=not (output.as_json or output.as_csv))
    )
    out = output.out or paths.report_file(study.location.beside, name)
    if output.as_json or output.as_csv:
        _print_numbers(record, as_json=output.as_json)
    else:
        _write_page(page, out)
    if output.figures is not None:
        from cifar_tune.reports.figure_files import write_figures

        files = write_figures(page, output.figures, output.figure_format)
        console = make_console(to_stderr=output.as_json or output.as_csv)
        console.print(f"{len(files)} figures in {output.figures}", soft_wrap=True)
    if output.opens and not webbrowser.open(out.absolute().as_uri()):
        make_console().print(f"No browser was found to open {out}.", soft_wrap=True)


def _print_numbers(record: ReportRecord | ActivationRecord, *, as_json: bool) -> None:
    """Print the numbers of a report as JSON, or as CSV."""
    if as_json:
        print_json(record.to_dict())
        return
    rows = record.to_rows()
    writer = csv.DictWriter(sys.stdout, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _refuse(flags: Mapping[str, object], owner: str) -> None:
    for flag, value in flags.items():
        if value:
            raise InputError(f"--{flag}: belongs to {owner}")


def _write_document(study: StudySelector, output: _OutputOptions) -> None:
    path, location = Path(study.name), study.location
    parameters = click.get_current_context().params
    parameters = {name: value for name, value in parameters.items() if is_given(name)}
    flags = {"profile": "profile", "epochs": "epochs", "set": "settings"}
    flags |= {"json": "as_json", "csv": "as_csv"}
    values = {flag: parameters.get(parameter) for flag, parameter in flags.items()}
    values["open"] = output.opens
    _refuse(values, f"a report of one study, {path} is a template")
    if output.figure_format != "svg":
        raise InputError(f"--figure-format {output.figure_format}: expected svg with a template")

    from cifar_tune.reports.document import check_document, render_document
    from cifar_tune.reports.figure_files import write_charts

    out = path.with_suffix("") if output.out is None else output.out
    document = render_document(path, study, out, output.figures)
    if output.check:
        check_document(document, out, output.figures)
        make_console().print(f"{out}: is what {location} makes of {path}", soft_wrap=True)
        return
    figures = "no figures"
    if output.figures is not None:
        files = write_charts(document.charts, output.figures)
        figures = f"{len(files)} figures in {output.figures}"
    size = write_text(document.text, out, StorageError)
    make_console().print(f"{out}: {size / 1e3:.1f} kB, {figures}", soft_wrap=True)


def _write_page(page: Page, out: Path) -> None:
    from cifar_tune.reports.html import write_page

    size = write_page(page, out)
    make_console().print(f"{out}: {page.title}, {size / 1e6:.1f} MB", soft_wrap=True)


def _make_study(study: StudySelector, *, names_storage: bool) -> tuple[str, ReportRecord, Page]:
    """Return the name, the numbers and the page of a report of a study."""
    spec, location = study.find()

    from cifar_tune.reports.study_page import make_study_report

    return spec.study_name, *make_study_report(spec, location, names_storage=names_storage)


def _make_activations(
    study: StudySelector, activations: _ActivationOptions
) -> tuple[str, ActivationRecord, Page]:
    """Return the name, the numbers and the page of a report of feature maps."""
    spec = _find_study_with_weights(study, activations.study_name)

    from cifar_tune.config.study_file import name_in_commands
    from cifar_tune.evaluation.activations import compute_activations
    from cifar_tune.reports.activation_page import draw_activations
    from cifar_tune.storage.invocations import name_options, storage_options

    record = compute_activations(
        study.location,
        spec.study_name,
        activations.trial,
        activations.images,
        activations.layers,
        activations.root,
    )
    name = shlex.quote(name_in_commands(spec.source))
    chosen = [f"--study {name}", name_options(spec), f"--trial {record.trial}"]
    chosen += [f"--image {shlex.quote(image)}" for image in activations.images]
    chosen += [f"--layer {shlex.quote(layer)}" for layer in activations.layers]
    chosen += filter(None, [storage_options(study.location)])
    page = draw_activations(record, f"cifar-tune report {ACTIVATIONS} {' '.join(chosen)}")
    return f"{ACTIVATIONS}-{spec.study_name}-trial-{record.trial}", record, page


def _find_study_with_weights(study: StudySelector, study_name: str | None) -> StudySpec:
    """Return the stored study of the first study file that has one."""
    names = _SEARCHED_FOR_WEIGHTS if study_name is None else (study_name,)
    for name in names[:-1]:
        with suppress(InputError):
            return dataclasses.replace(study, name=name).find()[0]
    return dataclasses.replace(study, name=names[-1]).find()[0]
