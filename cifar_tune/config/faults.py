"""Says what is wrong with a table of a study file: key, value and what was expected."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Collection, Hashable, Sequence
from typing import Any, TypeVar, cast, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from cifar_tune.errors import CifarTuneError

_TAGS = {"tpe", "gp", "random", "percentile", "median", "none"}
_EXPECTED = {
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "literal_error": "{expected}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "string_pattern_mismatch": "text that matches {pattern}",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "value_error": "another value: {error}",
    "finite_number": "a finite number",
    "string_type": "text in quotes",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}
"""What was expected, by pydantic's type of the error."""


Model = TypeVar("Model")


def read_record(
    model: type[Model], raw: object, where: str, error_type: type[CifarTuneError]
) -> Model:
    """Return a record that others may have written, checked.

    ``model`` is one of pydantic's, or a dataclass.

    Raises:
        CifarTuneError: It is not of that model; of the type ``error_type``. The message says
            ``where``, and of the first fault the key, the value and what was expected.
    """
    faults = schema_faults(model, raw)
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise error_type(f"{where}: {faults[0]}{more}")
    record: Model = _adapter(cast("Hashable", model)).validate_python(raw)
    return record


@functools.cache
def _adapter(model: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast("Any", model))


def schema_faults(model: type[Any], raw: object) -> list[str]:
    """Return every fault that pydantic finds, as ``key = value: expected …``."""
    try:
        _adapter(cast("Hashable", model)).validate_python(raw)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        return [_describe(model, detail) for detail in errors if not _is_misspelt(detail, errors)]
    return []


def describe_unknown_key(key: str, owner: type[BaseModel] | None) -> str:
    """Return what to say of a key that the table it stands in, ``owner``, does not have."""
    if owner is None:
        return "is not a known key"
    known = list(owner.model_fields)
    return f"is not a known key; expected one of {', '.join(known)}{suggest(key, known)}"


def nearest(word: str, known: Collection[str]) -> str | None:
    """Return the known word that a misspelt one most probably means, if any."""
    return next(iter(difflib.get_close_matches(word, known, n=1)), None)


def suggest(word: str, known: Collection[str]) -> str:
    """Return the question whether a known word was meant, to end a message with, if any is near."""
    near = nearest(word, known)
    return f"; did you mean {near}?" if near else ""


def _is_misspelt(detail: ErrorDetails, details: list[ErrorDetails]) -> bool:
    """Return whether a missing key stands beside an unknown one, reported itself, that means it."""
    if detail["type"] != "missing":
        return False
    *parent, key = detail["loc"]
    unknown = [
        str(other["loc"][-1])
        for other in details
        if other["type"] == "extra_forbidden" and [*other["loc"][:-1]] == parent
    ]
    return nearest(str(key), unknown) is not None


def _describe(model: type[Any], detail: ErrorDetails) -> str:
    location = _without_tags(detail["loc"])
    key = _dotted(location)
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "fault":
        return f"{key}: {detail['msg']}" if key else detail["msg"]
    if kind == "missing":
        return f"{key}: is missing"
    if kind == "extra_forbidden":
        return f"{key}: {describe_unknown_key(str(location[-1]), _owner(model, location[:-1]))}"
    if kind == "union_tag_not_found":
        return f"{key}.name: is missing"
    if kind == "union_tag_invalid":
        return f"{key}.name = {context['tag']!r}: expected one of {context['expected_tags']}"
    expected = _EXPECTED[kind].format(**context) if kind in _EXPECTED else detail["msg"]
    found = _short(detail["input"])
    return f"{key} = {found}: expected {expected}" if key else f"is {found}, expected {expected}"


def _without_tags(location: Sequence[int | str]) -> list[int | str]:
    """Return a location without pydantic's own parts: tags of unions and marks of a dict's keys."""
    keys: list[int | str] = []
    for part in location:
        is_tag = bool(keys) and keys[-1] in ("sampler", "pruner") and part in _TAGS
        if not is_tag and part != "[key]":
            keys.append(part)
    return keys


def _owner(model: type[Any], location: Sequence[int | str]) -> type[BaseModel] | None:
    """Return the model that a key of the file belongs to, found by walking the annotations."""
    current: Any = model
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            current = field.annotation if field else None
        else:
            current = get_args(current)[-1] if get_args(current) else None
        while get_args(current) and get_args(current)[-1] is type(None):
            current = get_args(current)[0]
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def _dotted(location: Sequence[int | str]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
