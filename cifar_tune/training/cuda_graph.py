"""A computation on the device that is recorded once and then replayed with one call.

``CudaGraph`` is torch's. ``FunctionGraph`` is its twin for any device: it runs the function again,
and minds what a CUDA graph would stumble over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

Compute = Callable[[], None]
"""Reads and writes tensors that stay where they are."""

Statics = Callable[[], Mapping[str, Tensor]]
"""Gives those tensors, by name."""


class Graph(Protocol):
    """Something that records a computation: warmed up a few times, captured once, replayed."""

    def warm_up(self, compute: Compute) -> None:
        """Compute once, so that all is set up that the first time needs."""

    def capture(self, compute: Compute, statics: Statics) -> None:
        """Record the computation. Whether it is done too is left open."""

    def replay(self) -> None:
        """Do the computation that was recorded, with what is in its tensors now."""


_CAPTURING = threading.Lock()
"""One thread at a time has the stream of captures: what another one did there would be recorded
too, and a capture begins with waiting for the device, which would spoil one that goes on."""


@cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the one stream of all captures: torch has 32 to give, and then gives them again."""
    return torch.cuda.Stream(device)


class CudaGraph:
    """A CUDA graph with a pool of memory of its own.

    It is replayed on the stream that is current then.

    Args:
        device: With its index.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._graph = torch.cuda.CUDAGraph()
        self._stream = _capture_stream(device)
        self._kept: Mapping[str, Tensor] = {}

    def warm_up(self, compute: Compute) -> None:
        """See ``Graph``; beside the current stream, as a capture does it."""
        current = torch.cuda.current_stream(self._device)
        with _CAPTURING:
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                compute()
            current.wait_stream(self._stream)

    def capture(self, compute: Compute, statics: Statics) -> None:
        """See ``Graph``. Other threads may use the device meanwhile, each on its own stream."""
        recording = torch.cuda.graph(
            self._graph, stream=self._stream, capture_error_mode="thread_local"
        )
        try:
            with _CAPTURING, recording:
                compute()
        except RuntimeError as error:
            # What went wrong within says more than that the capture could not be ended then.
            if isinstance(error.__context__, torch.OutOfMemoryError):
                raise error.__context__ from None
            raise
        self._kept = statics()  # the kernels write to where these are

    def replay(self) -> None:
        """See ``Graph``; returns before it is done."""
        self._graph.replay()


class FunctionGraph:
    """The twin: replaying runs the function again."""

    def __init__(self) -> None:
        self._compute: Compute | None = None
        self._statics: Statics = dict
        self._places: dict[str, int] = {}

    def warm_up(self, compute: Compute) -> None:
        """See ``Graph``."""
        compute()

    def capture(self, compute: Compute, statics: Statics) -> None:
        """See ``Graph``; the computation is done too.

        Raises:
            RuntimeError: it hands a value to the host, which a recorded one cannot.
        """
        kernels = _NoValuesInKernels()  # type: ignore[no-untyped-call]
        with _NoValuesInPython(), kernels:
            compute()
        self._compute, self._statics = compute, statics
        self._places = {name: value.data_ptr() for name, value in statics().items()}

    def replay(self) -> None:
        """See ``Graph``.

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
