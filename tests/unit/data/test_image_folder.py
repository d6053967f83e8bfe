"""Users' own images: folders by class and npz files, what is changed in them, what is refused."""

from __future__ import annotations

import io
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Cli
from own_images import NAMES, pack, refused, stored, twelve_images
from PIL import Image

from cifar_tune.data.cifar10 import LabelledImages
from cifar_tune.data.importing import image_folder
from cifar_tune.data.importing.imports import import_images, verify_image_set
from cifar_tune.errors import DataError


@pytest.fixture(scope="module")
def images() -> LabelledImages:
    return twelve_images()


@pytest.fixture
def folder(tmp_path: Path, images: LabelledImages) -> Path:
    """Three classes, two images each in train and one in val."""
    top = tmp_path / "pets"
    for row in range(9):
        split, name = ("train" if row < 6 else "val"), NAMES[row % 3]
        target = top / split / name / f"{row}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        picture(images, row).save(target)
    return top


def picture(images: LabelledImages, row: int) -> Image.Image:
    return Image.fromarray(images.images[row].transpose(1, 2, 0))


def test_folder_is_imported_by_class_and_name(
    tmp_path: Path, folder: Path, images: LabelledImages
) -> None:
    report = import_images(folder, "pets", tmp_path / "root")
    assert report.path == tmp_path / "root" / "images" / "pets.safetensors"
    assert report.notes == ()
    assert report.image_set.classes == NAMES
    assert report.image_set.source == "image folder"
    found = stored(report)
    assert set(found) == {"train", "validation"}
    assert found["train"].labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert np.array_equal(found["train"].images, images.images[[0, 3, 1, 4, 2, 5]])
    assert np.array_equal(found["validation"].images, images.images[[6, 7, 8]])
    assert set(verify_image_set("pets", tmp_path / "root").values()) == {True}


@pytest.mark.parametrize(
    "suffix", ["png", "PNG", "bmp", "webp", "tif", "TIFF", "gif", "jpg", "jpeg"]
)
def test_every_suffix_is_read(
    tmp_path: Path, folder: Path, images: LabelledImages, suffix: str
) -> None:
    file = folder / "train" / "cat" / f"9.{suffix}"
    picture(images, 9).save(file, lossless=True)
    report = import_images(folder, "pets", tmp_path / "root")
    found = stored(report)["train"].images[2].astype(int)
    assert abs(found - images.images[9]).mean() < (
        0.1 if suffix not in ("gif", "jpg", "jpeg") else 9
    )
    assert len(report.notes) == (suffix == "gif")  # which has a palette


def test_what_is_changed_is_noted(tmp_path: Path, folder: Path, images: LabelledImages) -> None:
    train = folder / "train"
    picture(images, 0).convert("L").save(train / "cat" / "0.png")
    picture(images, 1).convert("L").save(train / "dog" / "1.png")
    picture(images, 2).convert("RGBA").save(train / "eel" / "2.png")
    picture(images, 3).resize((64, 48)).save(train / "cat" / "3.png")
    picture(images, 6).resize((16, 20)).save(folder / "val" / "cat" / "6.png")
    (train / "notes.txt").write_text("text")
    (train / "cat" / "more").mkdir()
    (train / "cat" / ".hidden.png").write_text("no image")
    (train / ".cache").mkdir()
    report = import_images(folder, "pets", tmp_path / "root")
    assert report.notes == (
        "2 grey images were made RGB, first train/cat/0.png",
        "1 palette, transparent or CMYK image was made RGB, first train/eel/2.png",
        "2 images were resized and cropped to 32 x 32, first train/cat/3.png",
        "2 other files were ignored, first train/cat/more",
    )
    grey = stored(report)["train"].images[0]
    assert np.array_equal(grey[0], grey[2])
    assert np.array_equal(grey[0], np.asarray(picture(images, 0).convert("L")))


def test_other_sizes_are_resized_by_the_short_side_and_cropped(
    tmp_path: Path, folder: Path, images: LabelledImages
) -> None:
    wide = picture(images, 0).resize((90, 45))
    wide.save(folder / "train" / "cat" / "0.png")
    found = stored(import_images(folder, "pets", tmp_path / "root", size=20))["train"]
    assert found.images.shape == (6, 3, 20, 20)
    expected = wide.resize((40, 20), Image.Resampling.BILINEAR).crop((10, 0, 30, 20))
    assert np.array_equal(found.images[0], np.asarray(expected).transpose(2, 0, 1))


ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a picture is stored by a camera that writes this orientation tag."""


@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "jpg"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_photo_is_turned_as_a_person_sees_it(
    tmp_path: Path, folder: Path, images: LabelledImages, orientation: int, suffix: str
) -> None:
    upright, tags = picture(images, 9), Image.Exif()
    tags[0x0112] = orientation
    stored_so = upright.transpose(ORIENTATIONS[orientation])
    file = folder / "train" / "cat" / f"9.{suffix}"
    stored_so.save(file, exif=tags, lossless=True, quality=100)
    report = import_images(folder, "pets", tmp_path / "root")
    found = stored(report)["train"].images[2].astype(int)
    assert abs(found - images.images[9]).mean() < (9 if suffix == "jpg" else 0.1)
    note = f"1 image was turned as the camera's orientation tag says, first train/cat/9.{suffix}"
    assert report.notes == (note,)


def test_damaged_tags_leave_a_photo_as_it_is(
    tmp_path: Path, folder: Path, images: LabelledImages
) -> None:
    picture(images, 9).save(folder / "train" / "cat" / "9.png", exif=b"Exif\0\0no tags")
    report = import_images(folder, "pets", tmp_path / "root")
    assert report.notes == ()
    assert np.array_equal(stored(report)["train"].images[2], images.images[9])


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_of_several_frames_the_first_is_taken_and_counted(
    tmp_path: Path, folder: Path, images: LabelledImages, suffix: str
) -> None:
    file = folder / "train" / "cat" / f"9.{suffix}"
    others = [picture(images, 10), picture(images, 11)]
    picture(images, 9).save(file, save_all=True, append_images=others, lossless=True)
    report = import_images(folder, "pets", tmp_path / "root")
    found = stored(report)["train"].images[2].astype(int)
    assert abs(found - images.images[9]).mean() < (9 if suffix == "gif" else 0.1)
    note = f"1 image was reduced to the first of several frames, first train/cat/9.{suffix}"
    assert note in report.notes


def test_of_many_that_cannot_be_used_twenty_are_named(tmp_path: Path, folder: Path) -> None:
    put(folder, b"no image", *(f"train/cat/x{number:02}.png" for number in range(25)))
    with pytest.raises(DataError) as caught:
        import_images(folder, "pets", tmp_path / "root")
    assert "25 images cannot be used: train/cat/x00.png: " in str(caught.value)
    assert str(caught.value).endswith("train/cat/x19.png: cannot be read as an image; and 5 more")


def test_own_images_without_a_name_are_told_how(cli: Cli, tmp_path: Path, folder: Path) -> None:
    answer = cli("data", "import", str(folder))
    assert answer.code == 2
    command = re.search("`cifar-tune (.*)`", answer.err)
    assert command is not None
    arguments = shlex.split(command[1])
    assert arguments == ["data", "import", str(folder), "--name", "pets"]
    assert cli(*arguments, "--data-dir", str(tmp_path / "root")).code == 0


@pytest.mark.parametrize("name", [(), ("--name", "pets")])
def test_a_zip_archive_of_images_is_called_so(
    cli: Cli, tmp_path: Path, name: tuple[str, ...]
) -> None:
    pack(tmp_path / "pets.zip", [("pets/train/cat/1.png", b"text")])
    answer = cli("data", "import", str(tmp_path / "pets.zip"), *name)
    assert answer.code == 2
    assert "is a zip archive without arrays; unpack it, and import the folder\n" in answer.err


def test_neither_a_folder_nor_arrays(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("text", encoding="utf-8")
    for name, fault in (("notes.txt", "is neither a folder of"), ("no.txt", "is not there; ")):
        assert fault in cli("data", "import", name, "--name", "pets").err


def put(folder: Path, content: bytes, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(content)


def add_classes(folder: Path) -> None:
    for number in range(300):
        (folder / "train" / f"c{number:03}").mkdir()


def bomb() -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(buffer, "PNG")
    return buffer.getvalue()


def deep() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((32, 32), 40_000, np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


def remove(folder: Path) -> None:
    for file in sorted(folder.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    folder.rmdir()


BAD_FOLDERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "damaged": (
        lambda f: put(f, b"no image", "train/dog/1.png", "val/cat/6.png", "val/dog/7.png"),
        r"3 images cannot be used: train/dog/1\.png: cannot be read as an image; val/cat/6\.png: "
        r"cannot be read as an image; val/dog/7\.png: cannot be read as an image$",
    ),
    "cut short": (
        lambda f: put(f, (f / "train/dog/1.png").read_bytes()[:900], "train/dog/1.png"),
        r"1 image cannot be used: train/dog/1\.png: cannot be read as an image",
    ),
    "other format": (
        lambda f: put(f, b"%!PS-Adobe-3.0 EPSF-3.0\n", "train/cat/x.png"),
        r"cat/x\.png: cannot be read as",
    ),
    "bomb": (lambda f: put(f, bomb(), "train/cat/x.png"), r"train/cat/x\.png: has too many pixels"),
    "16 bits": (lambda f: put(f, deep(), "train/cat/x.png"), "more than 8 bits a channel"),
    "broken link": (
        lambda f: (f / "train/cat/x.png").symlink_to(f / "nothing"),
        r"train/cat/x\.png: there is no such file",
    ),
    "pipe": (lambda f: os.mkfifo(f / "train/cat/x.png"), r"train/cat/x\.png: is not a file"),
    "no train": (lambda f: (f / "train").rename(f / "training"), "has no folder train"),
    "two validation folders": (lambda f: (f / "valid").mkdir(), "has val and valid"),
    "empty test": (lambda f: (f / "test").mkdir(), "test: holds no image"),
    "class missing in val": (lambda f: remove(f / "val" / "dog"), "val: has other classes .* dog"),
    "class missing in train": (lambda f: remove(f / "train" / "dog"), "other classes .* dog"),
    "class without images": (
        lambda f: [file.unlink() for file in (f / "train" / "dog").iterdir()],
        "the class dog has no training image",
    ),
    "one class": (
        lambda f: [remove(f / s / n) for s in ("train", "val") for n in ("cat", "dog")],
        "number of classes is 1, expected 2 to 256",
    ),
    "many classes": (add_classes, "more than 256 classes"),
    "line break in a class": (
        lambda f: [(f / s / "dog").rename(f / s / "d\nog") for s in ("train", "val")],
        r"the class 'd\\nog'",
    ),
    "nothing": (remove, "is not there; expected a folder of images"),
}


@pytest.mark.parametrize(("change", "message"), BAD_FOLDERS.values(), ids=BAD_FOLDERS.keys())
def test_bad_folder_is_refused(
    tmp_path: Path, folder: Path, change: Callable[[Path], Any], message: str
) -> None:
    change(folder)
    refused(folder, tmp_path / "root", message)


def test_very_long_image_is_refused(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1 x 3,000 pixels would become 32 x 96,000.
    Image.new("RGB", (1, 3_000)).save(folder / "train" / "cat" / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    refused(folder, tmp_path / "root", r"train/cat/x\.png: is too long for its width")


def test_images_that_do_not_fit_into_memory_are_refused(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(image_folder.np, "empty", fail)
    refused(folder, tmp_path / "root", "do not fit into memory at --size 32")


@pytest.mark.parametrize(
    "name",
    ["cifar10", "bundled", "", "Pets", "-pets", "my pets", "../pets", "pets\n", "pets.x", "é"],
)
def test_other_names_are_refused(tmp_path: Path, folder: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"cannot be a name|is the name of an image set") as caught:
        import_images(folder, name, tmp_path / "root")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("size", [0, -1, 7, 513])
def test_other_sizes_are_refused(tmp_path: Path, folder: Path, size: int) -> None:
    with pytest.raises(DataError, match=f"--size {size}: expected 8 to 512"):
        import_images(folder, "pets", tmp_path / "root", size)
