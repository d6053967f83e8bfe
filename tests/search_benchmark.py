"""Which sampler and pruner find a good configuration in the fewest epochs: a simulated benchmark.

    python tests/search_benchmark.py --repeats 50 --epochs 180 --seed 0

Trials are not trained: each one's learning curve is drawn from a surrogate of recorded ones (see
``curve_surrogate.py``). All else is real: studies of Optuna, asked and told as the runner does it,
with the sampler built anew for each draw.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from statistics import fmean, quantiles

import numpy as np
import optuna
from curve_surrogate import CURVES, Curves, Forest, Surrogate, load_curves
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from cifar_tune import search
from cifar_tune.seeds import derive_seed
from cifar_tune.stored_trials import create_sampled, rank, record_complete, record_pruned
from cifar_tune.study_schema import TPE, MedianPruner, NoPruner, PercentilePruner, Pruner, Random, Sampler

NEAR_BEST = 0.005
"""Half a point: a configuration that is so near to the best one is found."""

MakeSampler = Callable[[int, Mapping[str, BaseDistribution]], BaseSampler]


@dataclass(frozen=True)
class Candidate:
    """A way to search.

    Attributes:
        make_sampler: from the seed of one draw and the space.
        make_pruner: called once for a study.
    """

    name: str
    make_sampler: MakeSampler
    make_pruner: Callable[[], BasePruner]


@dataclass(frozen=True)
class Outcome:
    """What one simulated study came to.

    Attributes:
        epochs_to_find: trained until its best trial was, in truth, near the best there is; None
            where it did not come to that.
        leads: epochs trained, and by how much the best trial then truly falls short of the best
            configuration there is, each time that another trial became the best.
        trials: begun.
    """

    epochs_to_find: int | None
    leads: tuple[tuple[int, float], ...]
    trials: int

    def regret(self, epochs: int) -> float:
        """By how much the best trial after so many epochs truly falls short, as a fraction."""
        until = list(takewhile(lambda lead: lead[0] <= epochs, self.leads))
        return until[-1][1] if until else 1.0


def simulate(surrogate: Surrogate, candidate: Candidate, epochs: int, seed: int) -> Outcome:
    """Run one study.

    Args:
        epochs: of all its trials together.
    """
    study = optuna.create_study(
        study_name=f"simulated-{seed}", direction="maximize", pruner=candidate.make_pruner()
    )
    space = search.distributions(surrogate.space)
    trained, trials, best, leads = 0, 0, (-1.0, 0), []
    while trained < epochs:
        sampler = candidate.make_sampler(derive_seed(seed, "sampler", trials), space)
        trial = create_sampled(study, space, sampler, {}, {})
        random = np.random.default_rng(derive_seed(seed, "trial", trials))
        curve = surrogate.draw(trial.params, random)[: epochs - trained]
        trials += 1
        for epoch, accuracy in enumerate(curve, start=1):
            trained += 1
            trial.report(accuracy, epoch)
            if epoch < surrogate.epochs and trial.should_prune():
                record_pruned(study, trial)
                break
        else:
            if len(curve) < surrogate.epochs:
                break
            ended = rank(record_complete(study, trial, curve[-1], None))
            if ended > best:
                best = ended
                regret = surrogate.best_accuracy - surrogate.mean(trial.params)[-1]
                leads.append((trained, float(regret)))
    found = (after for after, regret in leads if regret <= NEAR_BEST)
    return Outcome(next(found, None), tuple(leads), trials)


def of_product(name: str, sampler: Sampler, pruner: Pruner) -> Candidate:
    """A way to search that a study file can state."""
    return Candidate(
        name,
        lambda seed, space: search.make_sampler(sampler, seed, space),
        lambda: search.make_pruner(pruner),
    )
