"""Reads the state dict of a ResNet-18 strictly: every tensor there, none too many, all finite."""

from __future__ import annotations

import hashlib
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import resnet18

from cifar_tune.errors import WeightsError
from cifar_tune.files import check_regular, open_regular
from cifar_tune.models.wrapped_states import unwrap_state
from cifar_tune.wording import printable

HEAD = "fc."
"""Prefix of the classifier's tensors: they are not kept, since a trial has a head of its own."""
COUNTER = "num_batches_tracked"
"""Batch norm's counters, which files from before PyTorch 0.4.1 do not have and nothing uses."""
_SHOWN = 6
_PICKLES = (b"PK\x03\x04", b"\x80")
"""How files of ``torch.save`` begin: zip archives, and pickles before PyTorch 1.6."""


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read a backbone from a file: safetensors, or what ``torch.save`` wrote, whatever its ending.

    Nothing in the file is executed: it is read with ``weights_only=True``. A checkpoint may have
    the state dict in one of its entries, and a prefix before its names.

    Returns:
        The tensors of torchvision's ResNet-18 without its head, float32 on the CPU, and in words
        which entry and prefix were taken off, if any.

    Raises:
        WeightsError: the file cannot be read or is not such a state dict.
    """
    try:
        check_regular(path)
        if _is_safetensors(path):
            content: object = load_file(path)
        else:
            _check_unpacked_size(path)
            with open_regular(path) as file, warnings.catch_warnings(action="ignore"):
                # Given a path, it goes by its ending.
                content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: there is no such file") from error
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise WeightsError(f"{path}: is not a whole safetensors file: {error}") from error
    except Exception as error:  # torch names no type for a damaged file; pickle's is not imported
        raise WeightsError(f"{path}: {_refusal(error)}") from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, expected a state dict")
    state, taken_off = unwrap_state(content, frozenset(_backbone()), str(path))
    return check_backbone(state, str(path)), taken_off


def _is_safetensors(path: Path) -> bool:
    """Return whether a file is safetensors by its content, or by its name where that is neither."""
    with open_regular(path) as file:
        head = file.read(9)
    if head.startswith(_PICKLES):
        return False
    return head[8:] == b"{" or path.suffix.lower() == ".safetensors"


def _check_unpacked_size(path: Path) -> None:
    """Check what a ``.pth`` file unpacks to: ``torch.save`` packs nothing, so that is its size.

    Raises:
        WeightsError: It unpacks to far more.
    """
    if not zipfile.is_zipfile(path):
        return  # as torch.save wrote them before PyTorch 1.6
    with zipfile.ZipFile(path) as archive:
        held = sum(member.file_size for member in archive.infolist())
    if held > 2 * path.stat().st_size:  # TorchScript, which is refused below, packs its code
        raise WeightsError(
            f"{path}: refused: it unpacks to {held:,} bytes; expected no more than the "
            f"{path.stat().st_size:,} that it has, as torch.save writes it"
        )


def _refusal(error: Exception) -> str:
    is_unpickled = type(error).__name__ == "UnpicklingError" and "weights_only" in str(error)
    if is_unpickled or "TorchScript" in str(error):
        what = "a TorchScript program"
        if is_unpickled:
            named = re.search(r"GLOBAL (\S+)", str(error))
            what = "Python objects or code besides tensors" + (f" ({named[1]})" if named else "")
        return (
            f"holds {what}, which is not read; expected a state dict as "
            "torch.save(model.state_dict(), …) writes it, or safetensors"
        )
    reason = f": {str(error).splitlines()[0][:160]}" if str(error) else ""
    return f"is not a whole file of torch.save{reason}"


def _backbone() -> dict[str, Tensor]:
    """Return tensors like those of torchvision's ResNet-18 without its head, on no device."""
    with torch.device("meta"):
        expected = resnet18(weights=None).state_dict()
    return {name: value for name, value in expected.items() if not name.startswith(HEAD)}


def check_backbone(content: Mapping[Any, Any], where: str) -> dict[str, Tensor]:
    """Check a state dict against torchvision's ResNet-18, apart from the head.

    ``where`` is what an error calls it.

    Returns:
        The backbone's tensors in torchvision's order, float32; counters of batch norm at zero
        where the state dict has none.

    Raises:
        WeightsError: tensors are missing, too many, wrongly shaped or not finite; all are named.
    """
    backbone = _backbone()
    faults = list(_faults(content, backbone))
    if faults:
        raise WeightsError(
            f"{where}: is not a state dict of torchvision's ResNet-18: " + "; ".join(faults)
        )
    return {
        name: torch.zeros((), dtype=torch.int64)
        if name.endswith(COUNTER)
        else content[name].detach().to(torch.float32, copy=True).contiguous()
        for name in backbone
    }


def _faults(content: Mapping[Any, Any], backbone: Mapping[str, Tensor]) -> list[str]:
    missing = [name for name in backbone if name not in content and not name.endswith(COUNTER)]
    others = [str(name) for name in content if name not in backbone]
    extra = [name for name in others if not name.startswith(HEAD)]
    shapes, values = [], []
    for name, like in backbone.items():
        value = content.get(name)
        if value is None or name.endswith(COUNTER):
            continue
        if not isinstance(value, Tensor):
            values.append(f"{name} is a {type(value).__name__}")
        elif value.layout != torch.strided or value.is_meta or value.is_quantized:
            values.append(f"{name} is not dense")
        elif value.shape != like.shape:
            shapes.append(f"{name} {list(value.shape)} instead of {list(like.shape)}")
        elif not value.is_floating_point():
            values.append(f"{name} is {value.dtype}")
        elif not value.to(torch.float32).isfinite().all():
            values.append(f"{name} is not finite as float32")
    kinds = {
        "missing": missing,
        "not known": extra,
        "wrongly shaped": shapes,
        "not numbers as expected": values,
    }
    return [f"{len(names)} {kind}: {_listed(names)}" for kind, names in kinds.items() if names]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(printable, names[:_SHOWN])) + more


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors, whatever file they came from, as hexadecimal.

    Over each tensor in the order of names: its name, its shape and its values as little-endian
    float32; batch norm's counters are left out.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if not name.endswith(COUNTER):
            value = tensors[name].detach().to("cpu", torch.float32).contiguous()
            digest.update(f"{name}{list(value.shape)}".encode())
            digest.update(value.numpy().astype("<f4", copy=False).tobytes())
    return digest.hexdigest()
