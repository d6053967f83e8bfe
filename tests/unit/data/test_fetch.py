"""The official archive is fetched, proven and imported; a failure leaves nothing."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
from copies import (
    BIN,
    Full,
    FullDisk,
    binary_files,
    files_below,
    with_pixel,
    write_tar,
)

from cifar_tune import files
from cifar_tune.data import download
from cifar_tune.data.cifar10 import sha256
from cifar_tune.data.importing import imports
from cifar_tune.data.importing.imports import fetch_cifar10
from cifar_tune.errors import DataError


@pytest.fixture
def archive(served: tuple[Path, str], full: Full, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The binary archive of the stand-in, served at the address that is fetched."""
    folder, address = served
    path = write_tar(folder / "cifar-10-binary.tar.gz", BIN, binary_files(full))
    monkeypatch.setattr(imports, "FETCH_URL", f"{address}/{path.name}")
    monkeypatch.setattr(imports, "FETCH_BYTES", path.stat().st_size)
    monkeypatch.setattr(imports, "FETCH_SHA256", sha256(np.fromfile(path, np.uint8)))
    return path


def test_fetch_imports_and_keeps_only_the_cache(
    archive: Path, full: Full, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert archive.exists()
    report = fetch_cifar10(root)
    assert report.image_set.source == "official binary files (fetched)"
    assert np.array_equal(report.image_set.splits["test"].images, full["test"].images)
    assert list(root.rglob("*")) == [root / "images", report.path]
    assert capfd.readouterr() == ("", "")


def test_what_is_fetched_is_the_official_archive() -> None:
    assert imports.FETCH_URL == "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    assert imports.FETCH_BYTES == 170_052_171
    assert imports.FETCH_SHA256.startswith("c4a38c50a1bc5f3a")


def fetch_fails(root: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        fetch_cifar10(root)
    assert "\n" not in str(caught.value)
    assert not files_below(root)


def test_fetch_of_another_file(archive: Path, root: Path) -> None:
    archive.write_bytes(archive.read_bytes() + b"\0")
    fetch_fails(root, "not the file with SHA-256 .*; .*`cifar-tune data import PATH --data-dir ")


def test_fetch_of_what_is_not_there(archive: Path, root: Path) -> None:
    archive.unlink()
    fetch_fails(root, "cannot be downloaded: 404 .*`cifar-tune data import PATH --data-dir ")


def test_fetch_without_network(archive: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(imports, "FETCH_URL", f"http://127.0.0.1:{port}/{archive.name}")
    fetch_fails(root, "ConnectionError; .*`cifar-tune data import PATH --data-dir ")


def test_fetch_from_a_server_that_does_not_answer(
    archive: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        monkeypatch.setattr(imports, "FETCH_URL", f"http://127.0.0.1:{port}/{archive.name}")
        fetch_fails(root, "ReadTimeout; .*`cifar-tune data import PATH --data-dir ")


def test_fetch_onto_a_full_disk(archive: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.unlink()  # what is not asked for cannot be missed
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: FullDisk())
    fetch_fails(root, r"0 MB are free on this disk, 1 MB are needed")


def test_fetched_archive_that_is_not_cifar10(
    archive: Path, full: Full, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tar(archive, BIN, binary_files(with_pixel(full, "test", 0)))
    monkeypatch.setattr(imports, "FETCH_SHA256", sha256(np.fromfile(archive, np.uint8)))
    fetch_fails(root, "not CIFAR-10: its test images differ")
