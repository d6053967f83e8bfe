"""A pickle is read if it is an official file; even then nothing but arrays is built from it."""

from __future__ import annotations

import os
import pickle
import struct
import sys
from typing import Any

import numpy as np
import pytest
import torchvision
from copies import allow_pickles, python2_pickle

from cifar_tune.data.bundle import read_bundled
from cifar_tune.data.cifar10 import LabelledImages
from cifar_tune.data.importing import array_pickle
from cifar_tune.data.importing.array_pickle import read_official_batch
from cifar_tune.errors import DataError


@pytest.fixture(scope="module")
def part() -> LabelledImages:
    """More than 256 images, so that numbers and memo entries of every width occur."""
    return read_bundled("test").take(np.arange(300))


def as_batch(part: LabelledImages) -> dict[Any, Any]:
    return {
        "batch_label": "testing batch 1 of 1",
        "labels": part.labels.tolist(),
        "data": part.images.reshape(len(part), -1),
        "filenames": [f"café_{i}.png" for i in range(len(part))],
    }


def assert_is_batch(found: Any, part: LabelledImages) -> None:
    assert set(found) == {"batch_label", "labels", "data", "filenames"}
    assert found["labels"] == part.labels.tolist()
    assert found["data"].dtype == np.uint8
    assert np.array_equal(found["data"], part.images.reshape(len(part), -1))
    assert len(found["filenames"]) == len(part)


@pytest.mark.parametrize("fortran", [False, True], ids=["C order", "Fortran order"])
def test_batch_of_python_2(
    part: LabelledImages, fortran: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = python2_pickle(part.images.reshape(len(part), -1), part.labels, fortran)
    # The opcodes written by hand are those of Python 2: its successor reads the same from them.
    assert_is_batch(pickle.loads(content, encoding="latin1"), part)
    with pytest.raises(DataError, match="is not as it was published"):
        read_official_batch(content, "data_batch_1")
    allow_pickles(monkeypatch, content)
    assert_is_batch(read_official_batch(content, "data_batch_1"), part)


def test_the_digests_are_those_that_torchvision_checks() -> None:
    published = torchvision.datasets.CIFAR10.train_list + torchvision.datasets.CIFAR10.test_list
    assert {digest for _, digest in published} == array_pickle.OFFICIAL_MD5
    assert len(array_pickle.OFFICIAL_MD5) == 6


class Runs:
    """What an attacker writes: unpickling it runs a command."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


class Plain:
    """An object of a class, which protocol 2 writes with NEWOBJ."""


MARKER = "cifar_tune_pickle_ran"
COMMAND = f"import sys; sys.modules[{MARKER!r}] = 1"
TEXT = b"X" + struct.pack("<I", len(COMMAND)) + COMMAND.encode()
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
HUGE = b"\x8a\x05\x00\x00\x00\x00\x01"  # 2 ** 32
U1 = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"

REFUSED = {
    "GLOBAL": (pickle.dumps(Runs(exec, COMMAND), 2), "refers to __builtin__.exec"),
    "STACK_GLOBAL": (pickle.dumps(Runs(exec, COMMAND), 4), "refers to builtins.exec"),
    "os.system": (pickle.dumps(Runs(os.system, "exit 1"), 4), r"refers to (posix|nt)\.system"),
    "INST": (b"(" + TEXT + b"i__builtin__\nexec\n.", "refers to __builtin__.exec"),
    "OBJ": (b"(c__builtin__\nexec\n" + TEXT + b"o.", "refers to __builtin__.exec"),
    "NEWOBJ": (pickle.dumps(Plain(), 2), "refers to test_array_pickle.Plain"),
    "part of a name": (
        b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.",
        "ndarray.__class__;",
    ),
    "module in the middle": (
        b"cnumpy.core.multiarray os\nsystem\n.",
        "to numpy.core.multiarray os.system",
    ),
    "line break in a name": (b"\x80\x04\x8c\x02a\n\x8c\x01b\x93.", r"refers to 'a\\n\.b'"),
    "extension": (b"\x80\x02\x82\x01.", "damaged pickle: ValueError"),
    "persistent": (b"Psomething\n.", "pickle: .UnpicklingError"),
    "BUILD on a list": (b"\x80\x02]}K\x01K\x01sb.", "damaged pickle: "),
    "BUILD on a class": (b"\x80\x02cnumpy\nndarray\nN}U\x01aK\x01s\x86b.", "damaged pickle: "),
    "REDUCE of a string": (b"\x80\x02U\x01aK\x01\x85R.", "damaged pickle: TypeError"),
    "REDUCE of no tuple": (b"\x80\x02cnumpy\ndtype\nK\x01R.", "damaged pickle: "),
    "scalar": (pickle.dumps(np.uint8(3), 4), r"refers to numpy\._?core\.multiarray\.scalar"),
    "array of Python 3": (pickle.dumps(np.zeros(3, np.uint8), 5), r"refers to numpy\._core\.num"),
    "array without dtype": (ARRAY + b"(K\x01K\x01\x85N\x89U\x01atb.", "damaged pickle: TypeError"),
    "other shape": (ARRAY + b"(K\x01K\x09\x85" + U1 + b"\x89U\x01atb.", "damaged pickle: "),
    "negative shape": (
        ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + U1 + b"\x89U\x01atb.",
        "damaged pickle: ",
    ),
    "shape of lists": (ARRAY + b"(K\x01]" + U1 + b"\x89U\x01atb.", "damaged pickle: "),
    "content of a number": (ARRAY + b"(K\x01K\x01\x85" + U1 + b"\x89K\x01tb.", "damaged pickle: "),
    "huge array": (b"cnumpy\nndarray\n(" + HUGE + HUGE + b"t\x85R.", "damaged pickle: "),
    "list as a key": (b"\x80\x02}]K\x01s.", "damaged pickle: TypeError"),
    "append to a dict": (b"\x80\x02}K\x01a.", "damaged pickle: "),
    "items into a list": (b"\x80\x02]K\x01K\x01s.", "damaged pickle: "),
    "memo not set": (b"\x80\x02h\x07.", "damaged pickle: "),
    "no mark": (b"\x80\x02K\x01t.", "damaged pickle: "),
    "no value": (b"\x80\x02.", "damaged pickle: "),
    "empty": (b"", "damaged pickle: EOFError"),
    "not a pickle": (b"\xff\xd8\xff\xe0", "damaged pickle: "),
    "huge string": (b"\x80\x02T" + struct.pack("<i", 2**31 - 1) + b"abc.", "damaged pickle"),
    "negative length": (b"\x80\x02T" + struct.pack("<i", -5) + b"abc.", "damaged pickle"),
    "huge bytes": (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.", "damaged pickle"),
    "huge frame": (b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"K\x01", "damaged pickle"),
    "huge number": (b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"a.", "damaged pickle"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_anything_else_is_refused_and_named(
    content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_refused(content, "is not as it was published")
    allow_pickles(monkeypatch, content)
    check_refused(content, message)


def check_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_official_batch(content, "data_batch_1")
    assert str(caught.value).startswith("data_batch_1: ")
    assert "\n" not in str(caught.value)
    assert MARKER not in sys.modules


def test_the_attack_would_have_run() -> None:
    pickle.loads(REFUSED["GLOBAL"][0])
    assert sys.modules.pop(MARKER) == 1


def test_cut_short_anywhere_is_refused(
    part: LabelledImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = python2_pickle(part.images[:2].reshape(2, -1), part.labels[:2])
    pieces = [content[:length] for length in range(0, len(content), 53)]
    allow_pickles(monkeypatch, *pieces)
    for piece in pieces:
        check_refused(piece, "is a damaged pickle")
