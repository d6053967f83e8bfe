"""The training step as one graph: replayed for each batch, and kept from trial to trial.

A step gathers its images, augments and normalises them, goes forward and back, and lets the
optimiser move the weights; loss and right answers are written to ``BatchTotals``. What changes
while a trial trains is on the device before the epoch begins: the order of the images, the draws of
their augmentation, the dropout masks, and the learning rate. A counter there picks the batch. So
the host has but one call to make a step. The numbers that stay (weight decay, momentum, label
smoothing) are captured with it.

A graph works on tensors of its own. A trial's weights and hyperparameters are copied into them, and
its weights back at the end, so trials of the same form share a graph.
"""

from __future__ import annotations

import copy
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cifar_tune.config.trial import HYPERPARAMETERS, TrialConfig
from cifar_tune.data.loader import DeviceSplit, draw_epoch, make_batch
from cifar_tune.errors import TrainingStopped
from cifar_tune.models.resnet import find_dropouts, set_training
from cifar_tune.training.callbacks import TrainingCallbacks
from cifar_tune.training.cuda_graph import CudaGraph
from cifar_tune.training.epoch_tensors import EpochTensors, Masks
from cifar_tune.training.optimizer import make_optimizer, zero_moments
from cifar_tune.training.step import BatchTotals, LossAndAccuracy, train_step
from cifar_tune.training.weight_average import make_average

WARM_UP_STEPS = 3
GRAPHS_KEPT = 6
"""Of one slot: as many as there are freeze depths."""


class StepGraph:
    """A captured training step, and the trial that it is lent to.

    Attributes:
        model: the graph's own network, with the trial's weights.
        optimizer: the trial's, with a plain number for its learning rate. Its moments are those
            that the graph moves.
        average: the moving average of the network's weights, None where there is none.
    """

    def __init__(
        self, model: nn.Module, split: DeviceSplit, config: TrialConfig, graph: CudaGraph
    ) -> None:
        self.model = copy.deepcopy(model)
        self._split = split
        self._config = config
        self._graph = graph
        self._full = len(split) // config.batch_size  # steps that are replayed
        self.average = make_average(self.model, config)
        self._captured = make_optimizer(self.model, config, self.average)
        groups = self._captured.param_groups
        self._epoch = EpochTensors.make(self.model, split, config, len(groups))
        self._masks = [
            Masks.make(layer, len(split), self._epoch.order.device)
            for layer in find_dropouts(self.model).values()
        ]
        for group, rate in zip(groups, self._epoch.learning_rates.unbind(), strict=True):
            group["lr"] = rate
            for parameter in group["params"]:
                self._captured.state[parameter] = zero_moments(parameter, self._captured)
        self.optimizer = self._captured
        set_training(self.model, config)
        for _ in range(WARM_UP_STEPS):
            self._epoch.counter.zero_()
            graph.warm_up(self._step)
        for group in groups:
            if "capturable" in group:
                group["capturable"] = True  # which it warns of where it is not captured
        self._epoch.counter.zero_()
        graph.capture(self._step, self._statics)

    def load(self, model: nn.Module, config: TrialConfig) -> None:
        """Take up a trial at its beginning: nothing is left of what was done before."""
        self.model.load_state_dict(model.state_dict())
        for moments in self._captured.state.values():
            for value in moments.values():
                value.zero_()
        own, trial_layers = find_dropouts(self.model), find_dropouts(model)
        for name, layer in own.items():
            layer.p = trial_layers[name].p
        if self.average is not None:
            self.average.begin(config.ema_decay)
        self.optimizer = make_optimizer(self.model, config, self.average)
        self.optimizer.state = self._captured.state
        self._config = config

    def train_epoch(
        self,
        split: DeviceSplit,
        config: TrialConfig,
        epoch: int,
        callbacks: TrainingCallbacks,
        totals: BatchTotals,
    ) -> LossAndAccuracy:
        """Train one pass over the training images; see ``trainer.train_epoch``."""
        set_training(self.model, config)
        first = totals.batches
        begun = [masks.generator.get_state() for masks in self._masks]
        self._begin(split, config, epoch, totals)
        done = first
        try:
            try:
                while done < self._full:
                    self._graph.replay()
                    done += 1
                    callbacks.step_done(done)
            finally:
                totals.restore(self._epoch.totals, done)
            if totals.batches * config.batch_size < len(split):
                rest = slice(self._full * config.batch_size, None)
                totals.add(*self._train(rest, self.optimizer))
                callbacks.step_done(totals.batches)
        except TrainingStopped:
            # The masks of the whole epoch are drawn; a state has those of the steps that were done.
            for masks, state in zip(self._masks, begun, strict=True):
                masks.generator.set_state(state)
                masks.draw(first, totals.batches, config.batch_size)
            raise
        return totals.close(epoch)

    def _begin(
        self, split: DeviceSplit, config: TrialConfig, epoch: int, totals: BatchTotals
    ) -> None:
        """Bring to the device what the steps of an epoch need that are left."""
        self._epoch.put(*draw_epoch(split, config, epoch))
        for name, value in totals.tensors().items():
            self._epoch.totals[name].copy_(value)
        self._epoch.counter.fill_(totals.batches)
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self._epoch.learning_rates.copy_(torch.tensor(rates, dtype=torch.float64))
        for masks in self._masks:
            masks.draw(totals.batches, config.steps, config.batch_size)

    def _step(self) -> None:
        """Train on the batch that the counter points at; this is what is captured."""
        epoch = self._epoch
        rows = epoch.counter * self._config.batch_size + epoch.offsets
        loss, right = self._train(rows, self._captured)
        place = epoch.counter.view(1)
        epoch.totals["losses"].index_copy_(0, place, loss.view(1))
        epoch.totals["right"].index_copy_(0, place, right.view(1))
        epoch.counter.add_(1)

    def _train(self, rows: slice | Tensor, optimizer: Optimizer) -> tuple[Tensor, Tensor]:
        for masks in self._masks:
            masks.show(rows)
        draws = self._epoch.draws
        taken = None if draws is None else draws.take(rows)
        batch = make_batch(self._split, self._config, self._epoch.order[rows], taken)
        return train_step(self.model, optimizer, *batch, self._config)

    def _statics(self) -> dict[str, Tensor]:
        """Return all that the captured step reads and that stays from step to step."""
        statics = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            moments = self._captured.state.get(parameter, {})
            statics |= {f"moments.{name}.{key}": value for key, value in moments.items()}
        if self.average is not None:
            averages = {**self.average.state_dict(), "decay": self.average.decay}
            statics |= {f"average.{name}": value for name, value in averages.items()}
        statics |= {f"split.{name}": value for name, value in _tensors(self._split).items()}
        for number, masks in enumerate(self._masks):
            statics |= {f"masks.{number}.kept": masks.kept, f"masks.{number}.scale": masks.scale}
        return statics | self._epoch.tensors()


# --- from trial to trial ------------------------------------------------------------------------


_memory_is_short = threading.Event()
_all_graphs: weakref.WeakSet[StepGraphs] = weakref.WeakSet()


class StepGraphs:
    """The graphs of one slot, which trains one trial at a time."""

    def __init__(self, make_graph: Callable[[], CudaGraph]) -> None:
        self._make_graph = make_graph
        self._graphs: OrderedDict[Hashable, StepGraph] = OrderedDict()  # the last used at the end
        self._splits: dict[Hashable, DeviceSplit] = {}
        self._in_use = threading.Lock()
        self.captured = 0  # graphs that were made
        _all_graphs.add(self)

    @contextmanager
    def training(
        self, model: nn.Module, split: DeviceSplit, config: TrialConfig
    ) -> Iterator[StepGraph | None]:
        """Lend the graph of such a step to a trial, with the trial's weights in it.

        Yields:
            The graph; None if there is no step with a full batch, or images pass through a frozen
            part on their way, which belongs to the trial.
        """
        if len(split) < config.batch_size or split.prefix is not None:
            yield None
            return
        with self._in_use:
            if _memory_is_short.is_set():
                _release_idle()
            try:
                yield self._load(model, split, config)
            except torch.OutOfMemoryError:
                # The trial is tried again when no other runs: then their graphs are let go too.
                _memory_is_short.set()
                self._clear()
                raise

    def _load(self, model: nn.Module, split: DeviceSplit, config: TrialConfig) -> StepGraph:
        images = (split.images.shape, split.images.dtype, len(split))
        own = self._splits.get(images)
        if own is None:
            clones: dict[str, Any] = {
                name: value.clone() for name, value in _tensors(split).items()
            }
            own = self._splits[images] = replace(split, **clones)
        for name, value in _tensors(split).items():
            getattr(own, name).copy_(value)
        form = (images, _form(model, config))
        if form not in self._graphs:
            self._graphs[form] = StepGraph(model, own, config, self._make_graph())
            self.captured += 1
        self._graphs.move_to_end(form)
        while len(self._graphs) > GRAPHS_KEPT:
            self._graphs.popitem(last=False)
        self._graphs[form].load(model, config)
        return self._graphs[form]

    def _clear(self) -> None:
        self._graphs.clear()
        self._splits.clear()

    def clear_if_idle(self) -> None:
        """Let go of all graphs, unless a trial uses one."""
        if self._in_use.acquire(blocking=False):
            try:
                self._clear()
            finally:
                self._in_use.release()


def _tensors(split: DeviceSplit) -> dict[str, Tensor]:
    return {name: value for name, value in vars(split).items() if isinstance(value, Tensor)}


def _release_idle() -> None:
    for graphs in list(_all_graphs):
        graphs.clear_if_idle()
    torch.cuda.empty_cache()


_SHARED = {
    "data",
    "split",
    "validation_images",
    "normalize_mean",
    "normalize_std",
    "augment_validation",
    "weights",
    "epochs",
    "seed",
    *(key for key, declared in HYPERPARAMETERS.items() if declared.shares_graph),
}
"""The fields of a configuration in which trials that share a graph may differ."""


def _form(model: nn.Module, config: TrialConfig) -> Hashable:
    """Return what two trials must have in common to share a graph.

    That is all of the configuration but what is copied into the graph's tensors or has no part in a
    training step.
    """
    step = tuple(
        getattr(config, field.name) for field in fields(config) if field.name not in _SHARED
    )
    modules = tuple((name, type(module).__name__) for name, module in model.named_modules())
    parameters = tuple(
        (name, value.shape, value.dtype, value.requires_grad)
        for name, value in model.named_parameters()
    )
    parts = (config.augments, config.mixes, config.layer_decay == 1)
    parts += tuple(getattr(config, key) > 0 for key in ("ema_decay", "auto_augment", "erase_size"))
    return parts, step, modules, parameters


_of_thread = threading.local()


def graphs_of_thread(device: torch.device) -> StepGraphs | None:
    """Return the graphs that trials of this thread share on a CUDA device; None on another kind."""
    if device.type != "cuda":
        return None
    index = torch.cuda.current_device() if device.index is None else device.index
    place = torch.device("cuda", index)
    known: dict[torch.device, StepGraphs] = _of_thread.__dict__.setdefault("graphs", {})
    if place not in known:
        known[place] = StepGraphs(lambda: CudaGraph(place))
    return known[place]
