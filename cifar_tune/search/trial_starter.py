"""Begins trials in Optuna's storage, or takes up those that wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from cifar_tune.config.seeds import derive_seed
from cifar_tune.config.trial import TrialConfig
from cifar_tune.search.open_study import OpenStudy
from cifar_tune.search.samplers import distributions, make_sampler
from cifar_tune.search.work_list import Item
from cifar_tune.storage import trials
from cifar_tune.storage.kept_weights import may_be_kept
from cifar_tune.storage.optuna_private import get_latest_trial
from cifar_tune.training.provenance import git_commit
from cifar_tune.training.records import EpochMetrics
from cifar_tune.workers.protocol import Materials, Task


@dataclass
class RunningTrial:
    """A trial that a worker has.

    Attributes:
        provenance: What reproduces the trial besides its configuration.
        history: The epochs that Optuna was told of.
        restarts: How often the trial was continued, from where, and why, as it is stored.
        reason: Why it is continued this time; None if it is begun.
        log: What happened to it last, for the record of one that fails.
        is_training: Whether its worker has said that it began.
    """

    item: Item
    trial: optuna.Trial
    config: TrialConfig
    provenance: dict[str, Any]
    history: list[EpochMetrics]
    restarts: list[dict[str, Any]]
    reason: str | None
    log: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    is_training: bool = False

    @property
    def number(self) -> int:
        """The number of the trial in its study."""
        return self.trial.number

    @property
    def epochs(self) -> int:
        """The number of epochs that Optuna was told of."""
        return len(self.history)

    @property
    def config_left(self) -> TrialConfig:
        """The configuration with only the epochs that are left."""
        return replace(self.config, epochs=max(self.config.epochs - self.epochs, 1))

    @property
    def deaths(self) -> int:
        """How many workers died with this trial."""
        return sum(restart.get("died", False) for restart in self.restarts)

    def latest(self) -> FrozenTrial:
        """Return the trial as it is now."""
        return get_latest_trial(self.trial)


@dataclass(frozen=True)
class TrialStarter:
    """Turns what is to be run next into a trial of Optuna's and a task for a worker."""

    open_study: OpenStudy
    materials: Materials
    device_share: float

    @cached_property
    def space(self) -> Mapping[str, BaseDistribution]:
        """Optuna's distribution of each searched hyperparameter."""
        return distributions(self.open_study.spec.space)

    @cached_property
    def _git_commit(self) -> str | None:
        return git_commit()

    def begin(
        self, item: Item, earlier: RunningTrial | None, *, is_parallel: bool
    ) -> RunningTrial | None:
        """Create the trial, or take it up where it waits; return None if it waits no more.

        ``earlier`` is the same trial as this run had it before, if it had.
        """
        sampler_seed = self._seed(item, "sampler")
        trial = self._open(item, sampler_seed, is_parallel=is_parallel)
        if trial is None:
            return None
        running = self.take(item, trial, sampler_seed)
        if earlier is not None:
            running.log, running.reason = earlier.log, earlier.reason
        return running

    def take(self, item: Item, trial: optuna.Trial, sampler_seed: int | None) -> RunningTrial:
        """Store with a trial that has its parameters what is to be trained, and return it.

        ``sampler_seed`` is that of the sampler that drew them; None where it has no such seed.
        """
        attributes = trial.user_attrs
        # A trial that was asked for may have no seed.
        seed = attributes.get("seed", self._seed(item, "trial"))
        config = self.open_study.spec.config(trial.params, seed, attributes.get("settings"))
        if "config" not in attributes:
            # Under few keys: optuna-dashboard shows six attributes, and one must be the name.
            if attributes.get("seed") != seed:
                trial.set_user_attr("seed", seed)
            trial.set_user_attr("config", config.as_stored())
        # It is stored once a worker has said what it is.
        provenance = attributes.get("facts") or self._make_provenance(config, sampler_seed)
        reason = None if item.number is None or item.is_new else "the run had ended"
        return RunningTrial(
            item=item,
            trial=trial,
            config=config,
            provenance=dict(provenance),
            history=_reported_history(trial),
            restarts=list(attributes.get("restarts", ())),
            reason=reason,
        )

    def _open(self, item: Item, sampler_seed: int, *, is_parallel: bool) -> optuna.Trial | None:
        study, spec = self.open_study.study, self.open_study.spec
        sampler = make_sampler(spec.profile.sampler, sampler_seed, self.space, parallel=is_parallel)
        if item.number is not None:
            return trials.resume(study, item.number, self.space, sampler)
        attributes = {"seed": self._seed(item, "trial"), **item.attributes}
        return trials.begin(study, self.space, sampler, attributes, item.params or {})

    def _seed(self, item: Item, purpose: str) -> int:
        kind = ("queued",) if item.is_queued else ()
        return derive_seed(self.open_study.seed, *kind, purpose, item.index)

    def _make_provenance(self, config: TrialConfig, sampler_seed: int | None) -> dict[str, Any]:
        provenance = {
            "data_digests": dict(self.materials.data.digests),
            "git_commit": self._git_commit,
            "device_share": self.device_share,
            "config_sha256": config.digest,
            "split_sha256": self.materials.data.split(config).digest,
            "sampler_seed": sampler_seed,
        }
        weights = self.materials.weights.get(config.weights)
        if weights is not None:
            provenance |= {"weights_sha256": weights.sha256, "weights_source": weights.source}
        return provenance

    def make_task(self, running: RunningTrial, best_so_far: float) -> Task:
        """Return what a worker is told of the trial."""
        name = running.item.name
        is_named = name is not None
        files = self.open_study.files.for_worker(
            running.number,
            weights=may_be_kept(self.open_study.spec, is_named=is_named),
            predictions=is_named,
        )
        return Task(running.number, running.config, files, name, best_so_far)


def _reported_history(trial: optuna.Trial) -> list[EpochMetrics]:
    """Return the stored epochs that Optuna was told of.

    A run that died may have stored one of which it did not come to tell Optuna.
    """
    reported = len(get_latest_trial(trial).intermediate_values)
    return [EpochMetrics(**epoch) for epoch in trial.user_attrs.get("history", ())][:reported]
