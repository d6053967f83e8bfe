"""Prepares a study from what was asked for on a command line, and runs it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from cifar_tune import paths
from cifar_tune.cli.console import read_overrides
from cifar_tune.config.study_file import LoadedStudyFile, StudySpec, load_study_file, resolve
from cifar_tune.errors import InputError
from cifar_tune.search.progress import Bars, PlainLines
from cifar_tune.storage.location import StorageLocation, explain_errors, locate_storage
from cifar_tune.workers.choose import has_local_workers
from cifar_tune.workers.local.fork_server import begin_fork_server

if TYPE_CHECKING:
    import torch

    from cifar_tune.config.trial import Precision
    from cifar_tune.search.observer import Observer
    from cifar_tune.search.plan import Costs
    from cifar_tune.search.runner import RunOptions, StudyOutcome
    from cifar_tune.workers.kind import WorkerChoice
    from cifar_tune.workers.protocol import Materials, Pool


@dataclass(frozen=True)
class StudyOptions:
    """The options of ``plan`` and ``run``, as given on the command line; ``serve`` has the first
    eight."""

    profile: str | None
    seeds: int | None
    device: str | None
    workers: str | None
    per_gpu: int | None
    slots: int | None
    storage: str | None
    data_dir: Path | None
    trials: int | None = None
    only: tuple[str, ...] = ()
    epochs: int | None = None
    settings: tuple[str, ...] = ()
    seed: int | None = None
    as_json: bool = False
    timeout: str | None = None
    precision: str | None = None


@dataclass(frozen=True)
class Prepared:
    """A study that is ready to be planned or run, with all its input checked.

    Attributes:
        reason: why this profile, in words.
        root: of imported images and weights.
        precision: that was asked for; None takes the stored study's, else chooses.
    """

    spec: StudySpec
    reason: str
    location: StorageLocation
    device: torch.device
    workers: WorkerChoice
    root: Path
    precision: Precision | None = None


def execute(ready: Prepared, console: Console, options: RunOptions) -> StudyOutcome:
    """Run what is left of a study, with its progress on the console."""
    materials = load_materials(ready, options)
    ready = settle_precision(ready, console)
    if console.is_terminal:
        with Bars(console) as bars:
            return run_prepared(ready, materials, bars, options)
    return run_prepared(ready, materials, PlainLines(console), options)


def load_materials(ready: Prepared, options: RunOptions) -> Materials:
    """The images and weights that a run needs, and weights that queued trials may need."""
    from cifar_tune.data.search_data import load_search_data
    from cifar_tune.models.weights import load_weights, missing_weights
    from cifar_tune.search.plan import example_config
    from cifar_tune.workers.protocol import Materials

    spec = ready.spec
    data = load_search_data(spec.protocol.data, ready.root)
    data.check(example_config(spec))
    needed = set() if options.only_queued else spec.weights(options.more_trials)
    queued = spec.protocol.weights
    if spec.space.ranges() and queued != "none" and not missing_weights({queued}, ready.root):
        needed.add(queued)
    return Materials(data, load_weights(needed, ready.root), ready.root.absolute())


def run_prepared(
    ready: Prepared,
    materials: Materials,
    observer: Observer,
    options: RunOptions,
    should_stop: Callable[[], bool] = lambda: False,
) -> StudyOutcome:
    """Run what is left of a study.

    Args:
        should_stop: as for ``Runner``.
    """
    from cifar_tune.dashboard.notes.annotator import StudyAnnotator
    from cifar_tune.search.costs import measure_costs
    from cifar_tune.search.runner import Runner, Workers
    from cifar_tune.search.slots import settle_slots
    from cifar_tune.workers.choose import make_pool

    spec, choice = ready.spec, ready.workers
    logs = paths.worker_logs(ready.location.beside, spec.study_name)

    def begin_workers() -> Pool:
        with_slots = settle_slots(choice, spec, ready.device, observer.noted)
        return make_pool(with_slots, materials, ready.device, spec.profile.resources, logs)

    def measure() -> Costs:
        return measure_costs(spec, ready.device, choice.threads)

    workers = Workers(materials, begin_workers, measure)
    runner = Runner(spec, ready.location, workers, observer, options, StudyAnnotator, should_stop)
    return runner.run()


def prepare(name: str, options: StudyOptions, *, begins_workers: bool = True) -> Prepared:
    """Check all that was asked for, cheapest first; writes nothing.

    Args:
        begins_workers: whether workers of this machine are going to be needed.
    """
    loaded = load_study_file(name)
    location = locate_storage(options.storage)
    overrides = read_overrides(options.epochs, options.settings)
    if options.trials and not loaded.content.space.ranges():
        raise InputError(f"--trials {options.trials}: {loaded.name} searches nothing; expected 0")
    if options.profile is not None:  # an error in it is found before PyTorch is imported
        resolve(loaded, options.profile, overrides, options.seeds, options.only)
    if begins_workers and has_local_workers(options.workers):
        begin_fork_server()  # it loads PyTorch for them while it is loaded here

    from cifar_tune.training.device import choose_device
    from cifar_tune.training.precision import read_precision
    from cifar_tune.workers.choose import choose_workers

    precision = read_precision(options.precision or os.environ.get("CIFAR_TUNE_PRECISION"))
    device = choose_device(options.device)
    workers = choose_workers(options.workers, options.per_gpu, device, options.slots)
    root = paths.data_root(options.data_dir)
    profile, reason = options.profile, "as asked for"
    if profile is None:
        profile, reason = choose_profile(loaded, overrides, options.only, device, root)
    spec = resolve(loaded, profile, overrides, options.seeds, options.only)
    return Prepared(spec, reason, location, device, workers, root, precision)


def choose_profile(
    loaded: LoadedStudyFile,
    overrides: Mapping[str, Any],
    only: Sequence[str],
    device: torch.device,
    root: Path,
) -> tuple[str, str]:
    """The profile to use, and why: what is not here is never what a run begins with unasked."""
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


def settle_precision(ready: Prepared, console: Console) -> Prepared:
    """Settle in which precision a study is trained, and print what is going to be run, on what.

    All trials of a study have the precision that its first run chose, so that they can be compared.
    """
    from cifar_tune.search.plan import example_config
    from cifar_tune.storage import studies as stored
    from cifar_tune.training.precision import PrecisionCheck, check_precision

    _print_header(console, ready)
    spec = ready.spec
    with explain_errors(ready.location):
        known = stored.read_precision(ready.location, spec.study_name)
    if ready.precision is not None:
        found = PrecisionCheck(ready.precision, "as asked for")
    elif known is not None:
        found = PrecisionCheck(known, "that of the stored study")
    else:
        found = check_precision(example_config(spec), ready.device, ready.workers.threads)
    console.print(f"precision {found.precision}: {found.why}", soft_wrap=True)
    return replace(ready, spec=replace(spec, precision=found.precision))


def _print_header(console: Console, ready: Prepared) -> None:
    from cifar_tune.training.device import describe_device

    spec = ready.spec
    console.print(Text.assemble((spec.study_name, "bold"), f"  {spec.title}"))
    console.print(f"profile {spec.profile_name}: {ready.reason}")
    protocol, weights = spec.protocol, ", ".join(sorted(spec.weights())) or "none"
    console.print(
        f"images {protocol.data}: {protocol.train_images:,} / {protocol.validation_images:,} at "
        f"{protocol.input_size} px, split {protocol.split}; pretrained weights: {weights}",
        soft_wrap=True,
    )
    console.print(
        f"device {describe_device(ready.device)}, {ready.workers}, storage {ready.location}",
        soft_wrap=True,
    )
