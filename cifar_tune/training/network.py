"""The network of a trial as it is trained: what need not be computed, or not again, is left out.

The frozen part of a network is computed once an image where it is a fixed function of its input:
with ``frozen_batch_norm = "running"`` nothing in it changes while a trial trains. What it makes of
images that are not augmented is computed before the first step, kept in a file that trials and
re-runs share, and mapped into memory; augmented ones pass through it as they come.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from cifar_tune.config.trial import TrialConfig, digest_of
from cifar_tune.data.loader import DeviceSplit, normalised, place
from cifar_tune.data.search_data import Subset
from cifar_tune.errors import StorageError
from cifar_tune.files import check_regular
from cifar_tune.models.full_map_conv import replace_whole_map_convolutions, restore_convolutions
from cifar_tune.models.resnet import FREEZE_STAGES, computing_in, initialise_model
from cifar_tune.models.weight_files import write_tensors
from cifar_tune.training.device import describe_device
from cifar_tune.training.optimizer import decay_without_gradient

MOST_BYTES = 4_000_000_000
"""Of features in one folder, and of those of one split: where they are more, none are kept."""

_FORMAT = 1


class TrainingNetwork:
    """A network on its device, and the images in the form that it takes them.

    ``has_graph`` says whether its training step is captured as one graph.

    Attributes:
        model: what is trained; torchvision's network again after ``restore``.
    """

    def __init__(
        self,
        config: TrialConfig,
        classes: int,
        pretrained: Mapping[str, Tensor] | None,
        device: torch.device,
        *,
        has_graph: bool = False,
    ) -> None:
        self.model = initialise_model(config, classes, pretrained).to(device)
        self._config = config
        self._device = device
        self._augments = config.augments
        replace_whole_map_convolutions(self.model, config.input_size)
        # Of a step that is one graph, what augmented images pass through is a part.
        cuts = takes_features(config) and not (has_graph and self._augments)
        self._prefix = FrozenPrefix(self.model, config) if cuts else None

    def place_training(self, part: Subset, features: Path | None) -> DeviceSplit:
        """Bring the training images to the device.

        ``features`` is a folder for what the frozen part makes of them; None has none.
        """
        return self._place(part, features, augmented=self._augments)

    def place_validation(self, part: Subset, features: Path | None) -> DeviceSplit:
        """Bring the validation images to the device; likewise."""
        augmented = self._augments and self._config.augment_validation
        return self._place(part, features, augmented=augmented)

    def restore(self, epochs: int) -> nn.Module:
        """Put back what was left out, in torchvision's shapes, after so many trained epochs."""
        if self._prefix is not None:
            self._prefix.put_back()
        restore_convolutions(self.model, decay_without_gradient(self._config, epochs))
        return self.model

    def _place(self, part: Subset, features: Path | None, *, augmented: bool) -> DeviceSplit:
        split = place(part, self._config, self._device)
        if self._prefix is None:
            return split
        return self._prefix.replace_images(split, features, augmented=augmented)


class FrozenPrefix(nn.Module):
    """The frozen part of a network, taken out of it.

    The network is left with identities in its place, so it takes features for images and its state
    has no frozen tensors. ``put_back`` undoes it.
    """

    def __init__(self, model: nn.Module, config: TrialConfig) -> None:
        super().__init__()
        names = [name for stage in FREEZE_STAGES[: config.freeze_depth] for name in stage]
        self._model = (model,)  # in a tuple, so that it is no part of this one
        self._config = config
        self.parts = nn.ModuleDict({name: model.get_submodule(name) for name in names})
        self.eval()
        for name in names:
            model.set_submodule(name, nn.Identity())

    def put_back(self) -> None:
        """Make the network whole again."""
        (model,) = self._model
        for name, part in self.parts.items():
            model.set_submodule(name, part)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return the features float [B, C, H, W] of normalised images float32 [B, 3, S, S]."""
        with computing_in(self._config.precision, images.device):
            for part in self.parts.values():
                images = part(images)
        return images

    def replace_images(
        self, split: DeviceSplit, folder: Path | None, *, augmented: bool
    ) -> DeviceSplit:
        """Return the same split for the network that is left.

        Features are kept in ``folder``; None keeps them in memory alone. Images that are augmented
        are others in each epoch, and keep none.
        """
        through = replace(split, prefix=self)
        if augmented or self._count_bytes(split) > MOST_BYTES:
            return through
        # Their order in memory is that of channels-last images.
        features = self._open_features(split, folder).permute(0, 3, 1, 2)
        rows = torch.arange(len(split), device=split.rows.device)
        return replace(split, images=features, labels=split.labels[split.rows], rows=rows)

    def _count_bytes(self, split: DeviceSplit) -> int:
        first: Tensor = self(normalised(split, split.rows[:1], self._config.input_size))
        return first.nbytes * len(split)

    def _open_features(self, split: DeviceSplit, folder: Path | None) -> Tensor:
        """Return the features [N, H, W, C] of a split's images in the order of its rows."""
        if folder is None or split.rows.device.type != "cpu":
            return self._compute(split)
        path = folder / f"{self._digest(split)}.safetensors"
        features = _read(path)
        if features is None:
            features = self._compute(split)
            with suppress(StorageError):  # a disk without room costs time, no trial
                _keep(features, path)
        return features

    def _compute(self, split: DeviceSplit) -> Tensor:
        """Compute features in batches of the trial's size, so that they are rounded as in training.

        They are written into one tensor that is there from the start, for the reason that
        ``BatchTotals`` gives.
        """
        size = self._config.batch_size
        features: Tensor | None = None
        for start in range(0, len(split), size):
            wanted = torch.arange(start, start + size, device=split.rows.device) % len(split)
            images = normalised(split, split.rows[wanted], self._config.input_size)
            batch = self(images).permute(0, 2, 3, 1)
            if features is None:
                features = batch.new_empty(len(split), *batch.shape[1:])
            features[start : start + size] = batch[: len(split) - start]
        assert features is not None, "a split has at least one image"
        return features

    def _digest(self, split: DeviceSplit) -> str:
        """Return the SHA-256 of all that features follow from, rounding included."""
        config, content = self._config, hashlib.sha256()
        for name, value in self.state_dict().items():
            content.update(name.encode())
            content.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        content.update(np.ascontiguousarray(split.images[split.rows].numpy()).data)
        device = describe_device(split.rows.device)
        settings = (config.input_size, config.normalize_mean, config.normalize_std)
        rounding = (config.precision, config.batch_size, device, torch.__version__)
        return digest_of([_FORMAT, content.hexdigest(), settings, rounding])


def takes_features(config: TrialConfig) -> bool:
    """Return whether the frozen part of a trial's network is a fixed function of its input."""
    return config.freeze_depth > 0 and config.frozen_batch_norm == "running"


# --- files --------------------------------------------------------------------------------------


def _read(path: Path) -> Tensor | None:
    """Return kept features, mapped into memory; None where there are none, or they are damaged."""
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            features: Tensor = file.get_tensor("features")
            about = json.loads(file.metadata()["about"])
        os.utime(path)  # the newest use is what keeps it
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return features if about == {"sha256": _hash(features)} else None


def _keep(features: Tensor, path: Path) -> None:
    """Write features, and remove those that were not used for longest where they are too many."""
    write_tensors({"features": features}, {"sha256": _hash(features)}, path, StorageError)
    left = MOST_BYTES
    for size, other in _newest_first(path.parent):
        left -= size
        if left < 0:
            other.unlink(missing_ok=True)


def _newest_first(folder: Path) -> Iterator[tuple[int, Path]]:
    files = []
    for path in folder.glob("*.safetensors"):
        with suppress(OSError):  # another worker removed it
            about = path.stat()
            files.append((about.st_mtime, about.st_size, path))
    return ((size, path) for _, size, path in sorted(files, reverse=True))


def _hash(features: Tensor) -> str:
    return hashlib.sha256(features.reshape(-1).view(torch.uint8).numpy().data).hexdigest()
