"""The small backbone in the package: at 32 px only some taps of layer4 see more than padding.

A 32-px image reaches ``layer4`` as a 2x2 map, which its first convolution (3x3, stride 2, padding
1) turns into 1x1: of that kernel only the lower right 2x2 taps ever meet the map, of the three 3x3
kernels after it only the centre. The rest is zero in the bundled weights, and is left out of their
file: 8.5 MB instead of 22.4 MB.

``python -m cifar_tune.models.bundled_weights FILE`` proves that the bundled file is what FILE, the
full ``resnet18_tiny_imagenet_32.safetensors``, gives; with ``--write`` it writes it anew.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cifar_tune.errors import WeightsError
from cifar_tune.files import sha256_of_file
from cifar_tune.models.state_dict import COUNTER, HEAD, check_backbone, digest_of_tensors
from cifar_tune.models.stored_weights import BUNDLED_NAME

BUNDLED = Path(__file__).parent / "bundled" / f"{BUNDLED_NAME}.safetensors"
SOURCE_SHA256 = "1274dd67004e0df4a9d17413fc47e3abcafd5ae4df7a04b7a21dba37571c5cd1"
"""Of the full file, with dead taps and the classifier of 200 classes."""
SHA256 = "da09b440975d9d904dcd2ca74360c71dc967cfff9c7fb09cd8fa76e3c92a9f08"
"""``digest_of_tensors`` of what the bundled file unpacks to."""

LIVE_TAPS = {
    "layer4.0.conv1.weight": slice(1, 3),
    "layer4.0.conv2.weight": slice(1, 2),
    "layer4.1.conv1.weight": slice(1, 2),
    "layer4.1.conv2.weight": slice(1, 2),
}
"""Rows and columns of a 3x3 kernel that meet the map of a 32-px image."""


def pack(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the head, the counters and the dead taps.

    Raises:
        WeightsError: a dead tap is not zero, so that something would be lost.
    """
    packed = {}
    for name, value in state.items():
        if name.startswith(HEAD) or name.endswith(COUNTER):
            continue
        taps = LIVE_TAPS.get(name)
        live = value if taps is None else value[:, :, taps, taps]
        if live.count_nonzero() != value.count_nonzero():
            raise WeightsError(f"{name}: has values in taps that a 32-px image does not reach")
        packed[name] = live.contiguous()
    return packed


def unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put the dead taps back, as zeros: tensors of torchvision's shapes."""
    state = dict(packed)
    for name, taps in LIVE_TAPS.items():
        live = packed[name]
        full = torch.zeros(*live.shape[:2], 3, 3, dtype=live.dtype)
        full[:, :, taps, taps] = live
        state[name] = full
    return state


def read_bundled_weights(path: Path = BUNDLED) -> dict[str, Tensor]:
    """Read the backbone ``tiny-imagenet-32``: torchvision's tensors without the head, float32.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    try:
        state = check_backbone(unpack(load_file(path)), str(path))
    except (OSError, KeyError, ValueError, IndexError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"{path}: the bundled weights cannot be read: {error}") from error
    if digest_of_tensors(state) != SHA256:
        raise WeightsError(f"{path}: the bundled weights are damaged; install the package again")
    return state


def _read_full_file(path: Path) -> dict[str, Tensor]:
    if sha256_of_file(path) != SOURCE_SHA256:
        raise WeightsError(f"{path}: its SHA-256 is not {SOURCE_SHA256}")
    return load_file(path)


def main(arguments: list[str] | None = None) -> int:
    """Rebuild the bundled file from the full one and compare, or write it; 0 where they agree."""
    parser = argparse.ArgumentParser(prog="python -m cifar_tune.models.bundled_weights")
    parser.add_argument("file", type=Path, help="resnet18_tiny_imagenet_32.safetensors")
    parser.add_argument("--write", action="store_true", help="write the bundled file anew")
    options = parser.parse_args(arguments)
    try:
        packed = pack(_read_full_file(options.file))
        if options.write:
            save_file(packed, BUNDLED)
        digest = digest_of_tensors(check_backbone(unpack(packed), str(options.file)))
        agrees = digest == digest_of_tensors(read_bundled_weights())
    except OSError as error:
        print(f"error: {options.file}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 2
    except WeightsError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    print(f"{BUNDLED_NAME}: {'is' if agrees else 'IS NOT'} what the full file gives; {digest}")  # noqa: T201
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
