"""Which pretrained weights are on this machine; loads no PyTorch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cifar_tune import paths

BUNDLED_NAME = "tiny-imagenet-32"
"""The name of the weights that come with the package."""


def missing_weights(names: Iterable[str], root: Path) -> list[str]:
    """Return those of the named weights that are not on this machine."""
    return sorted(
        name for name in set(names) - {BUNDLED_NAME} if not paths.weights_file(root, name).is_file()
    )
