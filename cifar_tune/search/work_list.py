"""What a run has still to do, in which order, without overshooting: plain bookkeeping."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.trial import TrialConfig
from cifar_tune.search.plan import Work, example_config
from cifar_tune.search.requests import NewRequest
from cifar_tune.storage.trials import Known


@dataclass(frozen=True, kw_only=True)
class Item:
    """A trial to be run next.

    Attributes:
        config: What the trial costs at the most, with the epochs that are left.
        number: The number of a trial that waits; None of one that is to be made.
        params: The searched values; the sampler draws those that are missing, or all if None.
        attributes: What is stored with a new trial.
        index: Its seeds follow from it: of a sampled trial, which it is of those that were
            sampled, from 0; of a queued one, which of those that were queued, from 1.
        alone: Whether it is to be run with nothing beside it.
        is_new: Whether it waits, and no run has begun it.
    """

    config: TrialConfig
    number: int | None = None
    name: str | None = None
    params: Mapping[str, float] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    index: int = 0
    alone: bool = False
    is_queued: bool = False
    is_new: bool = False

    @property
    def is_owed(self) -> bool:
        """Whether this very trial was asked for.

        It is never pruned then, and is none of those that the search is to sample.
        """
        return self.name is not None or self.is_queued


class WorkList:
    """What is left of a study: what is wanted, without what is there.

    Trials that wait come first, then what people asked for, then named trials, then sampled ones.
    Trials that fail are not run again by the same run; the next one does that. ``more_trials`` and
    ``only_queued`` are those of ``RunOptions``.
    """

    def __init__(
        self,
        spec: StudySpec,
        study_seed: int,
        known: Sequence[Known],
        more_trials: int | None,
        *,
        only_queued: bool = False,
    ) -> None:
        searched = [trial for trial in known if trial.name is None and trial.queued is None]
        ended = sum(trial.state == "settled" for trial in searched)
        self._spec = spec
        self._example = example_config(spec)
        self._replicates = spec.replicates(study_seed)
        self._sampled_numbers = [trial.number for trial in searched if not trial.is_again]
        self._to_sample = (
            max(spec.profile.trials - ended, 0) if more_trials is None else more_trials
        )
        there = {trial.name for trial in known if trial.state in ("settled", "waiting")}
        self._named = [self._named_item(name) for name in self._replicates if name not in there]
        self._queued: list[Item] = []
        if only_queued:
            known = [trial for trial in known if trial.queued is not None]
            self._named, self._to_sample = [], 0
        waiting = [self._waiting_item(trial) for trial in known if trial.state == "waiting"]
        self._waiting = [item for item in waiting if item is not None]
        self._retries = [
            self._retry_item(trial)
            for trial in known
            if trial.state == "retry" and trial.name is None
        ]

    def _waiting_item(self, trial: Known) -> Item | None:
        """Return a trial that goes on; None if it is a replicate that is not wanted."""
        config, params = self._example, None
        if trial.name is not None:
            if trial.name not in self._replicates:
                return None
            named, seed = self._replicates[trial.name]
            config, params = self._spec.named_config(named, seed), named.params
        return Item(
            config=replace(config, epochs=max(config.epochs - trial.epochs, 1)),
            number=trial.number,
            name=trial.name,
            params=params,
            index=self._index(trial),
            is_queued=trial.queued is not None,
        )

    def _retry_item(self, trial: Known) -> Item:
        """Return a trial that is run again, under another number, since it failed."""
        attributes: dict[str, Any] = {"retry_of": trial.number, "seed": trial.seed}
        if trial.queued is not None:
            attributes["queued"] = trial.queued
        return Item(
            config=self._example,
            params=trial.params,
            attributes=attributes,
            index=self._index(trial),
            is_queued=trial.queued is not None,
        )

    def _named_item(self, name: str) -> Item:
        named, seed = self._replicates[name]
        attributes: dict[str, Any] = {"name": name, "seed": seed}
        if settings := named.settings.given():
            attributes["settings"] = settings
        config = self._spec.named_config(named, seed)
        return Item(config=config, name=name, params=named.params, attributes=attributes)

    def _queued_item(self, request: NewRequest) -> Item:
        costliest = {key: getattr(self._example, key) for key in self._spec.space.ranges()}
        return Item(
            config=self._spec.config({**costliest, **request.params}, seed=0),
            number=request.number,
            index=request.index,
            is_queued=True,
            is_new=True,
        )

    def _index(self, trial: Known) -> int:
        if trial.queued is not None:
            return trial.index
        return bisect.bisect_left(self._sampled_numbers, trial.number)

    def next(self, fits: Callable[[Item], bool]) -> Item | None:
        """Take the next trial that fits into what the run may still use; None if there is none."""
        if any(item.alone and not fits(item) for item in self._waiting):
            return None  # it would never be alone if others were begun before it
        sampled = [Item(config=self._example, index=len(self._sampled_numbers))]
        for items in (self._waiting, self._queued, self._named, self._retries, sampled):
            for item in items:
                if (item.is_owed or self._to_sample > 0) and fits(item):
                    items.remove(item)
                    self._to_sample -= not item.is_owed
                    return item
        return None

    def ask(self, requests: Iterable[NewRequest]) -> None:
        """Take note of all trials that people asked for and that were not begun yet."""
        self._queued = [self._queued_item(request) for request in requests]

    def sampled(self, number: int) -> None:
        """Take note of a new sampled trial's number."""
        self._sampled_numbers.append(number)

    def put_back(self, item: Item, number: int, epochs_left: int, *, alone: bool) -> None:
        """Let a trial that was begun go on before all others."""
        config = replace(item.config, epochs=epochs_left)
        item = replace(item, number=number, config=config, alone=alone, is_new=False)
        self._waiting.insert(0, item)
        self._to_sample += not item.is_owed

    def left(self) -> Work:
        """Return what was not begun or not ended."""
        items = (*self._waiting, *self._queued, *self._named, *self._retries)
        begun = [item.config for item in self._waiting if not item.is_owed]
        sampled = max(self._to_sample, 0)
        return Work(
            named=tuple(item.config for item in items if item.name is not None),
            named_total=len(self._replicates),
            sampled=sampled,
            sampled_epochs_done=sum(
                self._example.epochs - config.epochs for config in begun[:sampled]
            ),
            queued=tuple(item.config for item in items if item.is_queued),
        )
