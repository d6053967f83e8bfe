"""The images that a search may see: training and validation. The test split is not among them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cifar_tune import paths
from cifar_tune.config.seeds import derive_seed
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.bundle import read_bundled
from cifar_tune.data.cifar10 import CLASSES, FULL_SET, LabelledImages, UInt8Array, digest_splits
from cifar_tune.data.image_set import ImageSet, open_image_set
from cifar_tune.errors import DataError

BUNDLED = "bundled"
"""The name of the images that come with the package."""
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Subset:
    """Some rows (int64 [M]) of labelled images, which are not copied."""

    pool: LabelledImages
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def copy(self) -> LabelledImages:
        """Return the images of the rows, in their order."""
        return self.pool.take(self.rows)


@dataclass(frozen=True)
class Split:
    """The images of one trial."""

    train: Subset
    validation: Subset

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the training rows and of the validation rows, as little-endian int64."""
        digest = hashlib.sha256()
        for part in (self.train, self.validation):
            digest.update(part.rows.astype("<i8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class SearchData:
    """What the trials of a study draw their splits from; it holds no test image.

    Attributes:
        name: ``bundled``, ``cifar10`` or an imported image set.
        classes: names in the order of the labels.
        train: the images to train on, before a trial takes its share.
        validation: images kept apart by the image set; None where it has none.
        digests: SHA-256 of what is held, by part.
    """

    name: str
    classes: tuple[str, ...]
    train: LabelledImages
    validation: LabelledImages | None
    digests: Mapping[str, str]

    def check(self, config: TrialConfig) -> None:
        """Check that a trial can have the images that its configuration asks for.

        Raises:
            DataError: it cannot: too few images, no validation images, or too large ones.
        """
        faults = list(self._faults(config))
        if faults:
            raise DataError("\n".join(f"images {self.name}: {fault}" for fault in faults))

    def _faults(self, config: TrialConfig) -> Iterator[str]:
        train, validation = config.train_images, config.validation_images
        if config.images_trained_on % config.batch_size == 1:  # of train alone, the schema says so
            yield (
                f"{config.images_trained_on} to train on leave a last batch of one with "
                f"batch_size = {config.batch_size}: batch norm needs two"
            )
        if config.split != "fixed":
            counts = [("train_images + validation_images", train + validation, len(self.train))]
        elif self.validation is None:
            yield 'have no validation split of their own; expected split = "plain" or "stratified"'
            counts = []
        else:
            counts = [
                ("train_images", train, len(self.train)),
                ("validation_images", validation, len(self.validation)),
            ]
        for key, wanted, most in counts:
            if wanted > most:
                yield f"{key} = {wanted}: expected at most {most}"
        size = self.train.images.shape[-1]
        if config.input_size < size:
            yield f"input_size = {config.input_size}: expected at least {size}, their own size"

    def split(self, config: TrialConfig) -> Split:
        """Return the training and the validation images of one trial.

        Where the images have fixed splits, a trial that asks for fewer gets equally many of each
        class. Otherwise the training set is split at random with a seed that derives from the
        trial's. One that trains on the validation images too has them behind the others.
        """
        parts = self._parts(config)
        if config.train_on == "train+val":
            return Split(_union(parts.train, parts.validation), parts.validation)
        return parts

    def _parts(self, config: TrialConfig) -> Split:
        if config.split == "fixed" and self.validation is not None:
            return Split(
                Subset(self.train, balanced_head(self.train.labels, config.train_images)),
                Subset(
                    self.validation,
                    balanced_head(self.validation.labels, config.validation_images),
                ),
            )
        sizes = (config.train_images, config.validation_images)
        seed = derive_seed(config.seed, "split")
        if config.split == "stratified":
            rows = stratified_split(self.train.labels, *sizes, seed)
        else:
            rows = plain_split(len(self.train), *sizes, seed)
        return Split(Subset(self.train, rows[0]), Subset(self.train, rows[1]))


def _union(first: Subset, second: Subset) -> Subset:
    """Return the images of two subsets, the second's behind the first's."""
    if first.pool is second.pool:
        return Subset(first.pool, np.concatenate([first.rows, second.rows]))
    parts = first.copy(), second.copy()
    pool = LabelledImages(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )
    return Subset(pool, np.arange(len(pool)))


# --- which rows train and which validate ----------------------------------------------------------


def plain_split(total: int, first: int, second: int, seed: int) -> tuple[Rows, Rows]:
    """Draw two disjoint sets of rows at random, regardless of class, as the assignment did.

    There are ``total`` rows to draw from; ``first`` of them train and ``second`` validate, together
    at most ``total``. The draw is NumPy's PCG64, the same on every machine.
    """
    order = np.random.default_rng(seed).permutation(total)
    return order[:first], order[first : first + second]


def stratified_split(labels: UInt8Array, first: int, second: int, seed: int) -> tuple[Rows, Rows]:
    """Draw two disjoint sets of rows at random, each with the classes in proportion.

    In each set, a class has its share of the rows to within one row. ``labels`` (uint8 [N]) are of
    the rows to draw from, the rest is as for ``plain_split``.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    # Shuffled rows of each class are spread evenly over 0 to 1; any stretch of that has all classes
    # in proportion.
    place = np.zeros(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels[order] == label)
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    spread = order[np.argsort(place, kind="stable")]
    return spread[:first], spread[first : first + second]


def balanced_head(labels: UInt8Array, count: int) -> Rows:
    """Return the first ``count`` rows when classes take turns, in the original order.

    Every class has ``count / classes`` rows, give or take one.
    """
    rank = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = labels == label
        rank[rows] = np.arange(rows.sum())
    return np.sort(np.lexsort((labels, rank))[:count])


# --- opening images -------------------------------------------------------------------------------


def load_search_data(name: str, root: Path) -> SearchData:
    """Load training and validation images.

    ``root`` is the folder of imported images and weights.

    Raises:
        DataError: They are missing or damaged.
    """
    if name == BUNDLED:
        parts = {split: read_bundled(split) for split in ("train", "validation")}
        return SearchData(name, CLASSES, **parts, digests=digest_splits(parts))
    image_set = open_imported(name, root, ("train", "validation"))
    seen = {key: value for key, value in image_set.digests.items() if not key.startswith("test")}
    return SearchData(
        name,
        image_set.classes,
        image_set.splits["train"],
        image_set.splits.get("validation"),
        seen,
    )


def open_imported(name: str, root: Path, splits: tuple[str, ...]) -> ImageSet:
    """Map splits of an imported image set into memory.

    Its digests were proven when it was imported; hashing again would delay every start.

    Raises:
        DataError: it is missing or damaged.
    """
    path = paths.image_set_file(root, name)
    try:
        return open_image_set(path, splits)
    except FileNotFoundError as error:
        if name == FULL_SET:
            message = (
                "is missing, so the full CIFAR-10 is not on this machine; get it with "
                f"{paths.data_command(root, 'data fetch')} or "
                f"{paths.data_command(root, 'data import PATH')}, or use --profile quick"
            )
        else:
            message = (
                f"is missing, so there are no images called {name}; import them with "
                f"{paths.data_command(root, f'data import PATH --name {name}')}, or see "
                f"{paths.data_command(root, 'data status')}"
            )
        raise DataError(f"{path}: {message}") from error


def has_images(name: str, root: Path) -> bool:
    """Return whether images are on this machine: the bundled ones, or imported ones."""
    return name == BUNDLED or paths.image_set_file(root, name).is_file()
