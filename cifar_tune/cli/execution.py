"""Prepares a study from what was asked for on a command line, and runs it.

Nothing is printed here, so that a Python program can do the same. PyTorch and Optuna are imported
inside the functions: the fork server of local workers loads PyTorch for them from the moment that
the input is known to be right.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar_tune import paths
from cifar_tune.cli.options import MachineOptions, WorkOptions
from cifar_tune.cli.selector import StudySelector
from cifar_tune.config.study_file import LoadedStudyFile, StudySpec, resolve
from cifar_tune.errors import InputError
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.workers.choose import has_local_workers
from cifar_tune.workers.local.fork_server import begin_fork_server

if TYPE_CHECKING:
    import torch

    from cifar_tune.config.trial import Precision
    from cifar_tune.search.observer import Observer
    from cifar_tune.search.plan import Costs
    from cifar_tune.search.runner import RunOptions, StudyOutcome
    from cifar_tune.training.precision import PrecisionCheck
    from cifar_tune.workers.kind import WorkerChoice
    from cifar_tune.workers.protocol import Materials, Pool


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
    """

    spec: StudySpec
    reason: str
    location: StorageLocation
    device: torch.device
    workers: WorkerChoice
    root: Path
    precision: Precision | None = None


def prepare(
    study: StudySelector,
    work: WorkOptions,
    machine: MachineOptions,
    *,
    begins_workers: bool = True,
) -> Prepared:
    """Check all that was asked for, cheapest first; write nothing.

    Args:
        study: The study.
        work: How much of it is to be run.
        machine: What it is to be run on.
        begins_workers: Whether workers of this machine are going to be needed.
    """
    loaded = study.load_file()
    location = study.location
    if work.trials and not loaded.content.space.ranges():
        raise InputError(f"--trials {work.trials}: {loaded.name} searches nothing; expected 0")
    if study.profile is not None:  # an error in it is found before PyTorch is imported
        resolve(loaded, study.profile, study.overrides, work.seeds, work.only)
    if begins_workers and has_local_workers(machine.workers):
        begin_fork_server()

    from cifar_tune.training.device import choose_device
    from cifar_tune.training.precision import read_precision
    from cifar_tune.workers.choose import choose_workers

    precision = read_precision(machine.precision or os.environ.get("CIFAR_TUNE_PRECISION"))
    device = choose_device(machine.device)
    workers = choose_workers(machine.workers, machine.per_gpu, device, machine.slots)
    root = paths.data_root(machine.data_dir)
    profile, reason = study.profile, "as asked for"
    if profile is None:
        profile, reason = choose_profile(loaded, study.overrides, work.only, device, root)
    spec = resolve(loaded, profile, study.overrides, work.seeds, work.only)
    return Prepared(spec, reason, location, device, workers, root, precision)


def choose_profile(
    loaded: LoadedStudyFile,
    overrides: Mapping[str, Any],
    only: Sequence[str],
    device: torch.device,
    root: Path,
) -> tuple[str, str]:
    """Return the profile to use and why: no run begins unasked with what must be fetched first."""
    from cifar_tune.data.search_data import has_full_set
    from cifar_tune.models.weights import missing_weights

    profiles = list(loaded.content.profiles)
    if len(profiles) == 1 or not {"quick", "assignment"} <= set(profiles):
        return profiles[0], "the file's first"
    if device.type != "cuda":
        return "quick", f"this run uses {device.type.upper()}, not CUDA"
    if not has_full_set(root):
        return "quick", "the full CIFAR-10 is not on this machine: cifar-tune data fetch"
    needed = resolve(loaded, "assignment", overrides, only=only).weights()
    missing = missing_weights(needed, root)
    if missing:
        return "quick", f"weights {', '.join(missing)} are not on this machine: cifar-tune weights"
    return "assignment", "this machine has CUDA and all that the assignment needs"


def load_materials(prepared: Prepared, options: RunOptions) -> Materials:
    """Return the images and weights that a run needs, and weights that queued trials may need."""
    from cifar_tune.data.search_data import load_search_data
    from cifar_tune.models.weights import load_weights, missing_weights
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
        check = PrecisionCheck(prepared.precision, "as asked for")
    elif stored is not None:
        check = PrecisionCheck(stored, "that of the stored study")
    else:
        check = check_precision(example_config(spec), prepared.device, prepared.workers.threads)
    return replace(prepared, spec=replace(spec, precision=check.precision)), check


def run_prepared(
    prepared: Prepared,
    materials: Materials,
    observer: Observer,
    options: RunOptions,
    should_stop: Callable[[], bool] = lambda: False,
) -> StudyOutcome:
    """Run what is left of a study.

    Args:
        prepared: The study, with its precision settled.
        materials: The images and weights.
        observer: Told what happens.
        options: How much is to be done.
        should_stop: As for ``Runner``.
    """
    from cifar_tune.dashboard.notes.annotator import StudyAnnotator
    from cifar_tune.search.costs import measure_costs
    from cifar_tune.search.runner import Runner, Workers
    from cifar_tune.search.slots import settle_slots
    from cifar_tune.workers.choose import make_pool

    spec, choice, device = prepared.spec, prepared.workers, prepared.device
    logs = paths.worker_logs(prepared.location.beside, spec.study_name)

    def begin_workers() -> Pool:
        with_slots = settle_slots(choice, spec, device, observer.noted)
        return make_pool(with_slots, materials, device, spec.profile.resources, logs)

    def measure() -> Costs:
        return measure_costs(spec, device, choice.threads)

    workers = Workers(materials, begin_workers, measure)
    runner = Runner(
        spec, prepared.location, workers, observer, options, StudyAnnotator, should_stop
    )
    return runner.run()
