"""The commands of ``cifar-tune weights``: which are here, and how others come in."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from cifar_tune import paths
from cifar_tune.cli.console import make_console, print_json

if TYPE_CHECKING:
    from cifar_tune.models.weights import Weights


def show_weights(data_dir: Path | None, *, as_json: bool) -> None:
    """Print which pretrained weights are here."""
    from cifar_tune.models.weights import weights_status

    root = paths.data_root(data_dir)
    found = weights_status(root)
    if as_json:
        rows = [{**dataclasses.asdict(one), "path": one.path and str(one.path)} for one in found]
        print_json({"folder": str(root), "weights": rows})
        return
    for one in found:
        if one.sha256 is None:
            state = f"not in {root}; `cifar-tune weights fetch` downloads them"
        else:
            state = f"SHA-256 {one.sha256}" + (f"; {one.path}" if one.path is not None else "")
        make_console().print(f"{one.name}: {one.source}; {state}", soft_wrap=True)


def import_weights(path: Path, name: str | None, data_dir: Path | None) -> None:
    """Import a state dict of ResNet-18 and print what it is called."""
    from cifar_tune.models import weights as registry

    _print_weights(registry.import_weights(path, name, paths.data_root(data_dir)))


def fetch_weights(data_dir: Path | None) -> None:
    """Download torchvision's ImageNet weights and print what they are called."""
    from cifar_tune.models import weights as registry

    _print_weights(registry.fetch_weights(paths.data_root(data_dir)))


def _print_weights(weights: Weights) -> None:
    text = f"{weights.name}: {weights.source}; every tensor in place; SHA-256 {weights.sha256}"
    make_console().print(text, soft_wrap=True)
    make_console().print(f'study files name them with weights = "{weights.name}"')
