"""Convolutions of which every pixel sees the whole map, trained as the matrix products they are.

At 32 px the maps of ``layer3`` are 2x2 and those of ``layer4`` are one pixel, less than the kernels
reach. Of layer4's kernels only the taps that meet the map count, a 2x2 and three 1x1 of 3x3. The
others meet padding alone and get no gradient: an optimiser leaves them as they are, or shrinks them
all alike where it has a weight decay.
So 6.95 of 11.18 million parameters need not be computed with, nor kept by the optimiser. On a 2x2
map all taps count, each for some pixels; put in their places they make one matrix from map to map,
with less than half the multiplications that a convolution's padding costs.

What comes out is the same up to rounding; ``restore_convolutions`` gives the network back in
torchvision's shapes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Axis:
    """What a kernel meets along one axis, where each place of it meets the same pixels.

    Attributes:
        pixels: of the map, that are met.
        taps: of the kernel, that meet one of them at some place.
        starts: for each place, the first of these taps that meets the map.
    """

    pixels: slice
    taps: slice
    starts: tuple[int, ...]

    @property
    def met(self) -> int:
        """How many pixels are met."""
        return int(self.pixels.stop - self.pixels.start)


def look_along(size: int, places: int, kernel: int, stride: int, padding: int) -> Axis | None:
    """Return the axis of a map of so many pixels; None if not every place meets the same ones."""
    begins = [place * stride - padding for place in range(places)]
    met = {(max(begin, 0), min(begin + kernel, size)) for begin in begins}
    if len(met) > 1:
        return None
    ((first, last),) = met
    lowest = first - max(begins)
    taps = slice(lowest, last - min(begins))
    return Axis(slice(first, last), taps, tuple(first - begin - lowest for begin in begins))


class WholeMapConv(nn.Module):
    """A convolution of which every pixel sees the same part of the map.

    Attributes:
        weight: float [out, rows of live taps, columns of live taps, in].
    """

    def __init__(self, convolution: nn.Conv2d, down: Axis, across: Axis) -> None:
        super().__init__()
        self.full = (convolution,)  # in a tuple, so that it is no part of the network
        self.down, self.across = down, across
        live = convolution.weight.detach()[:, :, down.taps, across.taps]
        trains = convolution.weight.requires_grad
        self.weight = nn.Parameter(live.permute(0, 2, 3, 1).contiguous(), trains)

    def forward(self, images: Tensor) -> Tensor:
        """Return [N, out, height, width] of images [N, in, H, W]."""
        met = images[:, :, self.down.pixels, self.across.pixels].permute(0, 2, 3, 1).flatten(1)
        shape = (-1, len(self.down.starts), len(self.across.starts), self.weight.shape[0])
        matrix: Tensor = _PlaceTaps.apply(self.weight, self.down, self.across)
        return nn.functional.linear(met, matrix).view(shape).permute(0, 3, 1, 2)

    def restore(self, decay: float) -> nn.Conv2d:
        """Return the convolution with its taps as trained, and those that are not here decayed."""
        (convolution,) = self.full
        if self.weight.requires_grad:
            convolution.weight.detach().mul_(decay)
        live = convolution.weight.detach()[:, :, self.down.taps, self.across.taps]
        live.copy_(self.weight.detach().permute(0, 3, 1, 2))
        return convolution.to(self.weight.device)


class _PlaceTaps(torch.autograd.Function):
    """Put taps in their places: [height · width · out, pixels that are met · in].

    Under autocast the matrix is made in its precision at once; gradients are summed up in that of
    the taps.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, down: Axis, across: Axis) -> Tensor:
        ctx.axes, ctx.shape = (down, across), weight.shape
        kind = weight.device.type
        casts = torch.is_autocast_enabled(kind)
        ctx.dtype, dtype = weight.dtype, torch.get_autocast_dtype(kind) if casts else weight.dtype
        places = (len(down.starts), len(across.starts))
        if places == (1, 1):
            return weight.flatten(1).to(dtype)
        size = (*places, weight.shape[0], down.met, across.met, weight.shape[3])
        matrix = torch.empty(size, dtype=dtype, device=weight.device)
        for row, column, part in _parts(weight, down, across):
            matrix[row, column] = part
        return matrix.view(places[0] * places[1] * weight.shape[0], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        down, across = ctx.axes
        if len(down.starts) * len(across.starts) == 1:
            return gradient.to(ctx.dtype).view(ctx.shape), None, None
        summed = torch.zeros(ctx.shape, dtype=ctx.dtype, device=gradient.device)
        size = (len(down.starts), len(across.starts), ctx.shape[0], down.met, across.met, -1)
        placed = gradient.view(size)
        for row, column, part in _parts(summed, down, across):
            part.add_(placed[row, column])
        return summed, None, None


def _parts(weight: Tensor, down: Axis, across: Axis) -> Iterator[tuple[int, int, Tensor]]:
    """Yield for each pixel that comes out the taps that meet the map, [out, rows, columns, in]."""
    for row, top in enumerate(down.starts):
        for column, left in enumerate(across.starts):
            yield row, column, weight[:, top : top + down.met, left : left + across.met]


def replace_whole_map_convolutions(model: nn.Module, input_size: int) -> None:
    """Let a network that gets images of this height and width compute no more than it has to.

    Its convolutions have one group, no dilation and no bias, as ResNet's have.
    """
    for name, (down, across) in _find(model, input_size).items():
        convolution = model.get_submodule(name)
        assert isinstance(convolution, nn.Conv2d)
        model.set_submodule(name, WholeMapConv(convolution, down, across))


def restore_convolutions(
    model: nn.Module, decay: Callable[[str], float] = lambda _name: 1.0
) -> None:
    """Undo ``replace_whole_map_convolutions``, with what was trained meanwhile.

    ``decay`` returns, by the name of a convolution, what weight decay has made of a weight of 1
    there that never had a gradient.
    """
    replaced = {
        name: module for name, module in model.named_modules() if isinstance(module, WholeMapConv)
    }
    for name, module in replaced.items():
        model.set_submodule(name, module.restore(decay(name)))


def _find(model: nn.Module, input_size: int) -> dict[str, tuple[Axis, Axis]]:
    """Return the names of convolutions that can be replaced, with what their kernels meet."""
    axes_by_name: dict[str, tuple[Axis, Axis]] = {}

    def look(name: str, convolution: nn.Conv2d, images: Tensor, output: Tensor) -> None:
        sizes = images.shape[2:], output.shape[2:], convolution.kernel_size, convolution.stride
        padding: Any = convolution.padding  # torchvision's are numbers
        down, across = (look_along(*axis) for axis in zip(*sizes, padding, strict=True))
        if down is not None and across is not None:
            axes_by_name[name] = (down, across)

    shadow: Any = copy.deepcopy(model).to("meta").eval()  # computes shapes alone
    for name, module in shadow.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda convolution, images, output, name=name: look(
                    name, convolution, images[0], output
                )
            )
    shadow(torch.empty(1, 3, input_size, input_size, device="meta"))
    return axes_by_name
