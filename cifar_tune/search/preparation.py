"""Prepares a study from what was asked for, and runs it.

Nothing is printed here, so that a Python program can do the same. Whatever loads pydantic, PyTorch
or Optuna is imported inside the functions: the options of commands are declared from the records of
this module, and the fork server of local workers loads PyTorch for them from the moment that the
input is known to be right.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar_tune import paths
from cifar_tune.errors import (
    DataError,
    InputError,
    StorageError,
    StudyFileError,
    WeightsError,
)
from cifar_tune.files import check_real_folder
from cifar_tune.storage.location import StorageLocation, explain_errors

if TYPE_CHECKING:
    import torch

    from cifar_tune.config.derived import Purpose
    from cifar_tune.config.schema import NamedTrial
    from cifar_tune.config.study_file import LoadedStudyFile, StudySpec
    from cifar_tune.config.trial import Precision
    from cifar_tune.search.observer import MakeAnnotator, Observer
    from cifar_tune.search.outcome import StudyOutcome
    from cifar_tune.search.runner import RunOptions
    from cifar_tune.storage.selector import StudySelector
    from cifar_tune.training.precision import PrecisionCheck
    from cifar_tune.workers.kind import WorkerChoice
    from cifar_tune.workers.protocol import Materials, Pool


REQUESTED = "as requested"
"""Why it is this profile, or precision, where it was given."""
OF_STORED_STUDY = "that of the stored study"


@dataclass(frozen=True)
class MachineOptions:
    """What a study is trained on, and until when, as it was asked for; None leaves it open.

    Imported images and weights are in ``root``.
    """

    device: str | None = None
    workers: str | None = None
    per_gpu: int | None = None
    slots: int | None = None
    root: Path = field(default_factory=paths.data_root)
    precision: str | None = None
    timeout: str | None = None

    @property
    def seconds(self) -> float | None:
        """Stop a run after this many seconds.

        Raises:
            InputError: ``timeout`` is no duration.
        """
        if self.timeout is None:
            return None

        from cifar_tune.search.budget import parse_duration

        return parse_duration(self.timeout)

    def choose(self) -> tuple[torch.device, WorkerChoice]:
        """Return the device and the workers.

        Raises:
            InputError: What was asked for is not known.
            DeviceError: This machine does not have it.
        """
        from cifar_tune.training.device import choose_device
        from cifar_tune.workers.choose import choose_workers

        device = choose_device(self.device)
        return device, choose_workers(self.workers, self.per_gpu, device, self.slots)


@dataclass(frozen=True)
class WorkOptions:
    """How much of a study is run, and from which seed, as it was asked for."""

    trials: int | None = None
    seeds: int | None = None
    only: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True)
class Prepared:
    """A study that is ready to be planned or run, with all its input checked.

    Attributes:
        spec: The study.
        reason: Why it has this profile, in words.
        location: Where it is stored.
        device: What its trials are trained on.
        workers: How many of them are trained at once, and where.
        root: The folder of imported images and weights.
        precision: The precision that was asked for; None takes the stored study's, else chooses.
        precision_reason: Why it is this one, in words.
    """

    spec: StudySpec
    reason: str
    location: StorageLocation
    device: torch.device
    workers: WorkerChoice
    root: Path
    precision: Precision | None = None
    precision_reason: str = REQUESTED


def prepare(
    study: StudySelector,
    work: WorkOptions,
    machine: MachineOptions,
    *,
    begins_workers: bool = True,
    on_checked: Callable[[LoadedStudyFile], None] = lambda _: None,
) -> Prepared:
    """Check all that was asked for, cheapest first; write nothing.

    Args:
        study: The study.
        work: How much of it.
        machine: What it is trained on.
        begins_workers: Let workers of this machine begin to load PyTorch meanwhile.
        on_checked: Called with the study file once the study is known to be right, before PyTorch
            is loaded.

    Raises:
        InputError: Something cannot be done as asked.
    """
    from cifar_tune.config.study_file import resolve
    from cifar_tune.training.options import read_device

    loaded = study.load_file()
    location = study.location
    _check_samples(loaded, work.trials)
    if study.profile is not None:  # an error in it is found before PyTorch is imported
        resolve(loaded, study.profile, study.overrides, work.seeds, work.only)
    else:
        _check_any_profile(loaded, study, work)
    precision = _read_precision(machine)
    read_device(machine.device)
    on_checked(loaded)
    if begins_workers:
        _begin_workers(machine)
    (device, workers), root = machine.choose(), machine.root
    profile, reason = study.profile, REQUESTED
    if profile is None:
        profile, reason = choose_profile(loaded, study.overrides, work.only, device, root)
    spec = resolve(loaded, profile, study.overrides, work.seeds, work.only)
    return Prepared(spec, reason, location, device, workers, root, precision)


def _check_any_profile(loaded: LoadedStudyFile, study: StudySelector, work: WorkOptions) -> None:
    """Refuse what no profile of a study file allows, before PyTorch is imported to choose one."""
    from cifar_tune.config.study_file import resolve

    faults: list[StudyFileError] = []
    for profile in loaded.content.profiles:
        try:
            resolve(loaded, profile, study.overrides, work.seeds, work.only)
        except StudyFileError as fault:
            faults.append(fault)
        else:
            return
    raise faults[0]


def prepare_spec(
    spec: StudySpec, location: StorageLocation, machine: MachineOptions, more_trials: int | None
) -> Prepared:
    """Check what a specification is to be trained on; write nothing.

    Workers of this machine begin to load PyTorch meanwhile. ``more_trials`` are to be sampled, if
    not as many as the study file states.

    Raises:
        InputError: Something cannot be done as asked.
    """
    _check_samples(spec.source, more_trials)
    _begin_workers(machine)
    precision = _read_precision(machine)
    device, workers = machine.choose()
    return Prepared(spec, REQUESTED, location, device, workers, machine.root, precision)


def _check_samples(loaded: LoadedStudyFile, trials: int | None) -> None:
    if trials and not loaded.content.space.ranges():
        raise InputError(f"--trials {trials}: {loaded.name} has no search space; expected 0")


def _begin_workers(machine: MachineOptions) -> None:
    from cifar_tune.workers.choose import has_local_workers
    from cifar_tune.workers.local.fork_server import begin_fork_server

    if has_local_workers(machine.workers):
        begin_fork_server()


def _read_precision(machine: MachineOptions) -> Precision | None:
    from cifar_tune.training.options import read_precision

    return read_precision(machine.precision or os.environ.get("CIFAR_TUNE_PRECISION"))


def prepare_derived(
    spec: StudySpec,
    location: StorageLocation,
    purpose: Purpose,
    named: Sequence[NamedTrial],
    seeds: int,
    machine: MachineOptions,
) -> Prepared:
    """Check what some configurations of a stored study are to be trained on; write nothing.

    They are a study of its own, derived from ``spec``, with so many fresh seeds of each of them.
    """
    from cifar_tune.config.derived import derive_spec
    from cifar_tune.storage.studies import read_precision

    device, workers = machine.choose()
    return Prepared(
        spec=derive_spec(spec, purpose, named, seeds),
        reason=OF_STORED_STUDY,
        location=location,
        device=device,
        workers=workers,
        root=machine.root,
        precision=read_precision(location, spec.study_name),
        precision_reason=OF_STORED_STUDY,
    )


def choose_profile(
    loaded: LoadedStudyFile,
    overrides: Mapping[str, Any],
    only: Sequence[str],
    device: torch.device,
    root: Path,
) -> tuple[str, str]:
    """Return the profile to use and why: no run begins unasked with what must be fetched first."""
    from cifar_tune.config.study_file import resolve
    from cifar_tune.data.cifar10 import FULL_SET
    from cifar_tune.data.search_data import has_images
    from cifar_tune.models.stored_weights import missing_weights

    profiles = list(loaded.content.profiles)
    if len(profiles) == 1 or not {"quick", "assignment"} <= set(profiles):
        return profiles[0], "the first of the study file"
    if device.type != "cuda":
        return "quick", f"this run uses {device.type.upper()}, not CUDA"
    if not has_images(FULL_SET, root):
        command = paths.data_command(root, "data fetch")
        return "quick", f"the full CIFAR-10 is not on this machine: {command}"
    needed = resolve(loaded, "assignment", overrides, only=only).weights()
    missing = missing_weights(needed, root)
    if missing:
        command = paths.data_command(root, "weights status")
        return "quick", f"weights {', '.join(missing)} are not on this machine: {command}"
    return "assignment", "CUDA, images and weights are available"


def load_materials(prepared: Prepared, options: RunOptions) -> Materials:
    """Return the images and weights that a run needs, and weights that queued trials may need."""
    from cifar_tune.data.search_data import load_search_data
    from cifar_tune.models.stored_weights import missing_weights
    from cifar_tune.models.weights import load_weights
    from cifar_tune.search.plan import example_config
    from cifar_tune.workers.protocol import Materials

    spec, root = prepared.spec, prepared.root
    data = load_search_data(spec.protocol.data, root)
    data.check(example_config(spec))
    needed = set() if options.only_queued else spec.weights(options.more_trials)
    queued = spec.protocol.weights
    if spec.space.ranges() and queued != "none" and not missing_weights({queued}, root):
        needed.add(queued)
    return Materials(data, load_weights(needed, root), root.absolute())


def missing_materials(prepared: Prepared) -> list[str]:
    """Return what a run would refuse for want of images or weights, as it would say so."""
    from cifar_tune.data.search_data import load_search_data
    from cifar_tune.models.weights import load_weights

    missing = []
    for load in (
        lambda: load_search_data(prepared.spec.protocol.data, prepared.root),
        lambda: load_weights(prepared.spec.weights(), prepared.root),
    ):
        try:
            load()
        except (DataError, WeightsError) as error:
            missing += str(error).splitlines()
    return missing


def settle_precision(prepared: Prepared) -> tuple[Prepared, PrecisionCheck]:
    """Return the study with the precision that it is trained in, and why it is that one.

    All trials of a study have the precision that its first run chose, so that they can be compared.
    """
    from cifar_tune.search.plan import example_config
    from cifar_tune.storage import studies
    from cifar_tune.training.precision import PrecisionCheck, check_precision

    spec = prepared.spec
    with explain_errors(prepared.location):
        stored = studies.read_precision(prepared.location, spec.study_name)
    if prepared.precision is not None:
        check = PrecisionCheck(prepared.precision, prepared.precision_reason)
    elif stored is not None:
        check = PrecisionCheck(stored, OF_STORED_STUDY)
    else:
        check = check_precision(example_config(spec), prepared.device, prepared.workers.threads)
    return replace(prepared, spec=replace(spec, precision=check.precision)), check


def run_prepared(
    prepared: Prepared,
    materials: Materials,
    observer: Observer,
    options: RunOptions,
    make_annotator: MakeAnnotator,
    should_stop: Callable[[], bool] = lambda: False,
) -> StudyOutcome:
    """Run what is left of a study whose precision is settled, as ``Runner`` does."""
    from cifar_tune.search.costs import measure_costs
    from cifar_tune.search.runner import Runner, Workers
    from cifar_tune.search.slots import settle_slots

    spec, choice, device = prepared.spec, prepared.workers, prepared.device
    location = prepared.location
    logs = paths.worker_logs(location.beside, spec.study_name)

    def begin_workers() -> Pool:
        from cifar_tune.workers.kind import PoolSetup
        from cifar_tune.workers.train_task import work

        for folder in (logs.parent, logs):
            check_real_folder(folder, StorageError)
        with_slots = settle_slots(choice, spec, device, observer.noted)
        setup = PoolSetup(materials, device, spec.profile.resources, logs, work)
        return with_slots.pool.begin(with_slots, setup)

    workers = Workers(materials, begin_workers, lambda: measure_costs(spec, device, choice))
    return Runner(spec, location, workers, observer, options, make_annotator, should_stop).run()
