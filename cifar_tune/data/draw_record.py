"""The base of records of random draws: tensors of N images, taken and moved together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class DrawRecord:
    """Tensors with one row for each image, or records of such; None where there are none."""

    def take(self, rows: slice | Tensor) -> Self:
        """Return the draws of some of the images; a tensor int64 names them one by one."""
        return self._map(lambda value: value[rows])

    def to(self, device: torch.device) -> Self:
        """Return the same draws on a device."""
        return self._map(lambda value: value.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that there are, by name."""
        tensors: dict[str, Tensor] = {}
        for name, value in vars(self).items():
            if isinstance(value, DrawRecord):
                tensors |= {f"{name}.{key}": part for key, part in value.tensors().items()}
            elif value is not None:
                tensors[name] = value
        return tensors

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        changed = {
            name: value._map(function) if isinstance(value, DrawRecord) else function(value)
            for name, value in vars(self).items()
            if value is not None
        }
        return replace(self, **changed)
