"""Pretrained weights by name: where they are, how they come in, and their digests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from cifar_tune import paths
from cifar_tune.data.download import download
from cifar_tune.errors import WeightsError
from cifar_tune.files import check_regular, sha256_of_file
from cifar_tune.models.bundled_weights import SHA256 as BUNDLED_SHA256
from cifar_tune.models.bundled_weights import read_bundled_weights
from cifar_tune.models.state_dict import check_backbone, digest_of_tensors, read_state_dict
from cifar_tune.models.stored_weights import BUNDLED_NAME
from cifar_tune.models.weight_files import write_tensors
from cifar_tune.wording import printable

IMAGENET = "imagenet"
IMAGENET_URL = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
IMAGENET_SHA256 = "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec"
IMAGENET_BYTES = 46_830_571
"""torchvision's ``ResNet18_Weights.IMAGENET1K_V1``, the file as published."""

NAME_PATTERN = r"[a-z0-9][a-z0-9-]*"


@dataclass(frozen=True)
class Weights:
    """Pretrained weights of a backbone.

    Attributes:
        name: that study files call them by.
        sha256: ``digest_of_tensors`` of the tensors.
        source: what they are or which file they came from, with its SHA-256, in words.
        tensors: torchvision's ResNet-18 without its head, float32 on the CPU.
    """

    name: str
    sha256: str
    source: str
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class WeightsStatus:
    """Whether weights of a name are here; ``sha256`` is None where they are not."""

    name: str
    source: str
    sha256: str | None
    path: Path | None


def load_weights(names: Iterable[str], root: Path) -> dict[str, Weights]:
    """Load pretrained weights by name.

    ``root`` is the folder of imported images and weights.

    Raises:
        WeightsError: Some are missing or damaged.
    """
    return {name: _load(name, root) for name in sorted(set(names))}


def import_weights(path: Path, name: str | None, root: Path) -> Weights:
    """Check a state dict of torchvision's ResNet-18 and keep its backbone under a name.

    The file is safetensors or of ``torch.save``, as ``read_state_dict`` takes it. Without a name it
    is called ``imagenet`` if it has torchvision's ImageNet weights, recognised by digest, else as
    the file.

    Raises:
        WeightsError: the file or the name will not do, or the copy cannot be written.
    """
    try:
        digest = sha256_of_file(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
    if name is None:
        stem = re.sub(r"[^a-z0-9]+", "-", path.name.split(".")[0].lower()).strip("-")
        name = IMAGENET if digest == IMAGENET_SHA256 else stem or "weights"
    if name == IMAGENET and digest != IMAGENET_SHA256:
        raise WeightsError(
            f"{path}: is not torchvision's ImageNet file, whose SHA-256 is {IMAGENET_SHA256}; "
            f"this one's is {digest}: import it under another --name"
        )
    if name in ("none", BUNDLED_NAME):
        raise WeightsError(f"--name {name}: has a meaning of its own; expected another name")
    if not re.fullmatch(NAME_PATTERN, name):
        raise WeightsError(f"--name {name}: expected lower-case letters, digits and hyphens")
    tensors, taken_off = read_state_dict(path)
    part = f" ({taken_off} taken off)" if taken_off else ""
    source = f"{printable(path.name)}{part}, SHA-256 {digest}"
    weights = Weights(name, digest_of_tensors(tensors), source, tensors)
    about = {"name": name, "sha256": weights.sha256, "source": weights.source}
    write_tensors(tensors, about, paths.weights_file(root, name))
    return weights


def fetch_weights(root: Path) -> Weights:
    """Download torchvision's ImageNet weights and import them.

    Raises:
        WeightsError: there is no network, or what came is not the file with the pinned digest.
    """
    command = paths.data_command(root, "weights import PATH")
    way_round = f"without network, {command} takes a copy from the disk"
    with download(
        IMAGENET_URL, IMAGENET_SHA256, IMAGENET_BYTES, root, WeightsError, way_round
    ) as path:
        return import_weights(path, IMAGENET, root)


def weights_status(root: Path) -> list[WeightsStatus]:
    """Describe all weights that are here or could be, the package's first."""
    statuses = [
        WeightsStatus(
            BUNDLED_NAME,
            "in the package: ResNet-18 trained on Tiny ImageNet at 32 px",
            BUNDLED_SHA256,
            None,
        )
    ]
    imported = sorted(paths.weights_file(root, "any").parent.glob("*.safetensors"))
    for path in imported:
        about = _read_about(path)
        statuses.append(WeightsStatus(path.stem, about["source"], about["sha256"], path))
    if paths.weights_file(root, IMAGENET) not in imported:
        source = "torchvision's ResNet18_Weights.IMAGENET1K_V1"
        statuses.append(WeightsStatus(IMAGENET, source, None, None))
    return statuses


def _load(name: str, root: Path) -> Weights:
    if name == BUNDLED_NAME:
        source = "Tiny ImageNet at 32 px, in the package"
        return Weights(name, BUNDLED_SHA256, source, read_bundled_weights())
    path = paths.weights_file(root, name)
    if not path.is_file():
        raise WeightsError(f"{path}: {_absence(name, root)}")
    about = _read_about(path)
    try:
        tensors = check_backbone(load_file(path), str(path))
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: cannot be read: {error}; import it again") from error
    if digest_of_tensors(tensors) != about["sha256"] or about["name"] != name:
        raise WeightsError(f"{path}: is not what was imported as {name}; import it again")
    return Weights(name, about["sha256"], about["source"], tensors)


def _absence(name: str, root: Path) -> str:
    if name == IMAGENET:
        return (
            "is missing, so ImageNet weights are not on this machine; get them with "
            f"{paths.data_command(root, 'weights fetch')}, import resnet18-f37072fd.pth with "
            f"{paths.data_command(root, 'weights import PATH')}, or "
            f"use --profile quick; the bundled {BUNDLED_NAME} never stand in for them unless "
            f"asked for with --set weights={BUNDLED_NAME}"
        )
    return (
        f"is missing, so there are no weights called {name}; import them with "
        f"{paths.data_command(root, f'weights import PATH --name {name}')}, or see "
        f"{paths.data_command(root, 'weights status')}"
    )


def _read_about(path: Path) -> dict[str, str]:
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            about: dict[str, str] = json.loads((file.metadata() or {})["about"])
            return {key: str(about[key]) for key in ("name", "sha256", "source")}
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path}: is damaged or was not written by cifar-tune: {error}; import it again"
        ) from error
