"""Types of which the models of records are made that others may have written.

Files, exports and databases are read through such models, with ``faults.read_record``.
"""

from __future__ import annotations

import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
"""A whole number from 0."""
Positive = Annotated[int, Field(strict=True, ge=1, lt=2**63)]
"""A whole number from 1."""
Number = Annotated[float, Field(strict=True)]
"""Any number, also one that is not finite."""
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Fraction = Annotated[float, Field(strict=True, ge=0, le=1)]
"""An accuracy or a share."""
Seconds = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Digest = Annotated[str, Field(strict=True, pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256, as hexadecimal."""
Text = Annotated[str, Field(strict=True, max_length=100_000)]
Label = Annotated[str, Field(strict=True, min_length=1, max_length=512, pattern=r"^[^\x00-\x1f]*$")]
"""A name on one line."""


def _check_moment(text: str) -> str:
    """Check a time in UTC.

    Raises:
        ValueError: It is none.
    """
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None or not 1970 < moment.year < 9999:
        raise ValueError("no time with a zone")
    return text


Moment = Annotated[str, Field(strict=True, max_length=64), AfterValidator(_check_moment)]
"""A time as ISO 8601, with its zone."""
ReplicateName = Annotated[
    str, Field(strict=True, max_length=512, pattern=r"^[a-z0-9-]+/[A-Za-z0-9_.=+-]+/seed=[0-9]+$")
]
"""The name of a named trial with its replicate."""


class Record(BaseModel):
    """A part of a record: what it has of the known keys is of their types; others may be there."""

    model_config = ConfigDict(frozen=True)
