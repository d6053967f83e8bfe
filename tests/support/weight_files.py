"""Files of weights, as tests import them."""

from __future__ import annotations

from pathlib import Path

import torch
from command_line import Cli
from safetensors.torch import save_file
from torch import Tensor

DATA = "no-data"
"""Folder of imported images and weights that the ``cli`` fixture sets."""


def refusal(cli: Cli, path: Path, *arguments: str) -> str:
    """The one line that an import is refused with; nothing is left of it."""
    answer = cli("weights", "import", str(path), *arguments)
    assert answer.code == 2, answer.out
    assert answer.out == ""
    assert len(answer.err.splitlines()) == 1, answer.err
    assert not list(Path(DATA).rglob("*.*"))
    return answer.err


def as_safetensors(state: dict[str, Tensor], path: Path) -> None:
    save_file(state, path)


def as_pth(state: dict[str, Tensor], path: Path) -> None:
    torch.save(state, path)
