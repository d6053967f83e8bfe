"""Archives are read in memory, and one that is not what it should be is refused in one line."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from copies import write_tar

from cifar_tune.data.bundle import read_bundled
from cifar_tune.data.importing import archives
from cifar_tune.data.importing.archives import read_tar
from cifar_tune.errors import DataError

SIZES = {"a.bin": (30_720, 30_720), "b.bin": (1, 40_000)}


@pytest.fixture(scope="module")
def content() -> bytes:
    """The bytes of ten images, which hardly compress."""
    return read_bundled("test").take(np.arange(10)).images.tobytes()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_expected_files_are_read_whatever_the_compression(
    tmp_path: Path, content: bytes, mode: str
) -> None:
    files = {"a.bin": content, "b.bin": content[:99], "other.txt": b"text"}
    path = write_tar(tmp_path / "archive", "folder", files, mode)
    assert read_tar(path, SIZES) == {"a.bin": content, "b.bin": content[:99]}
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_expected_is_an_empty_answer(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "archive", "folder", {"other.txt": b"text"})
    assert read_tar(path, SIZES) == {}


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


MEMBERS = {
    "absolute": (member("/etc/a.bin"), "the name /etc/a.bin leads out of the archive"),
    "parent": (member("folder/../../a.bin"), "leads out of the archive"),
    "backslashes": (member("..\\a.bin"), "leads out of the archive"),
    "drive": (member("C:\\a.bin"), "leads out of the archive"),
    "line break": (member("../a\nb"), r"the name '\.\./a\\nb' leads out"),
    "symbolic link": (member("a.bin", tarfile.SYMTYPE, "/etc/passwd"), "a.bin is a link"),
    "hard link": (member("a.bin", tarfile.LNKTYPE, "b.bin"), "a.bin is a link"),
    "character device": (member("a.bin", tarfile.CHRTYPE), "is a device, a pipe"),
    "block device": (member("other", tarfile.BLKTYPE), "is a device, a pipe"),
    "pipe": (member("a.bin", tarfile.FIFOTYPE), "is a device, a pipe"),
    "unknown kind": (member("a.bin", b"Z"), "of another special kind"),
}


@pytest.mark.parametrize(("info", "message"), MEMBERS.values(), ids=MEMBERS.keys())
def test_unsafe_members_are_refused(tmp_path: Path, info: tarfile.TarInfo, message: str) -> None:
    path = tmp_path / "archive.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(info)
    refused(path, message)


def test_sparse_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    with tarfile.open(path, "w") as archive:
        info = member("a.bin")
        # A sparse file's size can be anything; its header alone makes it so.
        info.pax_headers = {
            "GNU.sparse.major": "0",
            "GNU.sparse.map": "0,0",
            "GNU.sparse.size": "9",
        }
        archive.addfile(info)
    refused(path, "of another special kind")


def test_bomb_is_refused_by_what_its_headers_declare(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tar(tmp_path / "bomb.tar.gz", "f", {"zeros": bytes(5_000_000), "a.bin": content})
    read: list[int] = []
    bounded = archives._Bounded.read

    def counted(stream: archives._Bounded, size: int = -1) -> bytes:
        data = bounded(stream, size)
        read.append(len(data))
        return data

    monkeypatch.setattr(archives._Bounded, "read", counted)
    refused(path, r"it holds 5,000,000 bytes or more; at most \d+,\d+ are expected")
    assert sum(read) < 1_000_000


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_bomb_in_a_header_is_refused_before_it_is_in_memory(tmp_path: Path, kind: bytes) -> None:
    # Names longer than a header are in a block of their own, which tarfile reads by itself.
    info = member("x", kind)
    info.size = 200_000_000
    path = tmp_path / "bomb.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(10):
            file.write(bytes(1_000_000))
    refused(path, "are expected of an archive of")


def test_limits_hold_for_archives_of_any_size(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{i}.bin": content for i in range(5)}
    path = write_tar(tmp_path / "archive.tar", "folder", files, "w")
    with monkeypatch.context() as limits:
        limits.setattr(archives, "MAX_BYTES", 100_000)
        refused(path, "it holds 122,880 bytes or more; at most 100,000")
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    refused(path, "it has more than 3 members")


def test_expected_file_that_is_there_twice_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "archive.tar"
    with tarfile.open(path, "w") as archive:
        for folder in ("one", "two"):
            info = member(f"{folder}/a.bin")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    refused(path, "a.bin is in it twice")


@pytest.mark.parametrize("size", [0, 30_719, 30_721])
def test_other_sizes_are_refused(tmp_path: Path, content: bytes, size: int) -> None:
    path = write_tar(tmp_path / "archive.tar", "f", {"a.bin": (content + b"x")[:size]}, "w")
    refused(path, f"f/a.bin: has {size:,} bytes, expected 30,720")


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def turn_a_bit(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, turn_a_bit, lambda data: data[:-4]])
@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_damage_is_refused(
    tmp_path: Path, content: bytes, mode: str, damage: Callable[[bytes], bytes]
) -> None:
    path = write_tar(tmp_path / "archive", "folder", {"a.bin": content}, mode)
    path.write_bytes(damage(path.read_bytes()))
    refused(path, "damaged, cut short or not a tar archive|, expected 30,720")


@pytest.mark.parametrize("text", [b"", b"something else" * 100, b"\x1f\x8bgzip?", b"BZh91AY"])
def test_something_else_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "archive"
    path.write_bytes(text)
    refused(path, "damaged, cut short or not a tar archive")


def test_plain_archive_cut_within_a_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = write_tar(tmp_path / "archive.tar", "folder", {"a.bin": content}, "w")
    path.write_bytes(path.read_bytes()[:20_000])
    refused(path, "damaged, cut short or not a tar archive")


def refused(path: Path, message: str) -> None:
    before = path.read_bytes()
    with pytest.raises(DataError, match=message) as caught:
        read_tar(path, SIZES)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert [file.read_bytes() for file in path.parent.iterdir()] == [before]
