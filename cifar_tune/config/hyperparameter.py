"""What is declared of a hyperparameter, once: in the annotation of its field of ``TrialConfig``.

The checks of study files, search spaces, tables, notes and the documentation follow from it.
"""

from __future__ import annotations

import dataclasses
import types
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Hyperparameter:
    """The declaration of a hyperparameter.

    A field of ``TrialConfig`` is annotated with one and gives it its name, type and default::

        weight_decay: Annotated[float, Hyperparameter("weight decay of ...", ge=0, le=10)] = 0.0

    Attributes:
        help: What it is, for the table of the documentation.
        short: Its name where there is little room; its key if empty.
        label: Its name in a text; its key with spaces if empty.
        unit: The unit of its values, if its label does not say it.
        gt, ge, lt, le: The limits of its values, as pydantic names them.
        has_log_scale: Whether a study may search it on a logarithmic scale.
        shares_graph: Whether trials that differ in it share a captured training step: it is on the
            device before an epoch begins, or has no part in a step.
        key: Its name in study files and in ``TrialConfig``.
        type: ``int``, ``float`` or the ``Literal`` of its choices.
        default: Its value where a study says nothing.
        is_required: Whether every study has to say what it is, or search it.
    """

    help: str
    short: str = ""
    label: str = ""
    unit: str = ""
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    has_log_scale: bool = True
    shares_graph: bool = False
    key: str = ""
    type: Any = float
    default: Any = None
    is_required: bool = False

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of one that is no number."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def is_searchable(self) -> bool:
        """Whether a study may search it: the numbers."""
        return not self.choices

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers."""
        return self.type is int


def read_declarations(config: type) -> dict[str, Hyperparameter]:
    """Return the hyperparameters that a dataclass declares, by key, in the order of its fields."""
    annotations = get_type_hints(config, include_extras=True)
    declared = {}
    for field in dataclasses.fields(config):
        for metadata in getattr(annotations[field.name], "__metadata__", ()):
            if isinstance(metadata, Hyperparameter):
                is_required = field.default is dataclasses.MISSING
                declared[field.name] = dataclasses.replace(
                    metadata,
                    key=field.name,
                    type=_without_none(get_args(annotations[field.name])[0]),
                    default=None if is_required else field.default,
                    is_required=is_required,
                )
    return declared


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation
    return next(part for part in get_args(annotation) if part is not types.NoneType)
