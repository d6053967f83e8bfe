"""The command ``cifar-tune study queue``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cifar_tune.cli.console import (
    make_console,
    print_json,
)
from cifar_tune.cli.help import command
from cifar_tune.cli.options import completes, study_options
from cifar_tune.errors import InputError
from cifar_tune.search.preparation import choose_profile
from cifar_tune.storage.location import StorageLocation, explain_errors

if TYPE_CHECKING:
    from cifar_tune.config.study_file import LoadedStudyFile, StudySpec
    from cifar_tune.storage.selector import StudySelector
    from cifar_tune.storage.study_requests import Request

TERMINAL = "command line"


@command("queue", epilog="Example: cifar-tune study queue dropout --param dropout_rate=0.25")
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=completes("requested values"),
    help="Value of a searched hyperparameter; the sampler draws the others. May be repeated.",
)
@click.option("--cancel", metavar="ID", help="Cancel a request that waits.")
@study_options("profile", "epochs", "set", "seed", "device", "storage", "data-dir", "json")
def queue(
    study: StudySelector,
    params: tuple[str, ...],
    cancel: str | None,
    seed: int | None,
    device: str | None,
    root: Path,
    as_json: bool,
) -> None:
    """Queue a trial of a study, or list the queue.

    NAME is the name of a study file or its path. Values are checked against the search space. The
    next run of the study trains the trial, at once if the study is running. Queued trials are never
    pruned. Without --param, the queue is printed.
    """
    loaded, location = study.load_file(), study.location
    spec = _choose_study(loaded, study, device, root)
    if cancel is not None:
        _cancel(spec, location, cancel.removeprefix("#"), as_json=as_json)
    elif params:
        request = _add(spec, nameable(loaded, study.name), location, params, seed)
        if as_json:
            print_json(dataclasses.asdict(request))
        else:
            _print_added(spec, location, request)
    else:
        _show(spec, location, as_json=as_json)


def _choose_study(
    loaded: LoadedStudyFile, study: StudySelector, device: str | None, root: Path
) -> StudySpec:
    """Return the stored study that is meant if there is one, else the one that a run would make."""
    from cifar_tune.config.study_file import resolve
    from cifar_tune.storage.selector import read_stored
    from cifar_tune.training.device import choose_device

    if study.profile is not None:
        return resolve(loaded, study.profile, study.overrides)
    stored = read_stored(loaded.name, study.location)
    if len(stored) == 1 and not study.overrides:
        return resolve(loaded, stored[0].profile, stored[0].overrides)
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
    from cifar_tune.config.names import resolve_key
    from cifar_tune.config.params import MOST_SEED, read_params
    from cifar_tune.storage.queue import TrialQueue
    from cifar_tune.storage.studies import open_to_write

    ranges = spec.space.ranges()
    values = {resolve_key(key, ranges): value for key, value in map(_split, texts)}
    params, faults = read_params(spec, values)
    lines = [f"--param {key}={values[key]}: {fault}" for key, fault in faults.items()]
    if seed is not None and seed > MOST_SEED:
        lines.append(f"--seed: expected a whole number from 0 to {MOST_SEED}")
    if lines:
        raise InputError("\n".join(lines))
    with explain_errors(location):
        queue = TrialQueue(open_to_write(location))
        return queue.ask_for_trial(spec, study, params, seed, TERMINAL)


def _print_added(spec: StudySpec, location: StorageLocation, request: Request) -> None:
    from cifar_tune.storage.invocations import storage_options, study_arguments

    serve = f"cifar-tune serve {storage_options(location)}".rstrip()
    make_console().print(
        f"Request {request.id}: a trial of {spec.study_name} with {request.describe()}. It "
        "starts at once if the study is running. Otherwise start it with `cifar-tune study run "
        f"{study_arguments(spec, location)}`, or `{serve}`.",
        soft_wrap=True,
    )


def _cancel(spec: StudySpec, location: StorageLocation, cancel: str, *, as_json: bool) -> None:
    from cifar_tune.storage.queue import TrialQueue
    from cifar_tune.storage.studies import open_to_write

    with explain_errors(location):
        requests = _list(spec, location)
        waiting = {
            str(request.id): request.id for request in requests if request.state == "waiting"
        }
        is_cancelled = cancel in waiting and TrialQueue(open_to_write(location)).cancel(
            spec.study_name, cancel
        )
    if not is_cancelled:
        raise InputError(
            f"--cancel {cancel}: expected a request of {spec.study_name} that waits: "
            f"{', '.join(waiting) or 'there is none'}"
        )
    if as_json:
        print_json({"cancelled": waiting[cancel]})
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
        asker = ", ".join(filter(None, (request.by, request.asked)))
        console.print(f"{request.id}  {request.state}  {request.describe()}  ({asker})")
    if not requests:
        console.print(f"Nothing is queued for {spec.study_name} in {location}.")
    for key, values in spec.space.ranges().items():
        console.print(f"  --param {key}=…  {describe_range(values)}")


def _list(spec: StudySpec, location: StorageLocation) -> list[Request]:
    from cifar_tune.storage.queue import TrialQueue
    from cifar_tune.storage.studies import open_to_read

    storage = open_to_read(location)
    return [] if storage is None else TrialQueue(storage).list_requests(spec.study_name)


def _split(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--param {text}: expected key=value, e.g. --param learning_rate=0.001")
    return key.strip(), value.strip()
