"""The twin of ``training.cuda_graph.CudaGraph`` for any device.

It runs the function again, and minds what a CUDA graph would stumble over.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from cifar_tune.training.cuda_graph import Compute, Statics


class FunctionGraph:
    """Replaying runs the function again."""

    def __init__(self) -> None:
        self._compute: Compute | None = None
        self._statics: Statics = dict
        self._places: dict[str, int] = {}

    def warm_up(self, compute: Compute) -> None:
        """See ``CudaGraph``."""
        compute()

    def capture(self, compute: Compute, statics: Statics) -> None:
        """See ``CudaGraph``; the computation is done too.

        Raises:
            RuntimeError: it hands a value to the host, which a recorded one cannot.
        """
        kernels = _NoValuesInKernels()
        with _NoValuesInPython(), kernels:
            compute()
        self._compute, self._statics = compute, statics
        self._places = {name: value.data_ptr() for name, value in statics().items()}

    def replay(self) -> None:
        """See ``CudaGraph``.

        Raises:
            RuntimeError: nothing was captured, or a tensor is not where it was then.
        """
        if self._compute is None:
            raise RuntimeError("replayed before it was captured")
        places = {name: value.data_ptr() for name, value in self._statics().items()}
        moved = {name for name, _ in self._places.items() ^ places.items()}
        if moved:
            raise RuntimeError(f"not where it was when it was captured: {', '.join(sorted(moved))}")
        self._compute()


_TO_HOST = {"cpu", "item", "tolist", "numpy", "nonzero", "__bool__", "__float__", "__int__"}
_TO_HOST |= {"__index__", "__array__", "masked_select", "unique"}


class _NoValuesInPython(TorchFunctionMode):
    """Refuses calls in Python that wait for the device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _TO_HOST:
            raise RuntimeError(f"{func.__name__}: hands a value to the host")
        return func(*args, **(kwargs or {}))


class _NoValuesInKernels(TorchDispatchMode):
    """Refuses operations that wait for the device, also where others are made of them."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        picks = name in ("index", "index_put_", "_index_put_impl_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if picks or name in ("_local_scalar_dense", "nonzero", "masked_select", "_unique2"):
            raise RuntimeError(f"{name}: hands a value to the host")
        return func(*args, **(kwargs or {}))
