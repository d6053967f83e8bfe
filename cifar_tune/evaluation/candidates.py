"""Configurations of a study with what their complete trials gave."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cifar_tune.config.derived import ABLATED
from cifar_tune.config.schema import NamedTrial, Settings
from cifar_tune.evaluation.evidence import TrialRecord
from cifar_tune.storage.records import TrialSummary


@dataclass(frozen=True)
class Candidate:
    """A configuration with what its complete trials gave.

    Attributes:
        label: The name without the replicate, such as ``dropout/p=0.3``, or ``sampled/trial-7``.
        outcomes: The validation accuracy of each of its trials.
        params: The values of the searched hyperparameters.
        settings: What a named trial sets for itself besides.
        fresh: The validation accuracies on fresh seeds that a confirmation gave.
        seeds: The seed of each of them all; if empty, those of the same place have the same one.
    """

    label: str
    numbers: tuple[int, ...]
    outcomes: tuple[float, ...]
    params: dict[str, float]
    settings: dict[str, Any]
    fresh: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()

    @property
    def measured(self) -> tuple[float, ...]:
        """All outcomes, those of the study first."""
        return self.outcomes + self.fresh

    @property
    def measured_seeds(self) -> tuple[Hashable, ...]:
        """The seed of each of all outcomes."""
        if self.seeds:
            return self.seeds
        places = (("study", self.outcomes), ("fresh", self.fresh))
        return tuple((whose, place) for whose, part in places for place in range(len(part)))

    @property
    def measured_mean(self) -> float:
        """The mean of all outcomes."""
        return sum(self.measured) / len(self.measured)

    @property
    def mean(self) -> float:
        """The mean of the study's own outcomes."""
        return sum(self.outcomes) / len(self.outcomes)

    @property
    def own(self) -> dict[str, Any]:
        """All that sets the configuration apart from the study's protocol."""
        return {**self.params, **self.settings}

    def as_named(self) -> NamedTrial:
        """Return the configuration as a named trial of a study, under its label."""
        return NamedTrial(name=self.label, params=self.params, settings=Settings(**self.settings))

    def put_back(self, reference: Mapping[str, float], keys: Sequence[str]) -> Candidate:
        """Return it with a reference's values of some keys, untrained, under a name of its own."""
        return Candidate(
            label=f"{self.label}{ABLATED}{'+'.join(keys)}",
            numbers=(),
            outcomes=(),
            params={**self.params, **{key: reference[key] for key in keys}},
            settings=self.settings,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as JSON has it."""
        return {
            "name": self.label,
            "trials": list(self.numbers),
            "params": self.params,
            "settings": self.settings,
        }


def group(trials: Iterable[TrialSummary | TrialRecord]) -> list[Candidate]:
    """Return complete trials by configuration, in the order of their first ones."""
    by_label: dict[str, list[TrialSummary | TrialRecord]] = {}
    for trial in trials:
        if trial.state == "complete":
            by_label.setdefault(configuration_label(trial.name, trial.number), []).append(trial)
    return [
        Candidate(
            label=label,
            numbers=tuple(trial.number for trial in replicates),
            outcomes=tuple(trial.val_accuracy or 0.0 for trial in replicates),
            params=dict(replicates[0].params),
            settings=dict(replicates[0].settings),
            seeds=tuple(known_seed(trial.seed, trial.number) for trial in replicates),
        )
        for label, replicates in by_label.items()
    ]


def configuration_label(name: str | None, number: int) -> str:
    """Return what a configuration is called, from the name and the number of one of its trials."""
    model = (name or "").rpartition("/")[0]
    return model or f"sampled/trial-{number}"


def known_seed(seed: int | None, number: int) -> int:
    """Return the seed of a trial; where none is recorded, a number that no other trial has."""
    return -1 - number if seed is None else seed
