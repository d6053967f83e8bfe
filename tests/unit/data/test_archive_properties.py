"""Whatever is done to the bytes of an archive, its reader reads it or refuses it in one line."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from copies import BATCH, NPM, npm_files, python_files, small_full_set, write_npz, write_tar
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cifar_tune.data.importing import array_pickle
from cifar_tune.data.importing.archives import read_tar
from cifar_tune.data.importing.batches import FORMATS, BatchFormat, read_batches
from cifar_tune.data.importing.npz import read_npz
from cifar_tune.errors import DataError

few = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
EDITS = st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=4)
"""Places, as a share of a file's length, and the bytes that are put there."""
LENGTHS = st.floats(0, 1) | st.just(1.0)
"""Of a file that is cut, as a share."""


def spoil(content: bytes, edits: list[tuple[float, bytes]], length: float) -> bytes:
    """Put bytes into a content and cut it."""
    changed = bytearray(content)
    for place, piece in edits:
        start = int(place * len(changed))
        changed[start : start + len(piece)] = piece
    return bytes(changed[: round(length * len(changed))])


@contextmanager
def may_be_refused(start: str) -> Iterator[None]:
    """Let a reader refuse what it is given, in one line with this start; nothing else."""
    message = start
    try:
        yield
    except DataError as error:
        message = str(error)
    assert message.startswith(start)
    assert "\n" not in message


def write(folder: str, name: str, content: bytes) -> Path:
    path = Path(folder) / name
    path.write_bytes(content)
    return path


@cache
def archive(mode: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = write_tar(Path(folder) / "a", NPM, npm_files(small_full_set()), mode)
        return path.read_bytes()


@cache
def npz() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write_npz(Path(folder) / "a.npz", small_full_set()).read_bytes()


@few
@given(mode=st.sampled_from(["w", "w:gz", "w:bz2", "w:xz"]), edits=EDITS, length=LENGTHS)
def test_a_spoilt_tar_archive(mode: str, edits: list[tuple[float, bytes]], length: float) -> None:
    sizes = FORMATS[2].sizes(BATCH)
    with tempfile.TemporaryDirectory() as folder:
        path = write(folder, "a.tar", spoil(archive(mode), edits, length))
        with may_be_refused(str(path)):
            assert read_tar(path, sizes).keys() <= sizes.keys()


@few
@given(edits=EDITS, length=LENGTHS)
def test_a_spoilt_npz_file(edits: list[tuple[float, bytes]], length: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(folder, "a.npz", spoil(npz(), edits, length))
        with may_be_refused(str(path)):
            splits, _ = read_npz(path)
            assert "train" in splits


class EveryDigest:
    """A set with every digest in it."""

    def __contains__(self, _: str) -> bool:
        return True


@pytest.mark.parametrize("form", FORMATS[1:], ids=lambda form: form.source)
@few
@given(name=st.integers(0, 5), edits=EDITS, length=LENGTHS)
def test_a_spoilt_batch(
    form: BatchFormat,
    name: int,
    edits: list[tuple[float, bytes]],
    length: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its pickle is spoilt too, as if its digest were an official one."""
    monkeypatch.setattr(array_pickle, "OFFICIAL_MD5", EveryDigest())
    whole = small_full_set()
    files = python_files(whole) if form is FORMATS[1] else npm_files(whole)
    changed = [*form.batches("train"), *form.batches("test")][name]
    files[changed] = spoil(files[changed], edits, length)
    with may_be_refused(changed):
        splits = read_batches(form, lambda name: (name, files[name]), BATCH)
        assert {split: len(part) for split, part in splits.items()} == {"train": 100, "test": 20}
