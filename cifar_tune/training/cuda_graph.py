"""A computation on the device that is recorded once and then replayed with one call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor

Compute = Callable[[], None]
"""Reads and writes tensors that stay where they are."""

Statics = Callable[[], Mapping[str, Tensor]]
"""Gives those tensors, by name."""


_CAPTURING = threading.Lock()
"""One thread at a time has the stream of captures: what another one did there would be recorded
too, and a capture begins with waiting for the device, which would spoil one that goes on."""


@cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the one stream of all captures: torch has 32 to give, and then gives them again."""
    return torch.cuda.Stream(device)


class CudaGraph:
    """A CUDA graph with a pool of memory of its own: warmed up, captured once, then replayed.

    It is replayed on the stream that is current then. The device has its index.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._graph = torch.cuda.CUDAGraph()
        self._stream = _capture_stream(device)
        self._kept: Mapping[str, Tensor] = {}

    def warm_up(self, compute: Compute) -> None:
        """Compute once beside the current stream, as a capture does, to set up what that needs."""
        current = torch.cuda.current_stream(self._device)
        with _CAPTURING:
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                compute()
            current.wait_stream(self._stream)

    def capture(self, compute: Compute, statics: Statics) -> None:
        """Record the computation; whether it is done too is left open.

        Other threads may use the device meanwhile, each on its own stream.
        """
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
        """Begin the computation that was recorded, with what is in its tensors now."""
        self._graph.replay()
