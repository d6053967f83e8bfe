"""Image sets in one file: mapped, checked, never half-written."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copies import (
    Full,
    FullDisk,
    files_below,
    write_npz,
)
from safetensors.numpy import load_file

from cifar_tune import files
from cifar_tune.data import bundle
from cifar_tune.data.cifar10 import CLASSES, LabelledImages
from cifar_tune.data.image_set import ImageSet, open_image_set, write_image_set
from cifar_tune.data.importing.imports import import_cifar10, list_image_sets, verify_image_set
from cifar_tune.errors import DataError


@pytest.fixture(scope="module")
def part() -> LabelledImages:
    return bundle.read_bundled("validation")


@pytest.fixture
def own(root: Path, part: LabelledImages) -> Path:
    """A small image set with three splits, stored."""
    splits = {
        "train": part.take(np.arange(40)),
        "validation": part.take(np.arange(40, 52)),
        "test": part.take(np.arange(52, 59)),
    }
    digests = {f"{s} {k}": d for s, p in splits.items() for k, d in p.digests().items()}
    path = root / "images" / "own.safetensors"
    write_image_set(ImageSet("own", CLASSES, splits, digests, "image folder"), path)
    return path


def test_cache_is_a_safetensors_file(own: Path, part: LabelledImages) -> None:
    tensors = load_file(own)
    assert set(tensors) == {
        f"{s} {k}" for s in ("train", "validation", "test") for k in ("images", "labels")
    }
    assert np.array_equal(tensors["validation images"], part.images[40:52])
    assert np.array_equal(tensors["test labels"], part.labels[52:59])


def test_only_what_is_asked_for_is_mapped_and_the_file_stays(own: Path) -> None:
    before = own.read_bytes()
    found = open_image_set(own, ("train", "other"))
    assert set(found.splits) == {"train"}
    assert len(found.digests) == 6
    images = found.splits["train"].images
    assert isinstance(images, np.memmap)
    images[:] = 0
    assert own.read_bytes() == before


def test_verify_finds_a_changed_byte(root: Path, own: Path) -> None:
    assert set(verify_image_set("own", root).values()) == {True}
    content = bytearray(own.read_bytes())
    content[-1_000] ^= 1  # within the test images, before their 7 labels
    own.write_bytes(content)
    found = verify_image_set("own", root)
    assert [part for part, same in found.items() if not same] == ["test images"]


def test_verify_of_what_is_not_there(root: Path) -> None:
    with pytest.raises(DataError, match=r"other\.safetensors: is not there"):
        verify_image_set("other", root)
    with pytest.raises(FileNotFoundError):
        open_image_set(root / "images" / "other.safetensors", ("train",))


def test_listing_describes_what_is_imported(root: Path, own: Path) -> None:
    assert list_image_sets(root) == [
        {
            "name": "own",
            "images": {"train": 40, "validation": 12, "test": 7},
            "classes": 10,
            "size": 32,
            "source": "image folder",
            "file": str(own),
        }
    ]
    assert list_image_sets(root / "elsewhere") == []


def with_header(content: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """The same arrays under a changed header of the same form."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def set_offsets(key: str, start: int, stop: int) -> Callable[[dict[str, Any]], Any]:
    return lambda header: header[key].update(data_offsets=[start, stop])


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "short": lambda content: content[:-1],
    "long": lambda content: content + b"x",
    "half a header": lambda content: content[:300],
    "text": lambda _: b"something else, of more than eight bytes",
    "huge header": lambda content: b"\xff" * 8 + content[8:],
    "no JSON": lambda content: content[:8] + b"x" + content[9:],
    "nested JSON": lambda content: content[:8] + b"[" * (len(content) - 8),
    "JSON list": lambda content: (2).to_bytes(8, "little") + b"[]" + content,
    "no metadata": lambda content: with_header(content, lambda h: h.pop("__metadata__")),
    "other format": lambda c: with_header(c, lambda h: h["__metadata__"].update(format="2")),
    "other name": lambda c: with_header(c, lambda h: h["__metadata__"].update(name="other")),
    "classes": lambda c: with_header(c, lambda h: h["__metadata__"].update(classes='["a"]')),
    "digests": lambda c: with_header(c, lambda h: h["__metadata__"].update(digests="{}")),
    "dtype": lambda c: with_header(c, lambda h: h["train labels"].update(dtype="I8")),
    "shape": lambda c: with_header(c, lambda h: h["train labels"].update(shape=[40.0])),
    "no shape": lambda c: with_header(c, lambda h: h["train images"].update(shape=[])),
    "shape of lists": lambda c: with_header(c, lambda h: h["train labels"].update(shape=[[40]])),
    "not square": lambda c: with_header(
        c, lambda h: h["train images"].update(shape=[40, 3, 64, 16])
    ),
    "shape negative": lambda c: with_header(
        c, lambda h: h["train images"].update(shape=[40, -3, -32, 32])
    ),
    "offsets outside": lambda c: with_header(c, set_offsets("test labels", 10**9, 10**9 + 7)),
    "offsets negative": lambda c: with_header(c, set_offsets("train images", -8, 122_872)),
    "offsets over another": lambda c: with_header(c, set_offsets("test labels", 0, 7)),
    "offsets missing": lambda c: with_header(c, lambda h: h["test labels"].pop("data_offsets")),
    "other tensor": lambda c: with_header(c, lambda h: h.update(x=h.pop("test labels"))),
    "no train": lambda c: with_header(
        c,
        lambda h: h.update({"x images": h.pop("train images"), "x labels": h.pop("train labels")}),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_cache_is_refused(own: Path, damage: Callable[[bytes], bytes]) -> None:
    own.write_bytes(damage(own.read_bytes()))
    with pytest.raises(DataError, match=r"own\.safetensors: .*; import it again$"):
        open_image_set(own, ("train",))


def test_set_under_another_name_is_refused(root: Path, own: Path) -> None:
    own.rename(own.with_name("cifar10.safetensors"))
    with pytest.raises(DataError, match="is the image set own under another name; import it again"):
        verify_image_set("cifar10", root)


def test_other_images_are_not_cifar10(root: Path, own: Path) -> None:
    other = own.with_name("cifar10.safetensors")
    content = own.read_bytes()
    other.write_bytes(with_header(content, lambda h: h["__metadata__"].update(name="cifar10")))
    with pytest.raises(DataError, match="is not CIFAR-10: its digests are others"):
        verify_image_set("cifar10", root)


def test_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.safetensors").mkdir()
    with pytest.raises(DataError, match="import it again"):
        open_image_set(tmp_path / "own.safetensors", ("train",))


def test_full_disk_is_seen_before_writing(
    tmp_path: Path, full: Full, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: FullDisk())
    with pytest.raises(DataError, match="are free on this disk"):
        import_cifar10(write_npz(tmp_path / "c.npz", full), root)
    assert not files_below(root)


def test_disk_that_fills_up_meanwhile_leaves_nothing(
    tmp_path: Path, full: Full, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        assert files_below(root)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(DataError, match=r"cifar10\.safetensors: cannot be written: the disk is"):
        import_cifar10(write_npz(tmp_path / "c.npz", full), root)
    assert not files_below(root)


def test_root_that_is_a_file_is_an_error(tmp_path: Path, full: Full) -> None:
    (tmp_path / "root").write_text("text")
    with pytest.raises(DataError, match="cannot be written"):
        import_cifar10(write_npz(tmp_path / "c.npz", full), tmp_path / "root")


def test_two_processes_at_once_do_no_harm(tmp_path: Path, root: Path, part: LabelledImages) -> None:
    np.savez(tmp_path / "own.npz", train_images=part.images, train_labels=part.labels)
    script = (
        "import sys; from pathlib import Path\n"
        "from cifar_tune.data.importing.imports import import_images\n"
        "for _ in range(15): import_images(Path(sys.argv[1]), 'own', Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "own.npz"), str(root)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    path, opened = root / "images" / "own.safetensors", 0
    while any(process.poll() is None for process in running):
        if path.exists():
            assert len(open_image_set(path, ("train",)).splits["train"]) == 1_000
            opened += 1
        time.sleep(0.005)
    for process in running:
        _, said = process.communicate()
        assert process.returncode == 0, said
    assert opened > 10
    assert files_below(root) == [path]
    assert set(verify_image_set("own", root).values()) == {True}
