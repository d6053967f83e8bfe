"""The command ``cifar-tune report``."""

from __future__ import annotations

import csv
import dataclasses
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from cifar_tune import paths
from cifar_tune.cli.console import make_console, print_json
from cifar_tune.cli.options import gather, study_options
from cifar_tune.errors import InputError, StorageError
from cifar_tune.files import replacing
from cifar_tune.storage.location import StorageLocation

if TYPE_CHECKING:
    from cifar_tune.config.study_file import LoadedStudyFile, StudySpec
    from cifar_tune.reports.blocks import Page
    from cifar_tune.storage.selector import StudySelector

ACTIVATIONS = "activations"
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


@dataclass(frozen=True)
class _ActivationOptions:
    """Which activations are meant, as given on the command line."""

    study_name: str | None
    trial: str | None
    images: tuple[str, ...]
    layers: tuple[str, ...]
    data_dir: Path | None


@dataclass(frozen=True)
class _Report:
    """A report: its page, and the same numbers for ``--json`` and ``--csv``."""

    name: str
    page: Page
    record: Mapping[str, Any]
    rows: Sequence[Mapping[str, object]]


@click.command("report", epilog="Example: cifar-tune report dropout")
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
    help="Write each figure as a static file too; needs cifar-tune[figures] and Chrome.",
)
@click.option(
    "--figure-format",
    type=click.Choice(["svg", "png"]),
    default="svg",
    show_default=True,
    help="Of the files of --figures.",
)
@click.option(
    "--check",
    is_flag=True,
    help="A document: write nothing, and end with 1 if it is not what the storage makes of it.",
)
@click.option(
    "--study",
    "study_name",
    metavar="NAME",
    help="activations: the study; by default one with weights.",
)
@click.option("--trial", metavar="TRIAL", help="activations: its number or full name.")
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="INDEX|PATH",
    help="activations: a test image or a file; by default a ship and a cat. May be repeated.",
)
@click.option(
    "--layer", "layers", multiple=True, metavar="LAYER", help="activations: one layer more."
)
@gather("output", _OutputOptions)
@gather("activations", _ActivationOptions)
def report(study: StudySelector, output: _OutputOptions, activations: _ActivationOptions) -> None:
    """Write what the storage holds of a study as one HTML file that needs no network.

    NAME is the name of a study file or its path, or activations: feature maps of a trained trial.
    Claims that the study file makes are judged. With --json or --csv, the numbers are printed
    instead. Or NAME is a document of your own, a Jinja2 template such as results.md.j2, in which
    stored studies fill in numbers, tables and figures.
    """
    if output.as_json and output.as_csv:
        raise InputError("--json and --csv: expected one of the two")
    if study.name != ACTIVATIONS:
        _refuse_activation_options(activations)
    if study.name.endswith(DOCUMENT_SUFFIX):
        _write_document(study, output)
        return
    if output.check:
        raise InputError(f"--check: belongs to a document, such as results.md{DOCUMENT_SUFFIX}")
    if study.name == ACTIVATIONS:
        drawn = _make_activations(study, activations)
    else:
        drawn = _make_study(study)
    if output.as_json:
        print_json(drawn.record)
    elif output.as_csv:
        writer = csv.DictWriter(sys.stdout, drawn.rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(drawn.rows)
    else:
        _write_page(drawn, study.location, output.out)
    if output.figures is not None:
        from cifar_tune.reports.figure_files import write_figures

        files = write_figures(drawn.page, output.figures, output.figure_format)
        console = make_console(to_stderr=output.as_json or output.as_csv)
        console.print(f"{len(files)} figures in {output.figures}", soft_wrap=True)


def _refuse_activation_options(activations: _ActivationOptions) -> None:
    flags = {
        "study": activations.study_name,
        "trial": activations.trial,
        "image": activations.images,
        "layer": activations.layers,
    }
    for flag, value in flags.items():
        if value:
            raise InputError(f"--{flag}: belongs to `cifar-tune report {ACTIVATIONS}`")


def _write_document(study: StudySelector, output: _OutputOptions) -> None:
    path, location = Path(study.name), study.location
    _refuse_study_options(path, output)

    from cifar_tune.reports.document import check_document, render_document
    from cifar_tune.reports.figure_files import write_charts

    out = path.with_suffix("") if output.out is None else output.out

    def find_study(
        name: str, profile: str | None, overrides: dict[str, Any]
    ) -> tuple[LoadedStudyFile, StudySpec]:
        wanted = dataclasses.replace(study, name=name, profile=profile, overrides=overrides)
        spec, _ = wanted.find()
        return spec.source, spec

    document = render_document(path, location, find_study, out, output.figures)
    if output.check:
        check_document(document, out, output.figures)
        make_console().print(f"{out}: is what {location} makes of {path}", soft_wrap=True)
        return
    figures = "no figures"
    if output.figures is not None:
        files = write_charts(document.charts, output.figures)
        figures = f"{len(files)} figures in {output.figures}"
    text = document.text.encode()
    with replacing(out, len(text), StorageError) as temporary:
        temporary.write_bytes(text)
    make_console().print(f"{out}: {len(text) / 1e3:.1f} kB, {figures}", soft_wrap=True)


def _refuse_study_options(path: Path, output: _OutputOptions) -> None:
    parameters = click.get_current_context().params
    flags = {"profile": "profile", "epochs": "epochs", "settings": "set"}
    flags |= {"as_json": "json", "as_csv": "csv"}
    for parameter, flag in flags.items():
        if parameters[parameter]:
            raise InputError(f"--{flag}: belongs to a report of one study, {path} is a template")
    if output.figure_format != "svg":
        raise InputError(f"--figure-format {output.figure_format}: expected svg with a template")


def _make_study(study: StudySelector) -> _Report:
    spec, location = study.find()

    from cifar_tune.evaluation.study import compute_report
    from cifar_tune.reports.study_page import draw_report

    record = compute_report(location, spec.source, spec, study.name)
    return _Report(spec.study_name, draw_report(record), record.to_dict(), record.to_rows())


def _make_activations(study: StudySelector, activations: _ActivationOptions) -> _Report:
    name, spec = _find_study_with_weights(study, activations.study_name)

    from cifar_tune.evaluation.activations import compute_activations
    from cifar_tune.evaluation.invocations import name_options
    from cifar_tune.reports.activation_page import draw_activations

    record = compute_activations(
        study.location,
        spec.study_name,
        activations.trial,
        activations.images,
        activations.layers,
        paths.data_root(activations.data_dir),
    )
    chosen = [f"--study {shlex.quote(name)}", name_options(spec), f"--trial {record.trial}"]
    chosen += [f"--image {shlex.quote(image)}" for image in activations.images]
    chosen += [f"--layer {shlex.quote(layer)}" for layer in activations.layers]
    page = draw_activations(record, f"cifar-tune report {ACTIVATIONS} {' '.join(chosen)}")
    name = f"{ACTIVATIONS}-{spec.study_name}-trial-{record.trial}"
    return _Report(name, page, record.to_dict(), record.to_rows())


def _find_study_with_weights(study: StudySelector, study_name: str | None) -> tuple[str, StudySpec]:
    """Return the name of the first study file that has a stored study, and that study."""
    names = _SEARCHED_FOR_WEIGHTS if study_name is None else (study_name,)
    for name in names[:-1]:
        with suppress(InputError):
            return name, dataclasses.replace(study, name=name).find()[0]
    return names[-1], dataclasses.replace(study, name=names[-1]).find()[0]


def _write_page(drawn: _Report, location: StorageLocation, out: Path | None) -> None:
    from cifar_tune.reports.html import render_page

    path = out if out is not None else paths.report_file(location.beside, drawn.name)
    text = render_page(drawn.page).encode()
    with replacing(path, len(text), StorageError) as temporary:
        temporary.write_bytes(text)
    make_console().print(f"{path}: {drawn.page.title}, {len(text) / 1e6:.1f} MB", soft_wrap=True)
