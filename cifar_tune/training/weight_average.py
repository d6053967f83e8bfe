"""The exponential moving average of a network's weights, evaluated and kept in their place.

After each step of the optimiser the average moves towards the weights by one minus the decay. With
n updates before it the decay is at most n / (n + 9), so that the first update copies the weights
and the initial ones are soon forgotten: TensorFlow's ``ExponentialMovingAverage`` with
``num_updates``. Batch norm's running averages are averaged with the weights, and whole numbers
copied, as ``torch.optim.swa_utils.AveragedModel`` does with ``use_buffers`` and timm's
``ModelEmaV3`` does.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cifar_tune.config.trial import TrialConfig

DELAY = 9
"""With n updates before it the decay of an update is at most n / (n + DELAY)."""


class WeightAverage(nn.Module):
    """The average of what a network has after each step of its optimiser.

    All numbers that an update needs are on the device, so that it can be a part of a graph.

    Attributes:
        model: A copy of the network that has the averages, in evaluation mode. Frozen parameters
            are the network's own values.
        updates: Float [], how many there were.
        decay: Float [], the largest decay.
    """

    updates: Tensor
    decay: Tensor

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self._source = (model,)  # in a tuple, so that it is no part of this one
        self.model = copy.deepcopy(model).eval()
        device = next(model.parameters()).device
        exact = torch.float64 if device.type == "cpu" else torch.float32
        self.register_buffer("updates", torch.zeros((), dtype=exact, device=device))
        self.register_buffer(
            "decay", torch.tensor(decay, dtype=exact, device=device), persistent=False
        )
        self._sources: list[Tensor] = []
        self._averages: list[Tensor] = []
        self._counts: list[tuple[Tensor, Tensor]] = []
        weights = zip(model.parameters(), self.model.parameters(), strict=True)
        for trained, average in weights:
            if trained.requires_grad:
                self._sources.append(trained.detach())
                self._averages.append(average.detach())
        for buffer, kept in zip(model.buffers(), self.model.buffers(), strict=True):
            if buffer.is_floating_point():
                self._sources.append(buffer)
                self._averages.append(kept)
            else:
                self._counts.append((kept, buffer))

    def follow(self, optimizer: Optimizer) -> None:
        """Update the average after each step of an optimiser of the network."""
        optimizer.register_step_post_hook(lambda *_: self.update())

    @torch.no_grad()
    def update(self) -> None:
        """Move the averages towards what the network has now."""
        decay = torch.minimum(self.decay, self.updates / (self.updates + DELAY))
        share = [1 - decay] * len(self._averages)
        torch._foreach_lerp_(self._averages, self._sources, share)
        for average, source in self._counts:
            average.copy_(source)
        self.updates.add_(1)

    def begin(self, decay: float) -> None:
        """Begin anew with what the network has now."""
        (model,) = self._source
        self.model.load_state_dict(model.state_dict())
        self.updates.zero_()
        self.decay.fill_(decay)


def make_average(model: nn.Module, config: TrialConfig) -> WeightAverage | None:
    """Return the average of a network that is to be trained; None where the trial has none."""
    return WeightAverage(model, config.ema_decay) if config.ema_decay else None
