"""What a run has still to do, in which order, without overshooting: plain bookkeeping."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cifar_tune.plan import Work, example_config
from cifar_tune.records import TrialConfig
from cifar_tune.study_file import StudySpec


@dataclass(frozen=True)
class Known:
    """A trial that the storage has.

    Attributes:
        number: of the trial.
        name: of a named trial with its replicate; None if sampled.
        state: ``waiting``, ``settled``, ``retry`` (it failed, and is to be run again) or
            ``retried`` (that was done).
        seed, params: where it has them.
        epochs: that it was trained for.
        is_again: whether it is another one's second run.
    """

    number: int
    name: str | None
    state: str
    seed: int | None
    params: Mapping[str, float]
    epochs: int
    is_again: bool


@dataclass(frozen=True)
class Item:
    """A trial to be run next.

    Attributes:
        number: of one that waits; None of one that is to be made.
        name: of a named trial with its replicate; None if sampled.
        params: the searched values; None if the sampler is to draw them.
        attributes: what is stored with a new one.
        index: of a sampled trial among those that were sampled, from 0: its seeds follow from it.
        config: what it will cost at the most, with the epochs that are left.
        alone: to be run with nothing beside it.
    """

    number: int | None
    name: str | None
    params: Mapping[str, float] | None
    attributes: Mapping[str, Any]
    index: int
    config: TrialConfig
    alone: bool = False


@dataclass
class Agenda:
    """What is left: trials that wait, then named ones, then sampled ones.

    Trials that fail are not run again by the same run; the next one does that.
    """

    spec: StudySpec
    waiting: list[Item]
    named: list[Item]
    retries: list[Item]
    to_sample: int
    sampled_numbers: list[int]
    named_total: int

    @classmethod
    def make(
        cls, spec: StudySpec, study_seed: int, known: list[Known], more_trials: int | None
    ) -> Agenda:
        """Compare what is wanted with what is there.

        Args:
            more_trials: trials to sample besides those that are done; None fills up to the number
                in the study file.
        """
        example = example_config(spec)
        wanted = spec.replicates(study_seed)
        numbers = [one.number for one in known if one.name is None and not one.is_again]
        settled = {one.name for one in known if one.state == "settled"}
        begun = {one.name for one in known if one.state == "waiting"}
        done = sum(one.name is None and one.state == "settled" for one in known)
        to_sample = max(spec.trials - done, 0) if more_trials is None else more_trials
        waiting, retries = [], []
        for one in known:
            index = bisect.bisect_left(numbers, one.number)
            if one.state == "waiting" and one.name in wanted:
                named, seed = wanted[one.name]
                left = _left(spec.named_config(named, seed), one.epochs)
                waiting.append(Item(one.number, one.name, named.params, {}, index, left))
            elif one.name is None and one.state == "waiting":
                left = _left(example, one.epochs)
                waiting.append(Item(one.number, None, None, {}, index, left))
            elif one.name is None and one.state == "retry":
                again = {"retry_of": one.number, "seed": one.seed}
                retries.append(Item(None, None, one.params, again, index, example))
        new = []
        for name, (named, seed) in wanted.items():
            if name not in settled | begun:
                settings = named.settings.given()
                attributes = {"name": name, "seed": seed}
                attributes |= {"settings": settings} if settings else {}
                config = spec.named_config(named, seed)
                new.append(Item(None, name, named.params, attributes, 0, config))
        return cls(spec, waiting, new, retries, to_sample, numbers, len(wanted))

    def next(self, fits: Callable[[Item], bool]) -> Item | None:
        """Take the next trial that fits into what the run may still use; None if there is none."""
        if any(item.alone and not fits(item) for item in self.waiting):
            return None  # it would never be alone if others were begun before it
        for items in (self.waiting, self.named, self.retries, self._new()):
            for item in items:
                if (item.name is not None or self.to_sample > 0) and fits(item):
                    items.remove(item)
                    self.to_sample -= item.name is None
                    return item
        return None

    def _new(self) -> list[Item]:
        index = len(self.sampled_numbers)
        return [Item(None, None, None, {}, index, example_config(self.spec))]

    def sampled(self, number: int) -> None:
        """A new sampled trial was made under that number."""
        self.sampled_numbers.append(number)

    def put_back(self, item: Item, number: int, epochs_left: int, *, alone: bool) -> None:
        """A trial that was begun is to go on before all others."""
        left = replace(item.config, epochs=epochs_left)
        self.waiting.insert(0, replace(item, number=number, config=left, alone=alone))
        self.to_sample += item.name is None

    def left(self) -> Work:
        """What was not begun or not ended."""
        named = [item.config for item in (*self.waiting, *self.named) if item.name is not None]
        begun = [item.config for item in self.waiting if item.name is None]
        sampled = max(self.to_sample, 0)
        done = sum(example_config(self.spec).epochs - config.epochs for config in begun[:sampled])
        return Work(tuple(named), self.named_total, sampled, done)


def _left(config: TrialConfig, epochs: int) -> TrialConfig:
    return replace(config, epochs=max(config.epochs - epochs, 1))
