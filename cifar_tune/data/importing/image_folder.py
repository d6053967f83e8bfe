"""Reads folders of images by split and class: ``PATH/train/cat/1.png``.

Pictures are decoded one after the other into one array. Only Pillow's decoders of the formats named
here are used; what they cannot decode, or what is larger than Pillow's limit, is refused. A photo
is turned as its orientation tag says, and of several frames the first is taken.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from cifar_tune.data.cifar10 import LabelledImages, UInt8Array
from cifar_tune.errors import DataError
from cifar_tune.wording import format_count, printable

SPLIT_FOLDERS = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}
"""The names that the folder of a split may have."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
MAX_CLASSES = 256

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
_GREY = ("1", "L", "LA", "La")
_SHOWN = 20
"""How many images that cannot be used are named."""
_DEEP = ("I", "I;16", "I;16B", "I;16L", "F")


@dataclass
class Oddities:
    """The names of images that are not as expected, over all splits of a folder.

    Attributes:
        unreadable: Those that cannot be used, each with the reason.
    """

    unreadable: dict[str, str] = field(default_factory=dict)
    turned: list[str] = field(default_factory=list)
    several_frames: list[str] = field(default_factory=list)
    grey: list[str] = field(default_factory=list)
    other_colours: list[str] = field(default_factory=list)
    other_size: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def list_unreadable(self) -> str:
        """Return images that cannot be used, by name, each with the reason."""
        named = [f"{name}: {reason}" for name, reason in self.unreadable.items()]
        more = [f"and {len(named) - _SHOWN:,} more"] if len(named) > _SHOWN else []
        return "; ".join([*named[:_SHOWN], *more])

    def list_changes(self, size: int) -> list[tuple[list[str], str, str]]:
        """Return what was done to images of ``size`` pixels: names, what they are, what was done.

        Grey and other colours are one thing to the user.
        """
        changes = [
            (self.turned, "image", "turned as the camera's orientation tag says"),
            (self.several_frames, "image", "reduced to the first of several frames"),
            (self.grey, "grey image", "made RGB"),
            (self.other_colours, "palette, transparent or CMYK image", "made RGB"),
            (self.other_size, "image", f"resized and cropped to {size} x {size}"),
            (self.ignored, "other file", "ignored"),
        ]
        return [change for change in changes if change[0]]

    def notes(self, size: int) -> tuple[str, ...]:
        """Return what was done to images of ``size`` pixels, a sentence each."""
        return tuple(
            f"{format_count(len(names), noun)} {'was' if len(names) == 1 else 'were'} {what}, "
            f"first {names[0]}"
            for names, noun, what in self.list_changes(size)
        )


class _UnusableError(Exception):
    """An image cannot be used, for the reason that this says."""


@dataclass(frozen=True)
class ImageFiles:
    """The image files of one split.

    Attributes:
        classes: names of the class folders, sorted.
        names: of the files, from the folder that holds the splits; by class, then by name.
        labels: uint8 [N], indices into ``classes``.
    """

    classes: tuple[str, ...]
    names: tuple[Path, ...]
    labels: UInt8Array


def find_splits(folder: Path) -> dict[str, Path]:
    """Return the split folders that are there.

    Raises:
        DataError: one split has two folders, such as ``val`` and ``valid``.
    """
    folders = {}
    for split, names in SPLIT_FOLDERS.items():
        there = [folder / name for name in names if (folder / name).is_dir()]
        if len(there) > 1:
            raise DataError(f"{folder}: has {there[0].name} and {there[1].name}; expected one")
        if there:
            folders[split] = there[0]
    return folders


def list_images(folder: Path, oddities: Oddities) -> ImageFiles:
    """List the images of one split; hidden files are passed over, other files counted.

    The folders in it are the classes; what is odd is added to ``oddities``.

    Raises:
        DataError: It cannot be listed, or has no image, or too many classes.
    """
    names: list[Path] = []
    labels: list[int] = []
    classes: list[str] = []
    for entry in _visible(folder):
        if not entry.is_dir():
            oddities.ignored.append(_shown(entry.relative_to(folder.parent)))
            continue
        classes.append(entry.name)
        if len(classes) > MAX_CLASSES:
            raise DataError(f"{folder}: has more than {MAX_CLASSES} classes")
        for file in _visible(entry):
            name = file.relative_to(folder.parent)
            if file.suffix.lower() in SUFFIXES and not file.is_dir():
                names.append(name)
                labels.append(len(classes) - 1)
            else:
                oddities.ignored.append(_shown(name))
    if not names:
        raise DataError(f"{folder}: holds no image; expected {folder.name}/CLASS/1.png and so on")
    return ImageFiles(tuple(classes), tuple(names), np.array(labels, dtype=np.uint8))


def decode_images(folder: Path, names: Sequence[Path], size: int, oddities: Oddities) -> UInt8Array:
    """Decode images into one array uint8 [N, 3, size, size], RGB.

    Grey, palette and transparent images are made RGB. A photo is turned as its orientation tag
    says; of several frames the first is taken. Of an image of another size the short side is
    resized to ``size`` (Pillow's bilinear with antialiasing), then the centre is cut out. All of it
    is counted in ``oddities``, as are images that cannot be decoded, whose rows stay undefined.
    ``names`` start from ``folder``.
    """
    images = np.empty((len(names), 3, size, size), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # but for pictures above Pillow's limit, which are refused
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for row, name in enumerate(names):
            try:
                pixels = _decode(folder / name, _shown(name), size, oddities)
            except Exception as error:  # decoders raise nearly everything on damaged files
                oddities.unreadable[_shown(name)] = _reason(error)
            else:
                images[row] = pixels.transpose(2, 0, 1)
    return images


def read_own_folder(
    folder: Path, size: int
) -> tuple[tuple[str, ...], dict[str, LabelledImages], tuple[str, ...]]:
    """Read a user's own images, brought to a height and width of ``size`` pixels.

    The folder has ``train`` and, if wanted, ``validation`` and ``test``, with a folder per class.

    Returns:
        Class names, splits, and notes on what was changed or passed over.

    Raises:
        DataError: there is no training image, an image cannot be decoded, or the splits have
            different classes.
    """
    folders = find_splits(folder)
    if "train" not in folders:
        raise DataError(f"{folder}: has no folder train; expected {folder.name}/train/CLASS/1.png")
    oddities = Oddities()
    files = {split: list_images(part, oddities) for split, part in folders.items()}
    classes = files["train"].classes
    for split, part in files.items():
        if part.classes != classes:
            odd = sorted(set(part.classes) ^ set(classes))
            raise DataError(
                f"{folders[split]}: has other classes than train: {printable(odd[0])} is not in "
                "both"
            )
    splits = {}
    for split, part in files.items():
        images = decode_images(folder, part.names, size, oddities)
        splits[split] = LabelledImages(images, part.labels)
    refuse_unreadable(folder, oddities)
    return classes, splits, oddities.notes(size)


def refuse_unreadable(folder: Path, oddities: Oddities) -> None:
    """Stop where images could not be decoded.

    Raises:
        DataError: How many, which and why.
    """
    if oddities.unreadable:
        images = format_count(len(oddities.unreadable), "image")
        raise DataError(f"{folder}: {images} cannot be used: {oddities.list_unreadable()}")


def _decode(path: Path, name: str, size: int, oddities: Oddities) -> UInt8Array:
    """Decode one file into pixels uint8 [size, size, 3]."""
    if not path.is_file():
        raise _UnusableError("is not a file" if path.exists() else "there is no such file")
    with Image.open(path, formats=_FORMATS) as opened:
        if opened.mode in _DEEP:
            raise _UnusableError("has more than 8 bits a channel")
        if getattr(opened, "is_animated", False):
            oddities.several_frames.append(name)
        if _is_turned(opened):
            oddities.turned.append(name)
            ImageOps.exif_transpose(opened, in_place=True)
        picture = opened.convert("RGB")
        if opened.mode != "RGB":
            (oddities.grey if opened.mode in _GREY else oddities.other_colours).append(name)
    if picture.size != (size, size):
        picture = _fit(picture, size)
        oddities.other_size.append(name)
    return np.asarray(picture)


def _fit(picture: Image.Image, size: int) -> Image.Image:
    short = min(picture.size)
    width, height = (max(size, side * size // short) for side in picture.size)
    if width * height > (Image.MAX_IMAGE_PIXELS or 0):
        raise _UnusableError("is too long for its width")
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def _is_turned(opened: Image.Image) -> bool:
    """Return whether a picture has a tag that says to show it otherwise than it is stored."""
    try:
        return opened.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
    except Exception:  # damaged tags: the pixels may be whole
        return False


def _reason(error: Exception) -> str:
    if isinstance(error, _UnusableError):
        return str(error)
    if isinstance(error, (Image.DecompressionBombWarning, Image.DecompressionBombError)):
        return "has too many pixels"
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read: {error.strerror}"
    return "cannot be read as an image"


def _visible(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}") from error
    return [entry for entry in entries if not entry.name.startswith(".")]


def _shown(name: Path) -> str:
    return printable(name.as_posix())
