"""What is not CIFAR-10 is refused: the message says what differs, and nothing is written."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from copies import (
    BATCH,
    BIN,
    NPM,
    PY,
    Full,
    binary_files,
    cut,
    npm_files,
    png,
    python2_pickle,
    python_files,
    with_pixel,
    write_folder,
    write_image_folder,
    write_npz,
    write_tar,
)
from PIL import Image

from cifar_tune.data.cifar10 import LabelledImages
from cifar_tune.data.importing import array_pickle
from cifar_tune.data.importing.imports import import_cifar10
from cifar_tune.errors import DataError


class Bad(NamedTuple):
    """A copy that is not CIFAR-10, and what the message must say."""

    write: Callable[[Path, Full], Any]
    message: str


def with_label(full: Full, split: str, row: int) -> Full:
    labels = full[split].labels.copy()
    labels[row] = (labels[row] + 1) % 10
    return full | {split: LabelledImages(full[split].images, labels)}


def swapped(full: Full) -> Full:
    rows = np.arange(5 * BATCH)
    rows[[3, 8]] = [8, 3]
    return full | {"train": full["train"].take(rows)}


def changed(files: dict[str, bytes], name: str, content: bytes | None) -> dict[str, bytes]:
    rest = {key: value for key, value in files.items() if key != name}
    return rest if content is None else rest | {name: content}


def repickled(full: Full, protocol: int) -> dict[str, bytes]:
    return {
        name: pickle.dumps(pickle.loads(content, encoding="bytes"), protocol)
        for name, content in python_files(full).items()
        if name != "readme.html"
    }


def files_of(folder: Path, split: str = "train") -> list[Path]:
    return sorted((folder / split).rglob("*.png"))


def image_folder_with(at: Path, full: Full, change: Callable[[Path], Any]) -> Path:
    folder = write_image_folder(at / "f", full)
    change(folder)
    return folder


BINARY = {
    "one pixel": Bad(
        lambda at, full: write_tar(
            at / "c.tar.gz", BIN, binary_files(with_pixel(full, "train", 46))
        ),
        r"c\.tar\.gz: not CIFAR-10: its train images differ: 1 of 100 are not CIFAR-10's, first "
        r"data_batch_3\.bin image 7$",
    ),
    "one label": Bad(
        lambda at, full: write_folder(at / "b", binary_files(with_label(full, "test", 4))),
        r"not CIFAR-10: its test labels differ: 1 of 20 are not CIFAR-10's, first test_batch\.bin "
        r"image 5$",
    ),
    "both": Bad(
        lambda at, full: write_folder(
            at / "b", binary_files(with_label(with_pixel(full, "test", 0), "train", 99))
        ),
        r"its train labels differ: 1 of 100 .* data_batch_5\.bin image 20; its test images differ",
    ),
    "other order": Bad(
        lambda at, full: write_folder(at / "b", binary_files(swapped(full))),
        r"its train images differ: 2 of 100 are in another place than in CIFAR-10, first "
        r"data_batch_1\.bin image 4; its train labels differ",
    ),
    "batch missing": Bad(
        lambda at, full: write_folder(
            at / "b", changed(binary_files(full), "data_batch_3.bin", None)
        ),
        r"b/data_batch_3\.bin: is missing; the copy is incomplete",
    ),
    "batch missing in the archive": Bad(
        lambda at, full: write_tar(
            at / "c.tar", BIN, changed(binary_files(full), "data_batch_3.bin", None), "w"
        ),
        r"c\.tar: data_batch_3\.bin is not in it: the archive is incomplete or damaged",
    ),
    "batch too short": Bad(
        lambda at, full: write_folder(
            at / "b",
            changed(
                binary_files(full), "data_batch_2.bin", binary_files(full)["test_batch.bin"][1:]
            ),
        ),
        r"b/data_batch_2\.bin: has 61,459 bytes, expected 61,460",
    ),
    "archive cut in a header": Bad(
        lambda at, full: cut(write_tar(at / "c.tar", BIN, binary_files(full), "w"), 512 + 200),
        "is not in it: the archive is incomplete|holds nothing that is known",
    ),
}
REPICKLED = {
    f"protocol {protocol}": Bad(
        lambda at, full, protocol=protocol: write_folder(at / "p", repickled(full, protocol)),
        r"p/data_batch_1: is not as it was published: no Python batch of CIFAR-10 has its MD5 "
        r"[0-9a-f]{32}, and one that was pickled anew is not read; expected CIFAR-10 as "
        r"cifar-10-binary\.tar\.gz or .*npz file$",
    )
    for protocol in (2, 5)
}
PYTHON = {
    "code": Bad(
        lambda at, full: write_tar(
            at / "c.tar.gz",
            PY,
            changed(python_files(full), "data_batch_2", b"cos\nsystem\n(S'x'\ntR." + bytes(62_000)),
        ),
        r"c\.tar\.gz: data_batch_2: refers to os\.system; only arrays",
    ),
    "one pixel": Bad(
        lambda at, full: write_folder(at / "p", python_files(with_pixel(full, "train", 99))),
        "train images differ: 1 of 100 .* first data_batch_5 image 20",
    ),
    "other shape": Bad(
        lambda at, full: write_folder(
            at / "p",
            changed(
                python_files(full),
                "test_batch",
                python2_pickle(full["test"].images.reshape(-1, 1_024), full["test"].labels),
            ),
        ),
        r"test_batch: has an array \[60, 1024\] as data, expected uint8 \[20, 3072\]",
    ),
    "no dict": Bad(
        lambda at, full: write_folder(
            at / "p", changed(python_files(full), "test_batch", pickle.dumps(bytes(62_000), 4))
        ),
        "test_batch: has no array as data",
    ),
    "labels too few": Bad(
        lambda at, full: write_folder(
            at / "p",
            changed(
                python_files(full),
                "test_batch",
                python2_pickle(full["test"].images.reshape(BATCH, -1), full["test"].labels[:-1]),
            ),
        ),
        "test_batch: has 19 labels, expected 20",
    ),
}
NPM_PACKAGE = {
    "one pixel": Bad(
        lambda at, full: write_tar(at / "t.tgz", NPM, npm_files(with_pixel(full, "test", 1))),
        r"test images differ: 1 of 20 .* first test_batch\.png image 2",
    ),
    "picture too small": Bad(
        lambda at, full: write_folder(
            at / NPM,
            changed(
                npm_files(full), "data_batch_1.png", png(np.zeros((BATCH, 1_023, 3), np.uint8))
            ),
        ),
        r"data_batch_1\.png: is a picture of 1,023 x 20 pixels in mode RGB, expected 1,024 x 20",
    ),
    "picture too large to decode": Bad(
        lambda at, full: write_folder(
            at / NPM,
            changed(
                npm_files(full), "data_batch_1.png", png(np.zeros((5_000, 1_024, 3), np.uint8))
            ),
        ),
        r"is a picture of 1,024 x 5,000 pixels",
    ),
    "grey": Bad(
        lambda at, full: write_folder(
            at / NPM,
            changed(npm_files(full), "data_batch_1.png", png(np.zeros((BATCH, 1_024), np.uint8))),
        ),
        "in mode L, expected",
    ),
    "damaged": Bad(
        lambda at, full: write_folder(
            at / NPM,
            changed(npm_files(full), "data_batch_1.png", npm_files(full)["test_batch.png"][:9_000]),
        ),
        r"data_batch_1\.png: is damaged or not a PNG file",
    ),
    "labels no list": Bad(
        lambda at, full: write_folder(
            at / NPM, changed(npm_files(full), "test_lables.json", b"{}")
        ),
        r"test_lables\.json: has no list of labels, expected 20",
    ),
    "labels nested": Bad(
        lambda at, full: write_folder(
            at / NPM, changed(npm_files(full), "train_lables.json", b"[" * 1_200)
        ),
        r"train_lables\.json: is damaged or not JSON|no list",
    ),
    "labels of text": Bad(
        lambda at, full: write_folder(
            at / NPM, changed(npm_files(full), "test_lables.json", json.dumps([True] * 20).encode())
        ),
        r"test_lables\.json: has labels that are not whole numbers from 0 to 9",
    ),
    "no labels": Bad(
        lambda at, full: write_folder(at / NPM, changed(npm_files(full), "test_lables.json", None)),
        r"test_lables\.json: is missing",
    ),
}
IMAGES = {
    "one pixel": Bad(
        lambda at, full: write_image_folder(at / "f", with_pixel(full, "test", 3)),
        r"not CIFAR-10: 1 of its 20 test images are not CIFAR-10's to the last bit, first "
        r"test/airplane/\d{5}\.png",
    ),
    "jpeg": Bad(
        lambda at, full: write_image_folder(at / "f", full, "jpg"),
        r"100 of its 100 train images are not CIFAR-10's to the last bit, first train/airplane",
    ),
    "wrong class": Bad(
        lambda at, full: write_image_folder(at / "f", with_label(full, "train", 0)),
        r"1 of its train images are in the folder of another class, first train/horse/.*, which "
        "is of the class frog",
    ),
    "twice": Bad(
        lambda at, full: image_folder_with(
            at, full, lambda f: shutil.copy(files_of(f)[0], files_of(f)[1])
        ),
        r"1 of its train images are there twice, first train/airplane/\d{5}\.png",
    ),
    "one missing": Bad(
        lambda at, full: image_folder_with(at, full, lambda f: files_of(f)[0].unlink()),
        "train: has 99 images, expected 100",
    ),
    "one of the other split": Bad(
        lambda at, full: image_folder_with(
            at, full, lambda f: shutil.copy(files_of(f, "test")[0], files_of(f)[1])
        ),
        "1 of its 100 train images are not CIFAR-10's",
    ),
    "other class": Bad(
        lambda at, full: image_folder_with(
            at, full, lambda f: (f / "train" / "cat").rename(f / "train" / "kitten")
        ),
        "its folders are not the classes of CIFAR-10: cat is missing",
    ),
    "no test": Bad(
        lambda at, full: write_image_folder(at / "f", {"train": full["train"]}),
        "f: has no folder test",
    ),
    "other size": Bad(
        lambda at, full: image_folder_with(
            at, full, lambda f: [resave(file, (33, 32)) for file in files_of(f)[:2]]
        ),
        r"2 images of another size, first train/airplane/.*; expected 32 x 32 RGB",
    ),
    "grey": Bad(
        lambda at, full: image_folder_with(
            at, full, lambda f: resave(files_of(f)[-1], (32, 32), "L")
        ),
        r"1 image in grey, first train/truck/\d{5}\.png; expected 32 x 32 RGB",
    ),
    "unreadable": Bad(
        lambda at, full: image_folder_with(
            at, full, lambda f: [file.write_bytes(b"text") for file in files_of(f, "test")[:3]]
        ),
        r"f: 3 images cannot be used: (test/\w+/\d{5}\.png: cannot be read as an image; ){3}",
    ),
}
ARRAYS = {
    "one pixel": Bad(
        lambda at, full: write_npz(at / "c.npz", with_pixel(full, "train", 5)),
        "train images differ: 1 of 100 .* first train image 6",
    ),
    "too few": Bad(
        lambda at, full: write_npz(at / "c.npz", full | {"train": full["test"]}),
        r"its train images are \[20, 3, 32, 32\], expected \[100, 3, 32, 32\]",
    ),
    "no test images": Bad(
        lambda at, full: write_npz(at / "c.npz", {"train": full["train"]}),
        "has no test images; expected 20",
    ),
    "other keys": Bad(
        lambda at, full: write_npz(at / "c.npz", full, ("{}_x", "{}_y")),
        "expected train_images, train_labels, test_images, test_labels or x_train",
    ),
}
NOTHING = {
    "missing": Bad(lambda at, _: at / "nothing", "nothing: is not there or neither a file"),
    "empty folder": Bad(lambda at, _: at, "holds nothing that is known; expected CIFAR-10 as cif"),
    "empty file": Bad(lambda at, _: cut(at / "e", 0), "is empty; expected CIFAR-10 as"),
    "text file": Bad(lambda at, _: cut(at / "e", 9_999), "damaged, cut short or not a tar archive"),
    "other archive": Bad(
        lambda at, _: write_tar(at / "c.tgz", "folder", {"a.txt": b"text"}),
        "holds nothing that is known; expected CIFAR-10 as",
    ),
}


def resave(file: Path, size: tuple[int, int], mode: str = "RGB") -> None:
    with Image.open(file) as picture:
        picture.convert(mode).resize(size).save(file)


BAD_COPIES = {
    f"{kind}, {name}": bad
    for kind, group in {
        "binary": BINARY,
        "python, written anew": REPICKLED,
        "npm": NPM_PACKAGE,
        "images": IMAGES,
        "npz": ARRAYS,
        "nothing": NOTHING,
    }.items()
    for name, bad in group.items()
}


@pytest.mark.parametrize("bad", BAD_COPIES.values(), ids=BAD_COPIES.keys())
def test_what_is_not_the_full_set_is_refused_and_nothing_written(
    tmp_path: Path, full: Full, root: Path, bad: Bad
) -> None:
    (tmp_path / "copy").mkdir()
    check_refused(bad.write(tmp_path / "copy", full), root, bad.message)


def check_refused(copy: Path, root: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        import_cifar10(copy, root)
    assert str(caught.value).startswith(str(copy))
    assert "\n" not in str(caught.value)
    assert not root.exists()


class EveryDigest:
    """A set with every digest in it."""

    def __contains__(self, _: str) -> bool:
        return True


@pytest.mark.parametrize("bad", PYTHON.values(), ids=PYTHON.keys())
def test_a_python_batch_is_refused_by_its_digest_and_else_by_its_content(
    tmp_path: Path, full: Full, root: Path, bad: Bad, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "copy").mkdir()
    copy = bad.write(tmp_path / "copy", full)
    with pytest.raises(DataError, match="is not as it was published"):
        import_cifar10(copy, root)
    monkeypatch.setattr(array_pickle, "OFFICIAL_MD5", EveryDigest())
    check_refused(copy, root, bad.message)
