"""The command ``cifar-tune study queue``."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cifar_tune.cli.console import make_console, print_json, read_overrides, read_stored
from cifar_tune.config.params import describe_range, read_params
from cifar_tune.config.study_file import LoadedStudyFile, StudySpec, load_study_file, resolve
from cifar_tune.config.wording import format_params
from cifar_tune.errors import InputError
from cifar_tune.storage.location import StorageLocation, explain_errors, locate_storage

if TYPE_CHECKING:
    from cifar_tune.storage.queue import Request

TERMINAL = "command line"


@dataclass(frozen=True)
class QueueOptions:
    """The options of the command, as given."""

    params: tuple[str, ...]
    cancel: int | None
    profile: str | None
    epochs: int | None
    settings: tuple[str, ...]
    seed: int | None
    device: str | None
    storage: str | None
    data_dir: Path | None
    as_json: bool


def queue_trial(name: str, options: QueueOptions) -> None:
    """Queue a trial, cancel a request, or print what is queued for a study."""
    loaded = load_study_file(name)
    location = locate_storage(options.storage)
    spec = _find(loaded, options, location)
    if options.cancel is not None:
        _cancel(spec, location, options)
    elif options.params:
        _ask(spec, nameable(loaded, name), location, options)
    else:
        _show(spec, location, options)


def _find(loaded: LoadedStudyFile, options: QueueOptions, location: StorageLocation) -> StudySpec:
    """The stored study that is meant if there is one, else the one that a run would make."""
    from cifar_tune.cli.execution import choose_profile
    from cifar_tune.paths import data_root
    from cifar_tune.training.device import choose_device

    overrides = read_overrides(options.epochs, options.settings)
    if options.profile is not None:
        return resolve(loaded, options.profile, overrides)
    stored = read_stored(loaded.name, location)
    if len(stored) == 1 and not overrides:
        return resolve(loaded, stored[0].profile, stored[0].overrides)
    device, root = choose_device(options.device), data_root(options.data_dir)
    profile, _ = choose_profile(loaded, overrides, (), device, root)
    return resolve(loaded, profile, overrides)


def nameable(loaded: LoadedStudyFile, name: str) -> str:
    """What finds a study file again from another folder: its name, or where it is."""
    return str(loaded.path.absolute()) if name != loaded.name else name


def _ask(spec: StudySpec, study: str, location: StorageLocation, options: QueueOptions) -> None:
    from cifar_tune.evaluation.invocations import name_options
    from cifar_tune.storage import studies as stored
    from cifar_tune.storage.queue import TrialQueue

    given = dict(map(_split, options.params))
    params, faults = read_params(spec, given)
    if faults:
        raise InputError(
            "\n".join(f"--param {key}={given[key]}: {fault}" for key, fault in faults.items())
        )
    with explain_errors(location):
        existing = stored.find_study(stored.open_to_read(location), spec.study_name)
        stored.check_definition(existing, spec, None, digests=None)
        queue = TrialQueue(stored.open_to_write(location).engine)
        request = queue.add(
            spec.study_name,
            study,
            spec.profile_name,
            spec.overrides,
            params,
            options.seed,
            TERMINAL,
        )
    if options.as_json:
        print_json(_record(request))
        return
    make_console().print(
        f"Request {request.id}: a trial of {spec.study_name} with {_describe(request)}. A run of "
        "the study takes it up, at once if one is going on: `cifar-tune study run "
        f"{shlex.quote(study)} {name_options(spec)}`, or `cifar-tune serve`.",
        soft_wrap=True,
    )


def _cancel(spec: StudySpec, location: StorageLocation, options: QueueOptions) -> None:
    from cifar_tune.storage import studies as stored
    from cifar_tune.storage.queue import TrialQueue

    with explain_errors(location):
        open_requests = _list(spec, location)
        if all(one.id != options.cancel or one.state != "waiting" for one in open_requests):
            waiting = ", ".join(str(one.id) for one in open_requests if one.state == "waiting")
            raise InputError(
                f"--cancel {options.cancel}: expected a request of {spec.study_name} that waits: "
                f"{waiting or 'there is none'}"
            )
        TrialQueue(stored.open_to_write(location).engine).cancel(int(options.cancel or 0))
    if options.as_json:
        print_json({"cancelled": options.cancel})
    else:
        make_console().print(f"Request {options.cancel} is cancelled.")


def _show(spec: StudySpec, location: StorageLocation, options: QueueOptions) -> None:
    with explain_errors(location):
        requests = _list(spec, location)
    if options.as_json:
        print_json({"study_name": spec.study_name, "requests": list(map(_record, requests))})
        return
    console = make_console()
    for one in requests:
        console.print(f"{one.id}  {one.state}  {_describe(one)}  ({one.by}, {one.asked})")
    if not requests:
        console.print(f"Nothing is queued for {spec.study_name} in {location}.")
    _print_space(console, spec)


def _print_space(console: Console, spec: StudySpec) -> None:
    for key, values in spec.space.ranges().items():
        console.print(f"  --param {key}=…  {describe_range(values)}")


def _list(spec: StudySpec, location: StorageLocation) -> list[Request]:
    from cifar_tune.storage import studies as stored
    from cifar_tune.storage.queue import TrialQueue

    storage = stored.open_to_read(location)
    if storage is None:
        return []
    return TrialQueue(storage.engine).list_requests(study_name=spec.study_name)


def _describe(request: Request) -> str:
    if request.params is None:
        return "all that is left of the study"
    return format_params(request.params) + (
        f", seed {request.seed}" if request.seed is not None else ""
    )


def _record(request: Request) -> dict[str, object]:
    return dataclasses.asdict(request)


def _split(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--param {text}: expected key=value, e.g. --param learning_rate=0.001")
    return key.strip(), value.strip()
