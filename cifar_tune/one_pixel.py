"""Convolutions of which only one pixel comes out, trained as the matrix products that they are.

At 32 px the maps of ``layer4`` are one pixel: of its kernels only the taps that meet the map count,
a 2x2 and three 1x1 of 3x3. The others meet padding alone, get no gradient, and Adam without weight
decay leaves them as they are. So 6.95 of 11.18 million parameters need not be computed with, nor
kept by the optimiser. What comes out is the same up to rounding; ``restore`` gives the network back
in torchvision's shapes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class OnePixelConv(nn.Module):
    """A convolution to one pixel.

    Attributes:
        weight: float [out, rows · columns · in], the live taps.
    """

    def __init__(self, convolution: nn.Conv2d, height: int, width: int) -> None:
        super().__init__()
        self.full = (convolution,)  # in a tuple, so that it is no part of the network
        self.rows, self.taps_down = _overlap(convolution, height, 0)
        self.columns, self.taps_across = _overlap(convolution, width, 1)
        live = convolution.weight.detach()[:, :, self.taps_down, self.taps_across]
        trains = convolution.weight.requires_grad
        self.weight = nn.Parameter(live.permute(0, 2, 3, 1).flatten(1).contiguous(), trains)

    def forward(self, images: Tensor) -> Tensor:
        """Of [N, in, H, W], [N, out, 1, 1]."""
        met = images[:, :, self.rows, self.columns].permute(0, 2, 3, 1).flatten(1)
        return nn.functional.linear(met, self.weight)[:, :, None, None]

    def restore(self) -> nn.Conv2d:
        """The convolution, with the taps as they were trained."""
        (convolution,) = self.full
        live = convolution.weight.detach()[:, :, self.taps_down, self.taps_across]
        shape = (live.shape[0], live.shape[2], live.shape[3], live.shape[1])
        live.copy_(self.weight.detach().view(shape).permute(0, 3, 1, 2))
        return convolution.to(self.weight.device)


def _overlap(convolution: nn.Conv2d, size: int, axis: int) -> tuple[slice, slice]:
    """The pixels that the one place of the kernel meets, and the taps that meet them."""
    kernel, padding = convolution.kernel_size[axis], convolution.padding[axis]
    assert isinstance(padding, int), "a padding in words"
    met = min(kernel - padding, size)
    return slice(0, met), slice(padding, padding + met)


def replace_one_pixel_convolutions(model: nn.Module, input_size: int) -> None:
    """Let a network that gets images of this height and width compute no more than it has to."""
    for name, (height, width) in _one_pixel(model, input_size).items():
        convolution = model.get_submodule(name)
        assert isinstance(convolution, nn.Conv2d)
        model.set_submodule(name, OnePixelConv(convolution, height, width))


def restore_convolutions(model: nn.Module) -> None:
    """Undo ``replace_one_pixel_convolutions``, with what was trained meanwhile."""
    replaced = {name: one for name, one in model.named_modules() if isinstance(one, OnePixelConv)}
    for name, one in replaced.items():
        model.set_submodule(name, one.restore())


def _one_pixel(model: nn.Module, input_size: int) -> dict[str, tuple[int, int]]:
    """Names of convolutions to one pixel, with the height and width that they get."""
    found: dict[str, tuple[int, int]] = {}

    def look(name: str) -> Callable[..., None]:
        def hook(convolution: nn.Conv2d, given: tuple[Tensor, ...], made: Tensor) -> None:
            is_plain = convolution.groups == 1 and convolution.bias is None
            is_plain &= convolution.dilation == (1, 1) and convolution.padding_mode == "zeros"
            if is_plain and made.shape[2:] == (1, 1):
                found[name] = (given[0].shape[2], given[0].shape[3])

        return hook

    shadow: Any = copy.deepcopy(model).to("meta").eval()  # computes shapes alone
    for name, one in shadow.named_modules():
        if isinstance(one, nn.Conv2d):
            one.register_forward_hook(look(name))
    shadow(torch.empty(1, 3, input_size, input_size, device="meta"))
    return found
