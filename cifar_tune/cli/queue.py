"""The command ``cifar-tune study queue``."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cifar_tune import paths
from cifar_tune.cli.console import make_console, print_json
from cifar_tune.cli.options import study_options
from cifar_tune.config.wording import format_params
from cifar_tune.errors import InputError
from cifar_tune.storage.location import StorageLocation, explain_errors

if TYPE_CHECKING:
    from cifar_tune.cli.selector import StudySelector
    from cifar_tune.config.study_file import LoadedStudyFile, StudySpec
    from cifar_tune.storage.queue import Request

TERMINAL = "command line"


@click.command("queue", epilog="Example: cifar-tune study queue dropout --param dropout_rate=0.25")
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="KEY=VALUE",
    help="Value of a searched hyperparameter; the sampler draws the others. May be repeated.",
)
@click.option("--cancel", type=int, metavar="ID", help="Cancel a request that waits.")
@study_options("profile", "epochs", "set", "seed", "device", "storage", "data-dir", "json")
def queue(
    study: StudySelector,
    params: tuple[str, ...],
    cancel: int | None,
    seed: int | None,
    device: str | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Queue a trial of a study, or print what is queued.

    NAME is the name of a study file or its path. Values are checked against the search space. A run
    of the study takes the trial up, at once if one is going on, and trains it to its end: nothing
    that was asked for is pruned. Without --param, what is queued is printed.
    """
    loaded, location = study.load_file(), study.location
    spec = _choose_study(loaded, study, device, data_dir)
    if cancel is not None:
        _cancel(spec, location, cancel, as_json=as_json)
    elif params:
        request = _add(spec, nameable(loaded, study.name), location, params, seed)
        _print_added(spec, request, as_json=as_json)
    else:
        _show(spec, location, as_json=as_json)


def _choose_study(
    loaded: LoadedStudyFile, study: StudySelector, device: str | None, data_dir: Path | None
) -> StudySpec:
    """Return the stored study that is meant if there is one, else the one that a run would make."""
    from cifar_tune.cli.execution import choose_profile
    from cifar_tune.cli.selector import read_stored
    from cifar_tune.config.study_file import resolve
    from cifar_tune.training.device import choose_device

    if study.profile is not None:
        return resolve(loaded, study.profile, study.overrides)
    stored = read_stored(loaded.name, study.location)
    if len(stored) == 1 and not study.overrides:
        return resolve(loaded, stored[0].profile, stored[0].overrides)
    root = paths.data_root(data_dir)
    profile, _ = choose_profile(loaded, study.overrides, (), choose_device(device), root)
    return resolve(loaded, profile, study.overrides)


def nameable(loaded: LoadedStudyFile, name: str) -> str:
    """Return what finds a study file again from another folder: its name, or where it is."""
    return str(loaded.path.absolute()) if name != loaded.name else name


def _add(
    spec: StudySpec,
    study: str,
    location: StorageLocation,
    texts: tuple[str, ...],
    seed: int | None,
) -> Request:
    from cifar_tune.config.params import read_params
    from cifar_tune.storage import studies
    from cifar_tune.storage.definition import check_definition
    from cifar_tune.storage.queue import TrialQueue

    given = dict(map(_split, texts))
    params, faults = read_params(spec, given)
    if faults:
        raise InputError(
            "\n".join(f"--param {key}={given[key]}: {fault}" for key, fault in faults.items())
        )
    with explain_errors(location):
        existing = studies.find_study(studies.open_to_read(location), spec.study_name)
        check_definition(existing, spec, None, digests=None)
        return TrialQueue(studies.open_to_write(location).engine).add(
            spec.study_name, study, spec.profile_name, spec.overrides, params, seed, TERMINAL
        )


def _print_added(spec: StudySpec, request: Request, *, as_json: bool) -> None:
    from cifar_tune.evaluation.invocations import name_options

    if as_json:
        print_json(dataclasses.asdict(request))
        return
    make_console().print(
        f"Request {request.id}: a trial of {spec.study_name} with {_describe(request)}. A run of "
        "the study takes it up, at once if one is going on: `cifar-tune study run "
        f"{shlex.quote(request.study)} {name_options(spec)}`, or `cifar-tune serve`.",
        soft_wrap=True,
    )


def _cancel(spec: StudySpec, location: StorageLocation, cancel: int, *, as_json: bool) -> None:
    from cifar_tune.storage import studies
    from cifar_tune.storage.queue import TrialQueue

    with explain_errors(location):
        waiting = [request.id for request in _list(spec, location) if request.state == "waiting"]
        if cancel not in waiting:
            raise InputError(
                f"--cancel {cancel}: expected a request of {spec.study_name} that waits: "
                f"{', '.join(map(str, waiting)) or 'there is none'}"
            )
        TrialQueue(studies.open_to_write(location).engine).cancel(cancel)
    if as_json:
        print_json({"cancelled": cancel})
    else:
        make_console().print(f"Request {cancel} is cancelled.")


def _show(spec: StudySpec, location: StorageLocation, *, as_json: bool) -> None:
    from cifar_tune.config.params import describe_range

    with explain_errors(location):
        requests = _list(spec, location)
    if as_json:
        records = list(map(dataclasses.asdict, requests))
        print_json({"study_name": spec.study_name, "requests": records})
        return
    console = make_console()
    for request in requests:
        console.print(
            f"{request.id}  {request.state}  {_describe(request)}  ({request.by}, {request.asked})"
        )
    if not requests:
        console.print(f"Nothing is queued for {spec.study_name} in {location}.")
    for key, values in spec.space.ranges().items():
        console.print(f"  --param {key}=…  {describe_range(values)}")


def _list(spec: StudySpec, location: StorageLocation) -> list[Request]:
    from cifar_tune.storage import studies
    from cifar_tune.storage.queue import TrialQueue

    storage = studies.open_to_read(location)
    if storage is None:
        return []
    return TrialQueue(storage.engine).list_requests(study_name=spec.study_name)


def _describe(request: Request) -> str:
    if request.params is None:
        return "all that is left of the study"
    return format_params(request.params) + (
        f", seed {request.seed}" if request.seed is not None else ""
    )


def _split(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--param {text}: expected key=value, e.g. --param learning_rate=0.001")
    return key.strip(), value.strip()
