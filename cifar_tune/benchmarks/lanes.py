"""Processes that train one case in one way, an epoch whenever they are told to.

Each way waits while the others are timed.
"""

from __future__ import annotations

import platform
import resource
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from multiprocessing.connection import Connection
from typing import Literal

import torch

from cifar_tune import paths
from cifar_tune.benchmarks.plain_loop import PlainLoop
from cifar_tune.benchmarks.process import BenchProcess
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.search_data import load_search_data
from cifar_tune.errors import DeviceError
from cifar_tune.models.resnet import seed_dropouts
from cifar_tune.models.weights import load_weights
from cifar_tune.training.callbacks import NO_CALLBACKS
from cifar_tune.training.malloc import keep_freed_memory
from cifar_tune.training.network import TrainingNetwork
from cifar_tune.training.optimizer import make_optimizer
from cifar_tune.training.step import BatchTotals, LossAndAccuracy
from cifar_tune.training.step_graph import graphs_of_thread
from cifar_tune.training.trainer import train_epoch
from cifar_tune.workers.local.fork_server import threads_of_libraries

Way = Literal["plain", "tuned", "ours"]


class Lane:
    """A process that trains one case in one way, with so many threads on the processor."""

    def __init__(self, way: Way, config: TrialConfig, device: torch.device, threads: int) -> None:
        begun = time.time()
        with threads_of_libraries(threads):
            self._process = BenchProcess(
                f"the {way} loop", _main, way, config, str(device), threads, begun
            )

    def warm_up(self) -> float:
        """Train an epoch that does not count, and return its seconds with the process's start."""
        self._process.send("warm up")
        return float(self._process.receive())

    def begin(self) -> None:
        """Begin an epoch; ``end`` waits for it."""
        self._process.send("epoch")

    def end(self) -> float:
        """Return the seconds of the epoch, with its share of what is done once a trial."""
        return float(self._process.receive())

    def peak_bytes(self) -> int:
        """Return the most memory that it had, of the GPU where it trains on one."""
        self._process.send("memory")
        return int(self._process.receive())

    def close(self) -> None:
        """End the process."""
        self._process.close()


# --- in the process -------------------------------------------------------------------------------


def _main(
    line: Connection, way: Way, config: TrialConfig, device_name: str, threads: int, begun: float
) -> None:
    torch.set_num_threads(threads)
    device = torch.device(device_name)
    try:
        with ExitStack() as stack:
            once, epoch = make_epoch(way, config, device, stack)
            for message in iter(lambda: _receive(line), None):
                if message == "warm up":
                    epoch()
                    line.send(time.time() - begun)
                elif message == "epoch":
                    line.send(_time(once, device) / config.epochs + _time(epoch, device))
                else:
                    line.send(_peak_bytes(device))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        line.send(DeviceError(f"bench: the {way} loop: {type(error).__name__}: {reason}"))


def _receive(line: Connection) -> str | None:
    try:
        message: str = line.recv()
    except EOFError:
        return None
    return message


def _time(run: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if platform.system() == "Darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def make_epoch(
    way: Way, config: TrialConfig, device: torch.device, stack: ExitStack
) -> tuple[Callable[[], object], Callable[[], float]]:
    """Return what a trial does once, and a function that trains an epoch and returns its loss."""
    data = load_search_data(config.data, paths.data_root())
    found = load_weights({config.weights} - {"none"}, paths.data_root()).get(config.weights)
    weights = None if found is None else found.tensors
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
    run: Callable[..., LossAndAccuracy] = partial(
        train_epoch, network.model, make_optimizer(network.model, config)
    )
    if graph is not None:
        run = graph.train_epoch
    seed_dropouts(network.model if graph is None else graph.model, config, 1)

    def train() -> float:
        totals = BatchTotals(network.model, split, config)
        return run(split, config, 1, NO_CALLBACKS, totals).loss

    return (lambda: network.place_training(part, None)), train
