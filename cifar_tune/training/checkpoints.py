"""The state of a training, from which it goes on bit for bit, and the files that keep it.

The state is: weights and batch norm's averages, the moving average of both where there is one, the
optimiser's moments, the schedule, the generator that draws dropout masks, how far the training has
come, and what it gave until there. Order and augmentation of the images are not in it: they follow
from the trial's seed and the epoch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cifar_tune.errors import StorageError
from cifar_tune.files import check_regular
from cifar_tune.models.resnet import find_dropouts
from cifar_tune.models.weight_files import write_tensors
from cifar_tune.training.optimizer import moments_of
from cifar_tune.training.records import EpochMetrics
from cifar_tune.training.weight_average import WeightAverage

FORMAT = 4
KEPT = 2
"""Checkpoints of a trial that are kept: should the newest be damaged, the one before serves."""

_NAME = re.compile(r"epoch-(\d+)-step-(\d+)\.safetensors")


class UnusableCheckpointError(Exception):
    """A checkpoint is damaged or is another trial's; the message says which and why."""


@dataclass(frozen=True)
class Position:
    """How far a training has come.

    Attributes:
        epochs: finished, validation included.
        steps: training steps done of the next epoch.
        seconds: that the next epoch has taken so far.
        history: what the finished epochs gave.
    """

    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    history: tuple[EpochMetrics, ...] = ()


@dataclass(frozen=True)
class Trained:
    """What a training moves on: the network, its optimiser, the schedule and the moving average.

    Attributes:
        average: None where the weights are not averaged.
    """

    model: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    average: WeightAverage | None = None

    @property
    def result(self) -> nn.Module:
        """The network that is evaluated and kept."""
        return self.model if self.average is None else self.average.model


@dataclass(frozen=True)
class TrainingState:
    """A state as it is saved: tensors by name, the schedule's own numbers, and the position."""

    position: Position
    tensors: Mapping[str, Tensor]
    schedule: Mapping[str, Any]


def capture(trained: Trained, position: Position, extra: Mapping[str, Tensor]) -> TrainingState:
    """Take the state of a training; the tensors are those that go on being trained.

    ``extra`` are more tensors to keep with it.
    """
    model, optimizer, schedule = trained.model, trained.optimizer, trained.schedule
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, parameter in _trained(model):
        kept = optimizer.state[parameter]
        tensors |= {f"moments.{name}.{key}": kept[key] for key in moments_of(optimizer)}
    for name, generator in _generators(model).items():
        tensors[f"generator.{name}"] = generator.get_state()
    if trained.average is not None:
        averages = trained.average.state_dict()
        tensors |= {f"average.{name}": value for name, value in averages.items()}
    tensors |= {f"extra.{name}": value for name, value in extra.items()}
    numbers = {**schedule.state_dict(), "lr": [group["lr"] for group in optimizer.param_groups]}
    return TrainingState(position, tensors, numbers)


def restore(state: TrainingState, trained: Trained) -> dict[str, Tensor]:
    """Put a training into a state.

    Returns:
        The extra tensors, on the model's device.

    Raises:
        UnusableCheckpointError: the state does not fit the model.
    """
    model, optimizer, schedule = trained.model, trained.optimizer, trained.schedule
    device = next(model.parameters()).device
    kinds = ("model", "moments", "generator", "average", "extra")
    parts: dict[str, dict[str, Tensor]] = {kind: {} for kind in kinds}
    for name, value in state.tensors.items():
        kind, _, rest = name.partition(".")
        parts[kind][rest] = value
    try:
        model.load_state_dict(parts["model"], strict=True)
        for name, parameter in _trained(model):
            moments = optimizer.state[parameter]
            for key in moments_of(optimizer):
                value = _like(parameter, parts["moments"].pop(f"{name}.{key}"))
                if key in moments:  # a graph of the step may use the tensor that is there
                    moments[key].copy_(value)
                else:
                    moments[key] = value
        _expect_equal("moments that are left over", set(parts["moments"]), set())
        if trained.average is None:
            _expect_equal("averages that are left over", set(parts["average"]), set())
        else:
            trained.average.load_state_dict(parts["average"], strict=True)
        numbers = dict(state.schedule)
        for group, rate in zip(optimizer.param_groups, numbers.pop("lr"), strict=True):
            group["lr"] = rate
        _expect_equal("numbers of the schedule", set(numbers), set(schedule.state_dict()))
        schedule.load_state_dict(numbers)
        for name, generator in _generators(model).items():
            if name in parts["generator"]:  # masks of another kind of device are others in any case
                generator.set_state(parts["generator"][name])
    except (RuntimeError, KeyError, ValueError) as error:
        raise UnusableCheckpointError(f"does not fit the trial: {error}") from error
    return {name: value.to(device) for name, value in parts["extra"].items()}


def _expect_equal(what: str, value: object, expected: object) -> None:
    if value != expected:
        raise ValueError(f"{what}: {value}, expected {expected}")


def _trained(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, value) for name, value in model.named_parameters() if value.requires_grad)


def _like(parameter: nn.Parameter, value: Tensor) -> Tensor:
    """Return a moment in the parameter's memory order, which Adam's kernel expects."""
    if value.dim() == 0:
        # Fused Adam counts its steps on the parameter's device.
        return value.to(parameter.device)
    return torch.empty_like(parameter).copy_(value)


def _generators(model: nn.Module) -> dict[str, torch.Generator]:
    """Return the generators of dropout masks by device and layer, e.g. ``cpu.fc.0``."""
    return {
        f"{layer.generator.device.type}.{name}": layer.generator
        for name, layer in find_dropouts(model).items()
        if layer.generator is not None
    }


# --- files --------------------------------------------------------------------------------------


class Checkpoints:
    """The newest states of one trial, as safetensors files in a folder of its own.

    ``trial`` says what the trial is, e.g. by the digest of its configuration; a state of another
    one is refused.
    """

    def __init__(self, folder: Path, trial: str) -> None:
        self._folder = folder
        self._trial = trial

    def save(self, state: TrainingState) -> None:
        """Write a state, whole or not at all, and remove all but the newest ``KEPT``.

        Raises:
            StorageError: it cannot be written; those before it are still there.
        """
        tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors.items()}
        about = {
            "format": FORMAT,
            "trial": self._trial,
            "position": dataclasses.asdict(state.position),
            "schedule": dict(state.schedule),
        }
        about["sha256"] = _digest(about, tensors)
        name = f"epoch-{state.position.epochs}-step-{state.position.steps}.safetensors"
        write_tensors(tensors, about, self._folder / name, StorageError)
        for path in self._files()[KEPT:]:
            path.unlink(missing_ok=True)

    def load(self) -> Iterator[TrainingState | UnusableCheckpointError]:
        """Yield the states, the newest first; where one cannot be used, why."""
        for path in self._files():
            try:
                yield self._read(path)
            except UnusableCheckpointError as error:
                yield UnusableCheckpointError(f"{path}: {error}")

    def _files(self) -> list[Path]:
        """Return the checkpoints, the newest first."""
        paths = {
            (int(match[1]), int(match[2])): path
            for path in self._folder.glob("epoch-*.safetensors")
            if (match := _NAME.fullmatch(path.name)) is not None
        }
        return [paths[place] for place in sorted(paths, reverse=True)]

    def _read(self, path: Path) -> TrainingState:
        try:
            check_regular(path)
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {})["about"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            digest = about.pop("sha256")
            _expect_equal("format", about["format"], FORMAT)
            _expect_equal("SHA-256 of the content", digest, _digest(about, tensors))
            _expect_equal("digest of the trial", self._trial, about["trial"])
            place = about["position"]
            history = tuple(EpochMetrics(**metrics) for metrics in place.pop("history"))
            return TrainingState(Position(**place, history=history), tensors, about["schedule"])
        except OSError as error:
            raise UnusableCheckpointError(f"cannot be read: {error}") from error
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise UnusableCheckpointError(f"is damaged or of another trial: {error}") from error


def _digest(about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of all that a checkpoint says, as hexadecimal."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
