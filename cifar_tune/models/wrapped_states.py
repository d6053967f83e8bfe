"""Finds the state dict of a backbone in what training programs save around it.

A checkpoint has it under a name of its own, such as ``state_dict`` or ``model``, beside what an
optimiser needs; DataParallel, ``torch.compile``, Lightning and others put a prefix before each
name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cifar_tune.errors import WeightsError
from cifar_tune.wording import printable

State = Mapping[Any, Any]
MOST_DEPTH = 8
"""How deep in a checkpoint it is looked for."""


@dataclass(frozen=True)
class _Place:
    """Where a state dict is.

    Attributes:
        entries: The names of the entries that lead to it.
        prefix: What the names of the network's tensors have before them.
    """

    entries: tuple[str, ...]
    prefix: str
    state: State

    def __str__(self) -> str:
        entry = f"entry {'/'.join(map(printable, self.entries))}" if self.entries else ""
        prefix = f"prefix {printable(self.prefix)}" if self.prefix else ""
        return " with ".join(filter(None, (entry, prefix)))

    def taken_off(self) -> dict[Any, Any]:
        """Return its tensors by their names without the prefix; others keep theirs."""
        return {
            name.removeprefix(self.prefix) if isinstance(name, str) else name: value
            for name, value in self.state.items()
        }


def unwrap_state(content: State, names: frozenset[str], where: str) -> tuple[State, str]:
    """Return the state dict that a checkpoint has, and in words what was taken off, if anything.

    ``names`` are those of the network's tensors, of which it must have half to be taken for one.
    Where there is none, it is what holds the tensors.

    Raises:
        WeightsError: It has several, so that a choice would be a guess; all are named.
    """
    states = list(_walk(content, (), set()))
    networks = [place for state in states for place in _find_networks(*state, names)]
    if len(networks) > 1:
        listed = ", ".join(str(place) or "no prefix" for place in networks)
        raise WeightsError(
            f"{where}: holds {len(networks)} networks ({listed}); expected a file with one of them"
        )
    if networks:
        state = networks[0].taken_off()
        if len(state) < len(networks[0].state):
            raise WeightsError(f"{where}: has tensors twice, with {networks[0]} and without")
        return state, str(networks[0])
    return (states[0][1], "") if len(states) == 1 else (content, "")


def _walk(
    content: State, entries: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], State]]:
    """Yield each mapping that has tensors, once, with the names of the entries that lead to it."""
    if id(content) in seen:
        return
    seen.add(id(content))
    if any(isinstance(value, Tensor) for value in content.values()):
        yield entries, content
    for name, value in content.items():
        if isinstance(value, Mapping) and len(entries) < MOST_DEPTH:
            yield from _walk(value, (*entries, str(name)), seen)


def _find_networks(
    entries: tuple[str, ...], state: State, names: frozenset[str]
) -> Iterator[_Place]:
    prefixes = Counter(
        name[:start]
        for name in state
        if isinstance(name, str)
        for start in [0, *(place + 1 for place, letter in enumerate(name) if letter == ".")]
        if name[start:] in names
    )
    for prefix, count in prefixes.items():
        if 2 * count >= len(names):
            yield _Place(entries, prefix, state)
