"""The command ``cifar-tune report``."""

from __future__ import annotations

import csv
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cifar_tune import paths
from cifar_tune.cli.console import find_stored, make_console, print_json, read_overrides
from cifar_tune.config.study_file import LoadedStudyFile, StudySpec, load_study_file
from cifar_tune.errors import InputError, StorageError
from cifar_tune.files import replacing
from cifar_tune.reports.blocks import Page
from cifar_tune.storage.location import StorageLocation, locate_storage

ACTIVATIONS = "activations"
DOCUMENT_SUFFIX = ".j2"
"""Of a template's file name; the document is called the same without it."""
_SEARCHED_FOR_WEIGHTS = ("final", "transfer", "dropout")
"""Studies in which a trial with kept weights is looked for first, where none is named."""


@dataclass(frozen=True)
class ReportOptions:
    """The options of the command, as given on the command line."""

    profile: str | None
    epochs: int | None
    settings: tuple[str, ...]
    storage: str | None
    data_dir: Path | None
    as_json: bool
    as_csv: bool
    out: Path | None
    figures: Path | None
    figure_format: Literal["svg", "png"]
    check: bool
    study: str | None
    trial: str | None
    images: tuple[str, ...]
    layers: tuple[str, ...]


@dataclass(frozen=True)
class _Made:
    """A report: its page, and the same numbers for ``--json`` and ``--csv``."""

    name: str
    page: Page
    record: Mapping[str, Any]
    rows: Sequence[Mapping[str, object]]


def report(name: str, options: ReportOptions) -> None:
    """Make a report and write or print it."""
    if options.as_json and options.as_csv:
        raise InputError("--json and --csv: expected one of the two")
    location = locate_storage(options.storage)
    if name.endswith(DOCUMENT_SUFFIX):
        _refuse_activation_options(options)
        _write_document(Path(name), location, options)
        return
    if options.check:
        raise InputError(f"--check: belongs to a document, such as results.md{DOCUMENT_SUFFIX}")
    if name == ACTIVATIONS:
        made = _make_activations(location, options)
    else:
        _refuse_activation_options(options)
        made = _make_study(name, location, options)
    if options.as_json:
        print_json(made.record)
    elif options.as_csv:
        writer = csv.DictWriter(sys.stdout, made.rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(made.rows)
    else:
        _write(made, location, options.out)
    if options.figures is not None:
        from cifar_tune.reports.figure_files import write_figures

        written = write_figures(made.page, options.figures, options.figure_format)
        said = make_console(to_stderr=options.as_json or options.as_csv)
        said.print(f"{len(written)} figures in {options.figures}", soft_wrap=True)


def _refuse_activation_options(options: ReportOptions) -> None:
    for key in ("study", "trial", "images", "layers"):
        if getattr(options, key):
            flag = key.removesuffix("s") if key != "study" else key
            raise InputError(f"--{flag}: belongs to `cifar-tune report {ACTIVATIONS}`")


def _write_document(path: Path, location: StorageLocation, options: ReportOptions) -> None:
    for key in ("profile", "epochs", "settings", "as_json", "as_csv"):
        if getattr(options, key):
            flag = {"settings": "set"}.get(key, key.removeprefix("as_"))
            raise InputError(f"--{flag}: belongs to a report of one study, {path} is a template")
    if options.figure_format != "svg":
        raise InputError(f"--figure-format {options.figure_format}: expected svg with a template")

    from cifar_tune.reports.document import check_document, render_document
    from cifar_tune.reports.figure_files import write_charts

    out = path.with_suffix("") if options.out is None else options.out

    def find_study(
        name: str, profile: str | None, overrides: dict[str, Any]
    ) -> tuple[LoadedStudyFile, StudySpec]:
        loaded = load_study_file(name)
        return loaded, find_stored(loaded, profile, overrides, location)

    document = render_document(path, location, find_study, out, options.figures)
    if options.check:
        check_document(document, out, options.figures)
        make_console().print(f"{out}: is what {location} makes of {path}", soft_wrap=True)
        return
    figures = "no figures"
    if options.figures is not None:
        written = write_charts(document.charts, options.figures)
        figures = f"{len(written)} figures in {options.figures}"
    text = document.text.encode()
    with replacing(out, len(text), StorageError) as temporary:
        temporary.write_bytes(text)
    make_console().print(f"{out}: {len(text) / 1e3:.1f} kB, {figures}", soft_wrap=True)


def _make_study(name: str, location: StorageLocation, options: ReportOptions) -> _Made:
    loaded = load_study_file(name)
    overrides = read_overrides(options.epochs, options.settings)
    spec = find_stored(loaded, options.profile, overrides, location)

    from cifar_tune.evaluation.study import compute_report
    from cifar_tune.reports.study_page import draw_report

    record = compute_report(location, loaded, spec, name)
    return _Made(spec.study_name, draw_report(record), record.to_dict(), record.to_rows())


def _make_activations(location: StorageLocation, options: ReportOptions) -> _Made:
    from cifar_tune.evaluation.activations import compute_activations
    from cifar_tune.evaluation.invocations import name_options
    from cifar_tune.reports.activation_page import draw_activations

    overrides = read_overrides(options.epochs, options.settings)
    names = [options.study] if options.study is not None else _SEARCHED_FOR_WEIGHTS
    for name in names:
        try:
            spec = find_stored(load_study_file(name), options.profile, overrides, location)
        except InputError:
            if name == names[-1]:
                raise
            continue
        break
    record = compute_activations(
        location,
        spec.study_name,
        options.trial,
        options.images,
        options.layers,
        paths.data_root(options.data_dir),
    )
    chosen = [f"--study {shlex.quote(name)}", name_options(spec), f"--trial {record.trial}"]
    chosen += [f"--image {shlex.quote(one)}" for one in options.images]
    chosen += [f"--layer {shlex.quote(one)}" for one in options.layers]
    page = draw_activations(record, f"cifar-tune report {ACTIVATIONS} {' '.join(chosen)}")
    name = f"{ACTIVATIONS}-{spec.study_name}-trial-{record.trial}"
    return _Made(name, page, record.to_dict(), record.to_rows())


def _write(made: _Made, location: StorageLocation, out: Path | None) -> None:
    from cifar_tune.reports.html import render_page

    path = out if out is not None else paths.report_file(location.beside, made.name)
    text = render_page(made.page).encode()
    with replacing(path, len(text), StorageError) as temporary:
        temporary.write_bytes(text)
    make_console().print(f"{path}: {made.page.title}, {len(text) / 1e6:.1f} MB", soft_wrap=True)
