"""Settings that are not the same in all of several records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Difference:
    """A key whose value is not the same everywhere, with its value in each record, in order.

    A record without the key has None.
    """

    key: str
    values: tuple[Any, ...]


def list_differences(records: Sequence[Mapping[str, Any]]) -> tuple[Difference, ...]:
    """Return the keys that differ, in the order in which they first occur."""
    keys = dict.fromkeys(key for record in records for key in record)
    rows = (Difference(key, tuple(record.get(key) for record in records)) for key in keys)
    return tuple(row for row in rows if any(value != row.values[0] for value in row.values))
