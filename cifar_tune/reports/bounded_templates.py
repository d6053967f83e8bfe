"""Templates that a person wrote: what they compute and write has bounds.

Jinja2's sandbox keeps a template from Python's inside, but not from taking all memory: a number of
a billion digits is one short expression.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sized
from typing import Any

from jinja2 import StrictUndefined, Template
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

MOST_NUMBER = 1_000_000
"""The greatest whole number that is passed on, and the most rounds of loops over ranges."""
MOST_SIZE = 64 << 20
"""The most letters or entries of anything that is made, and of the document."""


class BoundedEnvironment(SandboxedEnvironment):
    """A sandbox whose templates raise ``OverflowError`` where they go beyond the bounds."""

    intercepted_binops = frozenset(["*", "**", "%", "+"])

    def __init__(
        self, filters: Mapping[str, Callable[..., Any]], functions: Mapping[str, Any]
    ) -> None:
        super().__init__(
            undefined=StrictUndefined,
            autoescape=False,  # Markdown is no HTML
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        known = {**self.filters, **filters}
        self.filters = {name: _bound(function) for name, function in known.items()}
        self.globals |= {"range": self._range, **functions}
        self._rounds = 0

    def call(self, context: Context, function: Any, /, *arguments: Any, **named: Any) -> Any:
        """Call a function of a template."""
        _check_arguments(arguments, named)
        return _check_size(super().call(context, function, *arguments, **named))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Apply an operator, if what comes out has a bounded size."""
        if operator == "*" and isinstance(left, Sized) != isinstance(right, Sized):
            many, times = (left, right) if isinstance(left, Sized) else (right, left)
            _check_bound(len(many) * times, MOST_SIZE)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            _check_bound(left.bit_length() * right, MOST_NUMBER)
        elif operator == "%":
            _check_widths(left)
        return _check_size(super().call_binop(context, operator, left, right))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return what stands for ``str.format``; None for anything else."""
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            _check_widths(value.__self__)
        return wrapped

    def _range(self, *arguments: int) -> range:
        numbers = range(*arguments)
        self._rounds += len(numbers)
        _check_bound(self._rounds, MOST_NUMBER)
        return numbers


def render(template: Template) -> str:
    """Return the text of a template.

    Raises:
        OverflowError: It is too long.
        UnicodeEncodeError: It has half of a character.
    """
    parts, size = [], 0
    for part in template.generate():
        parts.append(part)
        size += len(part)
        _check_bound(size, MOST_SIZE)
        part.encode()
    return "".join(parts)


def _bound(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that takes bounded numbers and gives bounded texts and lists."""

    @functools.wraps(function)  # Jinja2 marks with attributes what a filter is passed
    def call(*arguments: Any, **named: Any) -> Any:
        _check_arguments(arguments[1:], named)
        if function.__name__ == "do_format":
            _check_widths(arguments[0])
        return _check_size(function(*arguments, **named))

    return call


def _check_arguments(arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    for value in (*arguments, *named.values()):
        _check_bound(value, MOST_NUMBER)


def _check_size(value: Any) -> Any:
    """Return a value that is not too long."""
    _check_bound(len(value) if isinstance(value, Sized) else 0, MOST_SIZE)
    return value


def _check_widths(text: object) -> None:
    if isinstance(text, str) and re.search(r"[0-9]{5}|[*]", text):
        raise OverflowError(f"{text[:40]!r}: expected widths below 10,000")


def _check_bound(number: object, most: int) -> None:
    if isinstance(number, int) and abs(number) > most:
        raise OverflowError(f"a number or a length is above {most:,}, more than a document needs")
