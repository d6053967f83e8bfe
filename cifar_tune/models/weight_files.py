"""Saves tensors atomically and loads the weights of a trial strictly."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cifar_tune.errors import CifarTuneError, WeightsError
from cifar_tune.files import replacing, sha256_of_file


def write_tensors(
    tensors: Mapping[str, Tensor],
    about: Mapping[str, Any],
    path: Path,
    error_type: type[CifarTuneError] = WeightsError,
) -> None:
    """Write tensors and what they are to a safetensors file, which appears whole or not at all.

    ``about`` is anything that JSON can say.

    Raises:
        CifarTuneError: The file cannot be written; of the type ``error_type``.
    """
    size = sum(value.nbytes for value in tensors.values())
    # One entry only: safetensors gives several no fixed order, and equal content must be equal
    # bytes.
    metadata = {"about": json.dumps(dict(about), sort_keys=True)}
    with replacing(path, size, error_type) as temporary:
        save_file(dict(tensors), temporary, metadata=metadata)


def save_model(model: nn.Module, path: Path) -> str:
    """Keep the weights of a trained model, in torchvision's names and shapes.

    Returns:
        The file's SHA-256, as hexadecimal.

    Raises:
        WeightsError: it cannot be written.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_tensors(state, {"made_by": "cifar-tune"}, path)
    return sha256_of_file(path)


def read_class_count(path: Path) -> int:
    """Return how many classes a file of kept weights tells apart.

    Raises:
        WeightsError: It is gone, or is no such file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            heads = sorted(name for name in file.keys() if re.fullmatch(r"fc\.(\d\.)?bias", name))  # noqa: SIM118
            return int(file.get_slice(heads[-1]).get_shape()[0])
    except OSError as error:
        reason = error.strerror or error
        raise WeightsError(f"{path}: kept weights cannot be read: {reason}") from error
    except (SafetensorError, IndexError) as error:
        raise WeightsError(f"{path}: is not a file of kept weights: {error}") from error


def load_model(model: nn.Module, path: Path, sha256: str) -> None:
    """Load kept weights into a model of the same configuration.

    ``sha256`` is that of the file, as it was recorded.

    Raises:
        WeightsError: The file is gone, is another one, or does not fit the model.
    """
    try:
        digest = sha256_of_file(path)
    except OSError as error:
        raise WeightsError(f"{path}: kept weights cannot be read: {error.strerror}") from error
    if digest != sha256:
        raise WeightsError(f"{path}: is not the file that was kept: its SHA-256 is {digest}")
    try:
        state = load_file(path)
        model.load_state_dict(state, strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path}: does not fit the trial's model: {reason}") from error
    for name, value in model.state_dict().items():
        if state[name].dtype != value.dtype or not value.isfinite().all():
            raise WeightsError(f"{path}: {name}: expected finite numbers of type {value.dtype}")
