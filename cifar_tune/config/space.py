"""Hyperparameters as a study file has them: the values that each may take, and search spaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from cifar_tune.config.hyperparameter import Hyperparameter
from cifar_tune.config.trial import HYPERPARAMETERS, SEARCHABLE


class Strict(BaseModel):
    """A table of a study file: no other keys, no values of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def given(self) -> dict[str, Any]:
        """Return what the table has, without the keys that it leaves out."""
        return self.model_dump(exclude_none=True)


Table = TypeVar("Table", bound=Strict)


def with_fields(fields: Mapping[str, Any]) -> Callable[[type[Table]], type[Table]]:
    """Return a decorator that adds fields, as ``pydantic.create_model`` takes them, to a table."""

    def add_fields(table: type[Table]) -> type[Table]:
        return create_model(
            table.__name__,
            __base__=table,
            __doc__=table.__doc__,
            __module__=table.__module__,
            **fields,
        )

    return add_fields


def values_of(hyperparameter: Hyperparameter) -> Any:
    """Return the type of a hyperparameter's values, with their limits."""
    if hyperparameter.choices:
        return hyperparameter.type
    limits = Field(
        gt=hyperparameter.gt, ge=hyperparameter.ge, lt=hyperparameter.lt, le=hyperparameter.le
    )
    return Annotated[hyperparameter.type, limits]


@with_fields({key: (values_of(value) | None, None) for key, value in HYPERPARAMETERS.items()})
class Hyperparameters(Strict):
    """Values of hyperparameters, where they are given."""


class Range(Strict):
    """The values that a search may give a hyperparameter: from ``low`` to ``high``, both in."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> Range:
        if self.low >= self.high:
            raise fault(f"low = {self.low:g}, high = {self.high:g}", "low < high")
        if self.log and self.low <= 0:
            raise fault(f"low = {self.low:g} with log = true", "low > 0")
        return self

    def contains(self, value: float) -> bool:
        """Return whether a value lies in the range."""
        return self.low <= value <= self.high


class WholeRange(Range):
    """The range of a hyperparameter whose values are whole numbers."""

    low: int
    high: int


def _range_of(hyperparameter: Hyperparameter) -> type[Range]:
    """Return the table of a hyperparameter's range, with the limits of its values."""
    values = values_of(hyperparameter)
    fields: dict[str, Any] = {"low": (values, ...), "high": (values, ...)}
    if not hyperparameter.has_log_scale:
        fields["log"] = (Literal[False], False)
    return create_model(
        f"{hyperparameter.key}_range",
        __base__=WholeRange if hyperparameter.is_whole else Range,
        __module__=__name__,
        **fields,
    )


_RANGES = {key: _range_of(HYPERPARAMETERS[key]) for key in SEARCHABLE}
globals().update({table.__name__: table for table in _RANGES.values()})  # for pickle and deepcopy


@with_fields({key: (table | None, None) for key, table in _RANGES.items()})
class Space(Strict):
    """The search space: a range for each hyperparameter that is searched."""

    def ranges(self) -> dict[str, Range]:
        """Return the ranges that are given, by hyperparameter, in the order of ``SEARCHABLE``."""
        ranges = {key: getattr(self, key) for key in SEARCHABLE}
        return {key: values for key, values in ranges.items() if values is not None}


def fault(value: str, expected: str) -> PydanticCustomError:
    """Return the fault of a table, in words."""
    context = {"value": value, "expected": expected}
    return PydanticCustomError("fault", "{value}: expected {expected}", context)
