"""Finds how many trials at once a GPU is fastest with: one alone often leaves most of it idle."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial

import torch

from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.cifar10 import CLASSES
from cifar_tune.data.search_data import Subset
from cifar_tune.data.synthetic import config_for_noise, random_images
from cifar_tune.models.resnet import seed_dropouts
from cifar_tune.search.plan import example_config, find_ends
from cifar_tune.training.callbacks import NO_CALLBACKS
from cifar_tune.training.cuda_graph import CudaGraph
from cifar_tune.training.device import cuda_devices
from cifar_tune.training.network import TrainingNetwork
from cifar_tune.training.step import BatchTotals
from cifar_tune.training.step_graph import StepGraph, StepGraphs
from cifar_tune.workers.kind import WorkerChoice

CANDIDATES = (1, 2, 4, 8)
NEAR = 0.05
"""More slots must gain more than this share, since each takes memory."""
MEASURE_SECONDS = 2.0
STEPS = 50
"""Of an epoch that is measured: few enough to end in time, many enough to hide its beginning."""


def settle_slots(
    choice: WorkerChoice, spec: StudySpec, device: torch.device, note: Callable[[str], None]
) -> WorkerChoice:
    """Find the slots of workers that are to have as many as is fastest with a study's trials.

    ``note`` is told what was measured.
    """
    if choice.slots is not None:
        return choice
    place = torch.device(cuda_devices(device)[0])
    # The largest batches need the most memory.
    config = replace(example_config(spec), batch_size=find_ends(spec, "batch_size")[1])
    measured = measure_slots(
        lambda slots: measure_steps_per_second(config, place, slots, lambda: CudaGraph(place))
    )
    torch.cuda.empty_cache()  # for the workers
    slots = fewest_near_best(measured)
    rates = ", ".join(f"{rate:,.0f} with {count}" for count, rate in measured.items())
    note(f"slots: {slots} (training steps per second: {rates})")
    return replace(choice, slots=slots, threads=max(choice.threads // slots, 1))


def fewest_near_best(measured: Mapping[int, float]) -> int:
    """Return the fewest slots that are nearly as fast as the fastest, from ``measure_slots``."""
    enough = (1 - NEAR) * max(measured.values())
    return min(slots for slots, rate in measured.items() if rate >= enough)


def measure_slots(measure: Callable[[int], float]) -> dict[int, float]:
    """Measure more and more slots, as long as there is memory for them.

    Returns training steps a second of all slots together, by their number, as ``measure`` does of
    a number of slots.
    """
    measured: dict[int, float] = {}
    for slots in CANDIDATES:
        try:
            measured[slots] = measure(slots)
        except torch.OutOfMemoryError:
            break
    return measured or {1: 0.0}


def measure_steps_per_second(
    config: TrialConfig, device: torch.device, slots: int, make_graph: Callable[[], CudaGraph]
) -> float:
    """Train on random images in so many slots at once; return steps a second of all together."""
    count = STEPS * config.batch_size
    config = replace(config_for_noise(config), train_images=count, train_on="train")
    part = random_images(count)
    with ExitStack() as stack, ThreadPoolExecutor(slots) as pool:
        epochs = [_prepare_slot(config, part, device, make_graph, stack) for _ in range(slots)]
        list(pool.map(lambda epoch: epoch(), epochs))  # the first ones draw and set up
        begun = time.perf_counter()

        def train(epoch: Callable[[], None]) -> int:
            done = 0
            while not done or time.perf_counter() - begun < MEASURE_SECONDS:
                epoch()
                done += STEPS
            return done

        steps = sum(pool.map(train, epochs))
        return steps / (time.perf_counter() - begun)


def _prepare_slot(
    config: TrialConfig,
    part: Subset,
    device: torch.device,
    make_graph: Callable[[], CudaGraph],
    stack: ExitStack,
) -> Callable[[], None]:
    """Give a slot its graph and stream; return what trains one epoch and waits for its end."""
    network = TrainingNetwork(config, len(CLASSES), None, device, has_graph=True)
    split = network.place_training(part, None)
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None
    on_stream = nullcontext if stream is None else partial(torch.cuda.stream, stream)
    with on_stream():
        graph = stack.enter_context(StepGraphs(make_graph).training(network.model, split, config))
    assert graph is not None, "fewer images than a batch"
    seed_dropouts(graph.model, config, 1)

    def epoch(graph: StepGraph = graph) -> None:
        with on_stream():
            totals = BatchTotals(graph.model, split, config)
            graph.train_epoch(split, config, 1, NO_CALLBACKS, totals)

    return epoch
