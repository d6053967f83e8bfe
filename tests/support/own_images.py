"""Images of a user's own, as tests import them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from cifar_tune.data.bundle import read_bundled
from cifar_tune.data.cifar10 import LabelledImages
from cifar_tune.data.image_set import open_image_set
from cifar_tune.data.importing.imports import ImportReport, import_images
from cifar_tune.errors import DataError

NAMES = ("cat", "dog", "eel")
"""Of their classes."""


def twelve_images() -> LabelledImages:
    return read_bundled("validation").take(np.arange(12))


def stored(report: ImportReport) -> dict[str, LabelledImages]:
    return dict(open_image_set(report.path, ("train", "validation", "test")).splits)


def pack(path: Path, members: list[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)


def refused(path: Path, root: Path, message: str) -> None:
    """Check that an import is refused with one line that names the file, and leaves nothing."""
    with pytest.raises(DataError, match=message) as caught:
        import_images(path, "pets", root)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not root.exists()
