"""The optimiser of a trial and the schedule of its learning rate."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from cifar_tune.config.trial import TrialConfig
from cifar_tune.models.resnet import FREEZE_STAGES
from cifar_tune.training.weight_average import WeightAverage, make_average


def make_optimizer(
    model: nn.Module,
    config: TrialConfig,
    average: WeightAverage | None = None,
    *,
    is_plain: bool = False,
) -> Optimizer:
    """Return the optimiser of the parameters that are not frozen.

    It has PyTorch's defaults but for what the configuration says, and updates the ``average`` after
    each step. ``is_plain`` computes it in the way that PyTorch chooses, instead of with one kernel
    for all tensors.
    """
    optimizer = _make_optimizer(model, config, is_plain=is_plain)
    if average is not None:
        average.follow(optimizer)
    return optimizer


def _make_optimizer(model: nn.Module, config: TrialConfig, *, is_plain: bool) -> Optimizer:
    trained = _parameter_groups(model, config)
    device = trained[0]["params"][0].device
    fused = None if is_plain else device.type in ("cpu", "cuda")
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "sgd":
        nesterov = config.momentum > 0  # it is of momentum alone
        return SGD(trained, rate, config.momentum, 0, decay, nesterov, fused=fused)
    if decay:
        return AdamW(trained, lr=rate, weight_decay=decay, fused=fused)
    return Adam(trained, lr=rate, fused=fused)


def _parameter_groups(model: nn.Module, config: TrialConfig) -> list[dict[str, Any]]:
    """Return the parameters that are not frozen, in a group for each rate that they have."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(rate_scale(name, config), []).append(parameter)
    return [
        {"params": parameters, "lr": config.learning_rate * scale}
        for scale, parameters in groups.items()
    ]


def rate_scale(name: str, config: TrialConfig) -> float:
    """Return the learning rate of a module or parameter of this name as a fraction of the head's.

    The stages are those that a freeze depth counts.
    """
    first = name.partition(".")[0]
    stages = [number for number, stage in enumerate(FREEZE_STAGES) if first in stage]
    return config.layer_decay ** (len(FREEZE_STAGES) - stages[0]) if stages else 1.0


def make_schedule(optimizer: Optimizer, config: TrialConfig) -> LRScheduler:
    """Return cosine annealing by epochs, as the assignment had it, after a linear warm-up."""
    warmup = config.warmup_epochs
    if not warmup:
        return CosineAnnealingLR(optimizer, T_max=config.cosine_t_max)
    first = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    later = CosineAnnealingLR(optimizer, T_max=config.cosine_t_max)
    return SequentialLR(optimizer, [first, later], milestones=[warmup])


def step_schedule(schedule: LRScheduler) -> None:
    """Go on to the next epoch's learning rate."""
    with warnings.catch_warnings():
        # Of a training that was cut short after an epoch's last step, the optimiser has done no
        # step in this process; and of two schedules in sequence PyTorch's own is called with an
        # epoch, which it calls deprecated.
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
        warnings.filterwarnings("ignore", "The epoch parameter in")
        schedule.step()


def moments_of(optimizer: Optimizer) -> tuple[str, ...]:
    """Return the names of what an optimiser keeps of each parameter."""
    if not isinstance(optimizer, SGD):
        return ("exp_avg", "exp_avg_sq", "step")
    return ("momentum_buffer",) if optimizer.defaults["momentum"] else ()


def zero_moments(parameter: Tensor, optimizer: Optimizer) -> dict[str, Tensor]:
    """Return what the optimiser keeps of a parameter before its first step."""
    steps = torch.zeros((), dtype=torch.float32, device=parameter.device)
    return {
        name: steps if name == "step" else torch.zeros_like(parameter)
        for name in moments_of(optimizer)
    }


def decay_without_gradient(config: TrialConfig, epochs: int) -> Callable[[str], float]:
    """Return a function of a module's name.

    It returns what so many epochs make of a weight of 1 there that never gets a gradient, or of its
    average where the weights are averaged.
    """
    uniform = replace(config, layer_decay=1.0)

    @cache
    def decay(scale: float) -> float:
        return _decay(replace(uniform, learning_rate=config.learning_rate * scale), epochs)

    return lambda name: decay(rate_scale(name, config))


def _decay(config: TrialConfig, epochs: int) -> float:
    if not config.weight_decay:
        return 1.0
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.ones_(model.weight)
    average = make_average(model, config)
    optimizer = make_optimizer(model, config, average)
    schedule = make_schedule(optimizer, config)
    for _ in range(epochs):
        for _ in range(config.steps):
            model.weight.grad = torch.zeros_like(model.weight)
            optimizer.step()
        step_schedule(schedule)
    kept = model if average is None else average.model
    return next(kept.parameters()).item()
