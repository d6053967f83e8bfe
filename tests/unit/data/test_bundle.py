"""The bundled images are CIFAR-10's, whole, and no split holds an image of another."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cifar_tune.data import bundle
from cifar_tune.data.cifar10 import LabelledImages, sha256
from cifar_tune.data.search_data import balanced_head
from cifar_tune.errors import DataError

SIZES = {"train": 5_000, "validation": 1_000, "test": 1_000}
MEGABYTE = 1_000_000


@pytest.mark.parametrize(("split", "count"), SIZES.items())
def test_split_matches_its_digest_and_is_balanced(split: str, count: int) -> None:
    part = bundle.read_bundled(split)
    assert part.images.shape == (count, 3, 32, 32)
    assert sha256(part.images) == bundle.read_manifest()["splits"][split]["sha256"]["images"]
    assert np.bincount(part.labels).tolist() == [count // 10] * 10


def test_first_labels_are_those_of_cifar10() -> None:
    # Every class has its first rows in the bundle, so the originals' first ten are its first ten.
    assert bundle.read_bundled("train").labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert bundle.read_bundled("test").labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]


def test_no_image_is_in_two_splits() -> None:
    seen = {
        split: {image.tobytes() for image in bundle.read_bundled(split).images} for split in SIZES
    }
    assert [len(images) for images in seen.values()] == list(SIZES.values())
    assert not seen["train"] & seen["validation"]
    assert not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]


def test_bundle_is_at_most_13_megabytes() -> None:
    assert sum(file.stat().st_size for file in bundle.FOLDER.iterdir()) <= 13 * MEGABYTE


def test_terms_name_the_source() -> None:
    terms = (bundle.FOLDER / bundle.read_manifest()["terms"]).read_text(encoding="utf-8")
    assert "Krizhevsky" in terms
    assert "2009" in terms


def test_writing_by_the_rule_and_reading_back_is_lossless(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)

    def make(count: int) -> LabelledImages:
        labels = np.repeat(np.arange(10, dtype=np.uint8), count // 10)
        images = noise.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        return LabelledImages(images, noise.permutation(labels))

    full = {"train": make(7_000), "test": make(2_000)}
    bundle.write_bundle(full, tmp_path, effort=0)
    for split in SIZES:
        picked = bundle.apply_rule(full, split)
        assert picked.digests() == bundle.read_bundled(split, tmp_path).digests()


@pytest.mark.parametrize("damage", ["other image", "cut short", "missing", "manifest"])
def test_damage_is_refused(tmp_path: Path, damage: str) -> None:
    folder = shutil.copytree(bundle.FOLDER, tmp_path / "bundled")
    file = folder / "validation.webp"
    if damage == "other image":
        shutil.copy(folder / "test.webp", file)
    elif damage == "cut short":
        file.write_bytes(file.read_bytes()[:1_000])
    elif damage == "missing":
        file.unlink()
    else:
        (folder / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match=r"validation\.webp|manifest\.json"):
        bundle.read_bundled("validation", folder)


def test_rebuilding_from_something_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bundle.main([str(tmp_path)]) == 2
    assert "holds nothing that is known; expected CIFAR-10" in capsys.readouterr().err


@pytest.fixture
def small_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for a bundle with a small rule, applied to a small full set of real images."""
    train, test = bundle.read_bundled("train"), bundle.read_bundled("test")
    full = {
        "train": train.take(balanced_head(train.labels, 120)),
        "test": test.take(balanced_head(test.labels, 20)),
    }
    rule = {"train": ("train", 0, 10), "validation": ("train", 10, 12), "test": ("test", 0, 2)}
    monkeypatch.setattr(bundle, "RULE", rule)
    monkeypatch.setattr(bundle, "COLUMNS", 10)
    monkeypatch.setattr(bundle, "FOLDER", tmp_path)
    # The most effort takes seconds even for few images, and gives the same pixels.
    monkeypatch.setattr(bundle, "write_bundle", partial(bundle.write_bundle, effort=0))
    monkeypatch.setattr(bundle, "read_full_set", lambda _: (full, "as given"))
    return tmp_path


def test_bundle_is_written_where_it_differs_and_only_there(
    small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def state() -> dict[str, tuple[bytes, int]]:
        return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in small_bundle.iterdir()}

    assert bundle.main(["copy"]) == 2  # nothing is there
    assert bundle.main(["copy", "--write"]) == 0
    written = state()
    names = {"train.webp", "validation.webp", "test.webp", "manifest.json", "fingerprints.bin"}
    assert set(written) == names
    assert bundle.main(["copy", "--write"]) == 0
    assert state() == written

    table = small_bundle / "fingerprints.bin"
    table.write_bytes(bytes(840))
    capsys.readouterr()
    assert bundle.main(["copy"]) == 1
    assert "fingerprints: DIFFER" in capsys.readouterr().out
    assert bundle.main(["copy", "--write"]) == 0
    after = state()
    assert table.read_bytes() == written.pop("fingerprints.bin")[0]
    assert written.items() <= after.items()

    shutil.copy(small_bundle / "test.webp", small_bundle / "validation.webp")
    assert bundle.main(["copy"]) == 1
    assert bundle.main(["copy", "--write"]) == 0
    assert "validation: is what the rule gives" in capsys.readouterr().out


def test_fingerprints_are_of_5_bytes_and_a_label(small_bundle: Path) -> None:
    assert bundle.main(["copy", "--write"]) == 0
    full, _ = bundle.read_full_set(Path("copy"))
    rows = (small_bundle / "fingerprints.bin").read_bytes()
    image, label = full["test"].images[-1], full["test"].labels[-1]
    assert len(rows) == 140 * 6
    assert rows[-6:-1] == bytes.fromhex(sha256(image))[:5]
    assert rows[-1] == label
