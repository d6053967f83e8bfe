"""The gradient of sharpness-aware minimization (SAM, Foret et al. 2021).

It is that of the loss where it is about the highest within a radius of the weights: the first
gradient says in which direction that is, the second one is taken there. The second pass sees the
same batch and dropout masks, and leaves the running averages of batch norm as they are, as the
training loop of https://github.com/davda54/sam does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cifar_tune.models.resnet import find_dropouts

Result = TypeVar("Result")

_LEAST_NORM = 1e-12
"""Is added to the length of the gradient, which may be zero."""


def differentiate_uphill(
    model: nn.Module, radius: float, differentiate: Callable[[], Result]
) -> Result:
    """Leave the gradients of SAM in the parameters, and return what the first pass returned.

    ``differentiate`` computes the gradients where the parameters are. Nothing in it waits for the
    device.
    """
    masks = _generator_states(model)
    result = differentiate()
    moved = [value for value in model.parameters() if value.grad is not None]
    weights: list[Tensor] = [value.detach() for value in moved]
    gradients = [value.grad for value in moved if value.grad is not None]
    before = [value.clone() for value in weights]
    norm = torch.stack(torch._foreach_norm(gradients)).norm()
    uphill = torch._foreach_mul(gradients, radius / (norm + _LEAST_NORM))
    torch._foreach_add_(weights, list(uphill))
    for generator, state in masks:
        generator.set_state(state)
    with _still_averages(model):
        differentiate()
    torch._foreach_copy_(weights, before)
    return result


def _generator_states(model: nn.Module) -> list[tuple[torch.Generator, Tensor]]:
    """Return the generators of dropout masks, where these are not drawn beforehand, with states."""
    return [
        (layer.generator, layer.generator.get_state())
        for layer in find_dropouts(model).values()
        if layer.generator is not None and layer.noise is None
    ]


@contextmanager
def _still_averages(model: nn.Module) -> Iterator[None]:
    """Let batch norm keep its running averages while it normalises with those of the batch."""
    layers = [
        layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.training
    ]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
