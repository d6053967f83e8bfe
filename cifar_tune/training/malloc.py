"""Keeps the memory that a training step has freed for the next one."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of malloc.h
_NEVER = 2**31 - 1


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
        library.mallopt(_TRIM_THRESHOLD, _NEVER)
