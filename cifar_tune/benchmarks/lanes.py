"""The ways of training a case that are timed, each an epoch at a time and in its own process."""

from __future__ import annotations

import platform
import resource
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Literal

import torch

from cifar_tune import paths
from cifar_tune.benchmarks.plain_loop import PlainLoop
from cifar_tune.benchmarks.process import BenchProcess
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.search_data import load_search_data
from cifar_tune.models.resnet import seed_dropouts
from cifar_tune.models.weights import load_weights
from cifar_tune.training.callbacks import NO_CALLBACKS
from cifar_tune.training.device import keep_freed_memory
from cifar_tune.training.network import TrainingNetwork
from cifar_tune.training.optimizer import make_optimizer
from cifar_tune.training.step import BatchTotals, LossAndAccuracy
from cifar_tune.training.step_graph import graphs_of_thread
from cifar_tune.training.trainer import train_epoch
from cifar_tune.training.weight_average import make_average
from cifar_tune.workers.local.fork_server import threads_of_libraries

Way = Literal["plain", "tuned", "ours"]


def start_lane(way: Way, config: TrialConfig, device: torch.device, threads: int) -> BenchProcess:
    """Start a process that trains one case in one way, with so many threads on the processor."""
    with threads_of_libraries(threads):
        return BenchProcess(f"the {way} loop", Lane, way, config, str(device), threads, time.time())


class Lane:
    """One way of training one case, for the process that ``begun`` at that moment (Unix time)."""

    def __init__(
        self, way: Way, config: TrialConfig, device_name: str, threads: int, begun: float
    ) -> None:
        torch.set_num_threads(threads)
        self._config, self._begun = config, begun
        self._device = torch.device(device_name)
        self._stack = ExitStack()  # left with the process
        self._once, self._epoch = _make_epoch(way, config, self._device, self._stack)

    def warm_up(self) -> float:
        """Train an epoch that does not count, and return its seconds with the process's start."""
        self._epoch()
        return time.time() - self._begun

    def epoch(self) -> float:
        """Return the seconds of an epoch, with its share of what is done once a trial."""
        return self._time(self._once) / self._config.epochs + self._time(self._epoch)

    def peak_bytes(self) -> int:
        """Return the most memory that it had, of the GPU where it trains on one."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        unit = 1 if platform.system() == "Darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def _time(self, run: Callable[[], object]) -> float:
        start = time.perf_counter()
        run()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter() - start


def _make_epoch(
    way: Way, config: TrialConfig, device: torch.device, stack: ExitStack
) -> tuple[Callable[[], object], Callable[[], float]]:
    """Return what a trial does once, and a function that trains an epoch and returns its loss."""
    data = load_search_data(config.data, paths.data_root())
    pretrained = load_weights({config.weights} - {"none"}, paths.data_root()).get(config.weights)
    weights = None if pretrained is None else pretrained.tensors
    part = data.split(config).train
    if way != "ours":
        is_tuned = way == "tuned"
        loop = PlainLoop(part.copy(), config, weights, device, is_tuned=is_tuned)
        return (lambda: None), loop.train_epoch
    keep_freed_memory()
    graphs = graphs_of_thread(device)
    has_graph = graphs is not None
    network = TrainingNetwork(config, len(data.classes), weights, device, has_graph=has_graph)
    split = network.place_training(part, None)
    lent = nullcontext() if graphs is None else graphs.training(network.model, split, config)
    graph = stack.enter_context(lent)
    optimizer = make_optimizer(network.model, config, make_average(network.model, config))
    run: Callable[..., LossAndAccuracy] = partial(train_epoch, network.model, optimizer)
    if graph is not None:
        run = graph.train_epoch
    seed_dropouts(network.model if graph is None else graph.model, config, 1)

    def train() -> float:
        totals = BatchTotals(network.model, split, config)
        return run(split, config, 1, NO_CALLBACKS, totals).loss

    return (lambda: network.place_training(part, None)), train
