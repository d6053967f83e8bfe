"""What a run has still to do, in which order, without overshooting: plain bookkeeping."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.trial import TrialConfig
from cifar_tune.search.plan import Work, example_config
from cifar_tune.search.requests import NewRequest
from cifar_tune.storage.trials import Known


@dataclass(frozen=True)
class Item:
    """A trial to be run next.

    Attributes:
        number: of one that waits; None of one that is to be made.
        name: of a named trial with its replicate; None if sampled.
        params: the searched values; the sampler draws those that are missing, or all if None.
        attributes: what is stored with a new one.
        index: of a sampled trial among those that were sampled, from 0, of a queued one among
            those that were queued, from 1: its seeds follow from it.
        config: what it will cost at the most, with the epochs that are left.
        alone: to be run with nothing beside it.
        is_queued: whether someone asked for it.
        is_new: whether no run has begun one that waits.
    """

    number: int | None
    name: str | None
    params: Mapping[str, float] | None
    attributes: Mapping[str, Any]
    index: int
    config: TrialConfig
    alone: bool = False
    is_queued: bool = False
    is_new: bool = False

    @property
    def is_owed(self) -> bool:
        """Whether this very trial was asked for: then it is never pruned, and does not count as
        one of those that the search is to sample."""
        return self.name is not None or self.is_queued


@dataclass
class WorkList:
    """What is left: trials that wait, then what people asked for, then named ones, then sampled
    ones.

    Trials that fail are not run again by the same run; the next one does that.
    """

    spec: StudySpec
    waiting: list[Item]
    queued: list[Item]
    named: list[Item]
    retries: list[Item]
    to_sample: int
    sampled_numbers: list[int]
    named_total: int

    @classmethod
    def make(
        cls,
        spec: StudySpec,
        study_seed: int,
        known: list[Known],
        more_trials: int | None,
        *,
        only_queued: bool = False,
    ) -> WorkList:
        """Compare what is wanted with what is there.

        Args:
            more_trials: trials to sample besides those that are done; None fills up to the number
                in the study file.
            only_queued: leave all that nobody asked for to another run.
        """
        example = example_config(spec)
        wanted = spec.replicates(study_seed)
        searched = [one for one in known if one.name is None and one.queued is None]
        numbers = [one.number for one in searched if not one.is_again]
        settled = {one.name for one in known if one.state == "settled"}
        begun = {one.name for one in known if one.state == "waiting"}
        done = sum(one.state == "settled" for one in searched)
        to_sample = max(spec.profile.trials - done, 0) if more_trials is None else more_trials
        waiting, retries = [], []
        for one in known:
            is_queued = one.queued is not None
            index = one.index if is_queued else bisect.bisect_left(numbers, one.number)
            if one.state == "waiting" and one.name in wanted:
                named, seed = wanted[one.name]
                left = _left(spec.named_config(named, seed), one.epochs)
                waiting.append(Item(one.number, one.name, named.params, {}, index, left))
            elif one.name is None and one.state == "waiting":
                left = _left(example, one.epochs)
                waiting.append(Item(one.number, None, None, {}, index, left, is_queued=is_queued))
            elif one.name is None and one.state == "retry":
                again: dict[str, Any] = {"retry_of": one.number, "seed": one.seed}
                again |= {"queued": one.queued} if is_queued else {}
                item = Item(None, None, one.params, again, index, example, is_queued=is_queued)
                retries.append(item)
        new = []
        for name, (named, seed) in wanted.items():
            if name not in settled | begun:
                settings = named.settings.given()
                attributes = {"name": name, "seed": seed}
                attributes |= {"settings": settings} if settings else {}
                config = spec.named_config(named, seed)
                new.append(Item(None, name, named.params, attributes, 0, config))
        if only_queued:
            waiting = [item for item in waiting if item.is_queued]
            retries = [item for item in retries if item.is_queued]
            new, to_sample = [], 0
        return cls(spec, waiting, [], new, retries, to_sample, numbers, len(wanted))

    def next(self, fits: Callable[[Item], bool]) -> Item | None:
        """Take the next trial that fits into what the run may still use; None if there is none."""
        if any(item.alone and not fits(item) for item in self.waiting):
            return None  # it would never be alone if others were begun before it
        for items in (self.waiting, self.queued, self.named, self.retries, self._new()):
            for item in items:
                if (item.is_owed or self.to_sample > 0) and fits(item):
                    items.remove(item)
                    self.to_sample -= not item.is_owed
                    return item
        return None

    def _new(self) -> list[Item]:
        index = len(self.sampled_numbers)
        return [Item(None, None, None, {}, index, example_config(self.spec))]

    def ask(self, requests: Iterable[NewRequest]) -> None:
        """Take note of all trials that people asked for and that were not begun yet."""
        self.queued = [self._asked(request) for request in requests]

    def _asked(self, request: NewRequest) -> Item:
        costliest = {
            key: getattr(example_config(self.spec), key) for key in self.spec.space.ranges()
        }
        config = self.spec.config({**costliest, **request.params}, seed=0)
        number, index = request.number, request.index
        return Item(number, None, None, {}, index, config, is_queued=True, is_new=True)

    def sampled(self, number: int) -> None:
        """A new sampled trial was made under that number."""
        self.sampled_numbers.append(number)

    def put_back(self, item: Item, number: int, epochs_left: int, *, alone: bool) -> None:
        """A trial that was begun is to go on before all others."""
        left = replace(item.config, epochs=epochs_left)
        self.waiting.insert(0, replace(item, number=number, config=left, alone=alone, is_new=False))
        self.to_sample += not item.is_owed

    def left(self) -> Work:
        """What was not begun or not ended."""
        named = [item.config for item in (*self.waiting, *self.named) if item.name is not None]
        asked = (*self.waiting, *self.queued, *self.retries)
        queued = [item.config for item in asked if item.is_queued]
        begun = [item.config for item in self.waiting if not item.is_owed]
        sampled = max(self.to_sample, 0)
        done = sum(example_config(self.spec).epochs - config.epochs for config in begun[:sampled])
        return Work(tuple(named), self.named_total, sampled, done, tuple(queued))


def _left(config: TrialConfig, epochs: int) -> TrialConfig:
    return replace(config, epochs=max(config.epochs - epochs, 1))
