"""Reads what names a device or a precision. It loads no PyTorch: a wrong name is told at once."""

from __future__ import annotations

import re
from typing import get_args

from cifar_tune.config.trial import Precision
from cifar_tune.errors import DeviceError, InputError


def read_device(asked: str | None) -> tuple[str, int | None] | None:
    """Return the kind of device and its index that ``--device`` names; None for ``auto``.

    Raises:
        DeviceError: It is not a device's name.
    """
    if asked in (None, "auto"):
        return None
    match = re.fullmatch(r"(cpu|mps|cuda)|cuda:(\d+)", asked, re.ASCII)
    if match is None:
        raise DeviceError(f"--device {asked}: expected auto, cpu, mps, cuda or cuda:N")
    kind, index = match.groups()
    return (kind, None) if index is None else ("cuda", int(index))


def read_precision(asked: str | None) -> Precision | None:
    """Return the precision that ``--precision`` names; None for ``auto``.

    Raises:
        InputError: It is none of the three.
    """
    known: dict[str | None, Precision | None] = {None: None, "auto": None}
    known |= {name: name for name in get_args(Precision)}
    if asked not in known:
        raise InputError(f"--precision {asked}: expected auto, fp32 or bf16")
    return known[asked]
