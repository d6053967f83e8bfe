"""Reads a pickle that holds only data: arrays, strings, numbers, lists, tuples and dicts.

Nothing in the file is ever imported, called or executed: ``pickletools.genops`` splits it into
opcodes, and a small stack machine builds plain values from them. The few names that NumPy's
arrays need are recognised as text and stand for functions of this module.

Source: the opcodes as described in Python's ``pickletools``; NumPy's array states as its
``ndarray.__reduce__`` and ``__reduce_ex__`` write them.
"""

from __future__ import annotations

import math
import pickletools
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import numpy as np

from cifar_tune.data.cifar10 import UInt8Array
from cifar_tune.errors import DataError
from cifar_tune.wording import printable

MAX_OPCODES = 1_000_000
"""A batch of 10,000 images has about 60,000; each makes a value of a few dozen bytes."""
MAX_DEPTH = 4
MAX_DIMENSIONS = 4

_READ = "only arrays, strings, numbers, lists and dicts are read"


class _Name(Enum):
    """The names that an array of a pickle refers to."""

    RECONSTRUCT = auto()
    FROM_BUFFER = auto()
    ARRAY = auto()
    DTYPE = auto()
    ENCODE = auto()
    MARK = auto()


_NAMES = {
    "numpy.core.multiarray _reconstruct": _Name.RECONSTRUCT,
    "numpy._core.multiarray _reconstruct": _Name.RECONSTRUCT,
    "numpy.core.numeric _frombuffer": _Name.FROM_BUFFER,
    "numpy._core.numeric _frombuffer": _Name.FROM_BUFFER,
    "numpy ndarray": _Name.ARRAY,
    "numpy dtype": _Name.DTYPE,
    "_codecs encode": _Name.ENCODE,  # how protocol 2 of Python 3 writes bytes
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINFLOAT",
    "SHORT_BINSTRING",
    "BINSTRING",
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
    "SHORT_BINBYTES",
    "BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Dtype:
    """NumPy's uint8; no other is read."""


@dataclass
class _Array:
    """An array that was announced and is not built before its state follows."""

    array: UInt8Array | None = None


def read_array_pickle(data: bytes, where: str) -> Any:
    """Build the value of a pickle, of protocol 2 to 5, as written by Python 2 or 3.

    Args:
        data: the whole pickle.
        where: the file, for messages.

    Returns:
        None, bool, int, float, str, bytes, list, tuple, dict or uint8 array; strings of Python 2
        as str with one character a byte. An array shares the memory of ``data`` where it can.

    Raises:
        DataError: it is cut short or damaged, or refers to or holds anything else.
    """
    machine = _Machine(where, budget=len(data))
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count >= MAX_OPCODES:
                raise DataError(f"{where}: has more than {MAX_OPCODES:,} opcodes; refused")
            if opcode.name == "STOP":
                return machine.result()
            machine.step(opcode.name, argument)
    # What pickletools raises where a pickle is cut short or declares lengths that it has not,
    # and what the machine's own stack and memo raise where opcodes do not fit together.
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        reason = printable(f"{type(error).__name__}: {error}")
        raise DataError(f"{where}: is a damaged pickle: {reason}") from error
    raise DataError(f"{where}: is a damaged pickle: it does not end with STOP")


class _Machine:
    """The stack, the memo and what each opcode does with them.

    Args:
        budget: bytes that conversions may copy in all; a pickle that names one long string many
            times cannot make more of it.
    """

    def __init__(self, where: str, budget: int) -> None:
        self._where = where
        self._budget = budget
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._built = 0

    def result(self) -> Any:
        """The one value that is left, with arrays in place of their announcements."""
        (value,) = self._stack
        return self._finished(value, depth=0)

    def step(self, name: str, argument: Any) -> None:
        """Carry out one opcode."""
        stack = self._stack
        if name in _VALUES:
            stack.append(bytes(argument) if isinstance(argument, bytearray) else argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            stack.append(tuple(self._pop_many(_TUPLES[name])))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._top()
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._top()
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "MARK":
            stack.append(_Name.MARK)
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name not in ("PROTO", "FRAME"):
            self._combine(name, argument)

    def _combine(self, name: str, argument: Any) -> None:
        """The opcodes that make a value of others."""
        if name == "TUPLE":
            self._stack.append(tuple(self._pop_to_mark()))
        elif name in ("APPEND", "APPENDS"):
            items = self._pop_many(1) if name == "APPEND" else self._pop_to_mark()
            self._of_kind(self._top(), list, name).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._pop_many(2) if name == "SETITEM" else self._pop_to_mark()
            self._set_items(self._of_kind(self._top(), dict, name), items)
        elif name in ("GLOBAL", "INST"):
            self._stack.append(self._named(argument, name))
        elif name == "STACK_GLOBAL":
            module, attribute = (self._of_kind(part, str, name) for part in self._pop_many(2))
            self._stack.append(self._named(f"{module} {attribute}", name))
        elif name == "REDUCE":
            function, arguments = self._pop_many(2)
            self._stack.append(self._reduce(function, arguments))
        elif name == "BUILD":
            (state,) = self._pop_many(1)
            self._build(self._top(), state)
        else:
            raise self._refusal(f"uses the opcode {name}")

    def _named(self, reference: str, opcode: str) -> _Name:
        known = _NAMES.get(reference)
        if known is None:
            raise self._refusal(f"refers to {printable(reference.replace(' ', '.'))}")
        if opcode == "INST":
            raise self._refusal("uses the opcode INST")
        return known

    def _reduce(self, function: Any, arguments: Any) -> Any:
        given = self._of_kind(arguments, tuple, "REDUCE")
        if function is _Name.RECONSTRUCT and given[:2] == (_Name.ARRAY, (0,)):
            return _Array()
        if function is _Name.DTYPE and given:
            dtype = self._text(given[0])
            if dtype != "u1":
                raise self._refusal(f"holds an array of {printable(dtype)}, not of u1 (uint8)")
            return _Dtype()
        if function is _Name.FROM_BUFFER and len(given) == 4:
            buffer, dtype, shape, order = given
            return _Array(self._array(buffer, dtype, shape, self._text(order) == "F"))
        if function is _Name.ENCODE and len(given) == 2 and self._text(given[1]) == "latin1":
            return self._bytes(given[0])
        raise self._refusal("uses REDUCE on something that is not an array")

    def _build(self, target: Any, state: Any) -> None:
        parts = state if isinstance(state, tuple) else ()
        if isinstance(target, _Dtype) and parts:
            return  # byte order and alignment, of which one byte has none
        if isinstance(target, _Array) and target.array is None and len(parts) == 5:
            _, shape, dtype, fortran, content = parts
            target.array = self._array(content, dtype, shape, fortran is True)
            return
        raise self._refusal("uses BUILD on something that is not an array")

    def _array(self, content: Any, dtype: Any, shape: Any, fortran: bool) -> UInt8Array:
        if not isinstance(dtype, _Dtype):
            raise self._refusal("holds an array that is not of u1 (uint8)")
        held = self._bytes(content)
        sides = shape if isinstance(shape, tuple) and len(shape) <= MAX_DIMENSIONS else (None,)
        if not all(type(side) is int and side >= 0 for side in sides):
            raise self._refusal("holds an array without a proper shape")
        if math.prod(sides) != len(held):
            raise self._refusal(f"holds an array of {len(held):,} bytes with the shape {sides}")
        return np.frombuffer(held, np.uint8).reshape(sides, order="F" if fortran else "C")

    def _bytes(self, content: Any) -> bytes:
        if isinstance(content, bytes):
            return content
        if not isinstance(content, str):
            raise self._refusal(f"has a {type(content).__name__} where bytes are expected")
        self._budget -= len(content)
        if self._budget < 0:
            raise self._refusal("uses one string again and again")
        return content.encode("latin-1")

    def _text(self, value: Any) -> str | None:
        if isinstance(value, bytes):
            return value.decode("latin-1")
        return value if isinstance(value, str) else None

    def _set_items(self, target: dict[Any, Any], items: list[Any]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Tuples can be nested so that their hash takes for ever.
            if not isinstance(key, str | bytes | int):
                raise self._refusal(f"has a {type(key).__name__} as a key")
            target[key] = value

    def _finished(self, value: Any, depth: int) -> Any:
        """Copy a value with arrays where their announcements are."""
        self._built += 1
        if depth > MAX_DEPTH or self._built > MAX_OPCODES:
            raise self._refusal("nests values in values again and again")
        if isinstance(value, dict):
            return {key: self._finished(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._finished(item, depth + 1) for item in value)
        if isinstance(value, _Name | _Dtype) or (isinstance(value, _Array) and value.array is None):
            raise self._refusal("announces an array and does not hold it")
        return value.array if isinstance(value, _Array) else value

    def _top(self) -> Any:
        top = self._stack[-1]
        if top is _Name.MARK:
            raise ValueError("a mark where a value is expected")
        return top

    def _pop_many(self, count: int) -> list[Any]:
        if count == 0:
            return []
        items = self._stack[-count:]
        if len(items) < count or any(item is _Name.MARK for item in items):
            raise IndexError("too few values on the stack")
        del self._stack[-count:]
        return items

    def _pop_to_mark(self) -> list[Any]:
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is _Name.MARK:
                items = self._stack[place + 1 :]
                del self._stack[place:]
                return items
        raise IndexError("no mark on the stack")

    def _of_kind(self, value: Any, kind: type, opcode: str) -> Any:
        if type(value) is not kind:
            raise self._refusal(f"uses {opcode} on something that is not a {kind.__name__}")
        return value

    def _refusal(self, what: str) -> DataError:
        return DataError(f"{self._where}: {what}; {_READ}")
