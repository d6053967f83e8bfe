"""A pickle of arrays is read as data: whatever else is in it is named and never carried out."""

from __future__ import annotations

import os
import pickle
import struct
import sys
from typing import Any

import numpy as np
import pytest
from copies import python2_pickle

from cifar_tune.data.bundle import read_bundled
from cifar_tune.data.cifar10 import LabelledImages
from cifar_tune.data.importing import array_pickle
from cifar_tune.data.importing.array_pickle import read_array_pickle
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
def test_batch_of_python_2(part: LabelledImages, fortran: bool) -> None:
    content = python2_pickle(part.images.reshape(len(part), -1), part.labels, fortran)
    # The opcodes written by hand are those of Python 2: its successor reads the same from them.
    assert_is_batch(pickle.loads(content, encoding="latin1"), part)
    assert_is_batch(read_array_pickle(content, "data_batch_1"), part)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_batch_of_python_3(part: LabelledImages, protocol: int, order: Any) -> None:
    batch = as_batch(part)
    batch["data"] = np.asarray(batch["data"], order=order)
    found = read_array_pickle(pickle.dumps(batch, protocol), "data_batch_1")
    assert_is_batch(found, part)
    assert found["filenames"] == batch["filenames"]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values(protocol: int) -> None:
    value = [None, True, -5, 2**40, 1.5, "ä", b"\xff\x00", (1,), (1, 2, 3, 4), {"a": {b"b": []}}]
    assert read_array_pickle(pickle.dumps(value, protocol), "file") == value


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
U1 = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"

REFUSED = {
    "GLOBAL": (pickle.dumps(Runs(exec, COMMAND), 2), "refers to __builtin__.exec"),
    "STACK_GLOBAL": (pickle.dumps(Runs(exec, COMMAND), 4), "refers to builtins.exec"),
    "os.system": (pickle.dumps(Runs(os.system, "exit 1"), 4), r"refers to (posix|nt)\.system"),
    "INST": (b"(" + TEXT + b"i__builtin__\nexec\n.", "refers to __builtin__.exec"),
    "INST of a known name": (b"(U\x02u1inumpy\ndtype\n.", "uses the opcode INST"),
    "OBJ": (b"(c__builtin__\nexec\n" + TEXT + b"o.", "refers to __builtin__.exec"),
    "OBJ of a known name": (b"(cnumpy\ndtype\nU\x02u1o.", "uses the opcode OBJ"),
    "NEWOBJ": (pickle.dumps(Plain(), 2), "refers to test_array_pickle.Plain"),
    "NEWOBJ of a known name": (b"\x80\x02cnumpy\nndarray\nK\x01\x85\x81.", "the opcode NEWOBJ"),
    "module in the middle": (b"cnumpy.core.multiarray os\nsystem\n.", "refers to numpy.core.multi"),
    "line break in a name": (b"\x80\x04\x8c\x02a\n\x8c\x01b\x93.", r"refers to 'a\\n\.b'"),
    "extension": (b"\x80\x02\x82\x01.", "uses the opcode EXT1"),
    "persistent": (b"Psomething\n.", "uses the opcode PERSID"),
    "text number": (b"I12\n.", "uses the opcode INT"),
    "BUILD on a list": (b"\x80\x02]}b.", "uses BUILD on something that is not an array"),
    "BUILD twice": (
        ARRAY + (b"(K\x01K\x01\x85" + U1 + b"\x89U\x01atb") * 2 + b".",
        "uses BUILD on something that is not an array",
    ),
    "REDUCE of a string": (b"\x80\x02U\x01aK\x01\x85R.", "uses REDUCE on something"),
    "REDUCE of no tuple": (b"\x80\x02cnumpy\ndtype\nK\x01R.", "uses REDUCE on something"),
    "other dtype": (pickle.dumps({"data": np.zeros(3, np.float32)}, 4), "an array of f4, not of"),
    "objects": (pickle.dumps(np.array([Plain()], object), 2), "an array of O8, not of"),
    "scalar": (pickle.dumps(np.uint8(3), 4), r"refers to numpy\._?core\.multiarray\.scalar"),
    "array without state": (ARRAY + b".", "announces an array and does not hold it"),
    "array without dtype": (ARRAY + b"(K\x01K\x01\x85N\x89U\x01atb.", "not of u1"),
    "other shape": (ARRAY + b"(K\x01K\x09\x85" + U1 + b"\x89U\x01atb.", r"1 bytes with .*\(9,\)"),
    "negative shape": (
        ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + U1 + b"\x89U\x01atb.",
        "without a proper shape",
    ),
    "shape of lists": (ARRAY + b"(K\x01]" + U1 + b"\x89U\x01atb.", "without a proper shape"),
    "content of a number": (ARRAY + b"(K\x01K\x01\x85" + U1 + b"\x89K\x01tb.", "has a int where"),
    "tuple as a key": (b"\x80\x02})K\x01s.", "has a tuple as a key"),
    "name as a value": (b"cnumpy\nndarray\n.", "announces an array"),
    "append to a dict": (b"\x80\x02}K\x01a.", "uses APPEND on something that is not a list"),
    "items into a list": (b"\x80\x02]K\x01K\x01s.", "uses SETITEM on something that is not a dict"),
    "memo not set": (b"\x80\x02h\x07.", "damaged pickle: KeyError"),
    "memo of a mark": (b"\x80\x02(q\x00.", "damaged pickle: ValueError"),
    "no mark": (b"\x80\x02K\x01t.", "damaged pickle: IndexError"),
    "mark in a tuple": (b"\x80\x02K\x01(\x86.", "damaged pickle: IndexError"),
    "two values": (b"\x80\x02K\x01K\x02.", "damaged pickle: ValueError"),
    "no value": (b"\x80\x02.", "damaged pickle: ValueError"),
    "empty": (b"", "damaged pickle: ValueError"),
    "not a pickle": (b"\xff\xd8\xff\xe0", "damaged pickle: ValueError"),
    "huge string": (b"\x80\x02T" + struct.pack("<i", 2**31 - 1) + b"abc.", "damaged pickle"),
    "negative length": (b"\x80\x02T" + struct.pack("<i", -5) + b"abc.", "damaged pickle"),
    "huge bytes": (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.", "damaged pickle"),
    "huge frame": (b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"K\x01", "damaged pickle"),
    "huge number": (b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"a.", "damaged pickle"),
    "list in itself": (b"\x80\x02]q\x00h\x00a.", "nests values in values"),
    "one list a thousand times": (
        b"\x80\x02]q\x00(" + b"N" * 1_000 + b"e](" + b"h\x00" * 1_000 + b"e\x86.",
        "nests values in values",
    ),
    "one string again and again": (
        b"\x80\x02X\x40\x00\x00\x00" + b"a" * 64 + b"q\x00](" + b"c_codecs\nencode\nh\x00"
        b"U\x06latin1\x86R" * 50 + b"e.",
        "uses one string again and again",
    ),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_anything_else_is_refused_and_named(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_array_pickle(content, "data_batch_1")
    assert str(caught.value).startswith("data_batch_1: ")
    assert "\n" not in str(caught.value)
    assert MARKER not in sys.modules


def test_the_attack_would_have_run() -> None:
    pickle.loads(REFUSED["GLOBAL"][0])
    assert sys.modules.pop(MARKER) == 1


@pytest.mark.parametrize("protocol", [2, 4])
def test_cut_short_anywhere_is_refused(part: LabelledImages, protocol: int) -> None:
    few = part.take(np.arange(2))
    content = pickle.dumps(as_batch(few), protocol)
    for length in range(0, len(content), 53):
        with pytest.raises(DataError, match="pickle"):
            read_array_pickle(content[:length], "data_batch_1")


def test_too_many_opcodes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_pickle, "MAX_OPCODES", 100)
    with pytest.raises(DataError, match="more than 100 opcodes"):
        read_array_pickle(b"\x80\x02(" + b"]" * 200 + b"l.", "data_batch_1")
