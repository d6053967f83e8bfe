"""Which device trains, with how many threads and what memory, and what a trial records of it."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from cifar_tune.errors import DeviceError
from cifar_tune.training.options import read_device

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of malloc.h
_TRIM_DEFAULT, _MMAP_DEFAULT = 128 * 1024, 65_536  # of glibc


def choose_device(wanted: str | None = None) -> torch.device:
    """Return the device asked for: ``cpu``, ``mps``, ``cuda`` or ``cuda:N``.

    None or ``auto`` chooses the best there is: CUDA, then Apple MPS, then the CPU.

    Raises:
        DeviceError: it is not a device's name, or there is none such here.
    """
    asked = read_device(wanted)
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if asked is None:
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    kind, index = asked
    if (kind == "cuda" and not cuda) or (kind == "mps" and not mps):
        raise DeviceError(f"--device {wanted}: PyTorch sees no {kind.upper()} device here")
    if index is not None and index >= torch.cuda.device_count():
        raise DeviceError(f"--device {wanted}: there are {torch.cuda.device_count()} CUDA devices")
    return torch.device(str(wanted))


def cuda_devices(device: torch.device) -> list[str]:
    """Return the CUDA devices that a run may use: the one asked for by its number, else all."""
    if device.index is not None:
        return [str(device)]
    return [f"cuda:{index}" for index in range(torch.cuda.device_count())]


def describe_device(device: torch.device) -> str:
    """Return a device in words, e.g. ``CPU (AMD EPYC, 2 threads)``."""
    if device.type == "cuda":
        return f"CUDA ({torch.cuda.get_device_name(device)})"
    if device.type == "mps":
        return f"Apple MPS ({platform.machine()})"
    return f"CPU ({_processor()}, {torch.get_num_threads()} threads)"


@cache
def keep_freed_memory() -> None:
    """Let this process hand no freed memory back to the system, from now on; glibc only.

    glibc maps large tensors one by one and hands them back at once, so that each step has the
    system clear the same thousands of pages again. Source: glibc manual, "Malloc Tunable
    Parameters".
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)  # never


def return_freed_memory() -> None:
    """Hand freed memory back to the system now and from now on; glibc only.

    It ends ``keep_freed_memory``: a program that only measured a few steps goes on with the memory
    that it needs.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_MAX, _MMAP_DEFAULT)
        library.mallopt(_TRIM_THRESHOLD, _TRIM_DEFAULT)
        library.malloc_trim(0)
        keep_freed_memory.cache_clear()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Set how many threads PyTorch has on the processor for a while; None leaves them."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
