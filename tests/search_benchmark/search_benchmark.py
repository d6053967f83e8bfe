"""Which sampler and pruner find a good configuration in the fewest epochs: a simulated benchmark.

    python tests/search_benchmark/search_benchmark.py --repeats 50 --epochs 150 --seed 0

Trials are not trained: each one's learning curve is drawn from a surrogate of recorded ones (see
``curve_surrogate.py``). All else is real: studies of Optuna, asked and told as the runner does it,
with the sampler built anew for each draw.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import itertools
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from statistics import fmean

import numpy as np
import optuna
from curve_regressions import Forest
from curve_surrogate import Surrogate
from curves import load_curves
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, QMCSampler

from cifar_tune.config.schema import (
    GP,
    TPE,
    MedianPruner,
    NoPruner,
    PercentilePruner,
    Pruner,
    Random,
    Sampler,
)
from cifar_tune.config.seeds import derive_seed
from cifar_tune.config.study_file import load_study_file, resolve
from cifar_tune.search import samplers
from cifar_tune.search.pruners import make_pruner
from cifar_tune.storage.studies import best_trial
from cifar_tune.storage.trials import begin, record_complete, record_pruned

NEAR_BEST = 0.005
"""Half a point: a configuration that is so near to the best one is found."""
QUICK_EPOCHS = 45
"""About what the quick profile of ``joint`` trains."""

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
        trials: that ended.
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
        epochs: of all its trials together; a trial that this cuts short does not count.
    """
    study = optuna.create_study(
        study_name=f"simulated-{seed}", direction="maximize", pruner=candidate.make_pruner()
    )
    space = samplers.distributions(surrogate.space)
    trained, leads, leader = 0, [], -1
    for number in itertools.count():
        sampler = candidate.make_sampler(derive_seed(seed, "sampler", number), space)
        trial = begin(study, space, sampler, {}, {})
        random = np.random.default_rng(derive_seed(seed, "trial", number))
        trained += _train(study, trial, surrogate.draw(trial.params, random))
        if trained > epochs:
            break
        best = best_trial(study)
        if best is not None and best.number != leader:
            leader = best.number
            regret = surrogate.best_accuracy - surrogate.mean(best.params)[-1]
            leads.append((trained, float(regret)))
    found = (after for after, regret in leads if regret <= NEAR_BEST)
    return Outcome(next(found, None), tuple(leads), number)


def _train(study: optuna.Study, trial: optuna.Trial, curve: list[float]) -> int:
    """Report a trial's epochs until it is complete or pruned; how many there were."""
    for epoch, accuracy in enumerate(curve[:-1], start=1):
        trial.report(accuracy, epoch)
        if trial.should_prune():
            record_pruned(study, trial)
            return epoch
    trial.report(curve[-1], len(curve))
    record_complete(study, trial, curve[-1])
    return len(curve)


# --- what is compared ---------------------------------------------------------------------------


def of_product(name: str, sampler: Sampler, pruner: Pruner) -> Candidate:
    """A way to search that a study file can state."""
    return Candidate(name, of_study_file(sampler), lambda: make_pruner(pruner))


def of_study_file(sampler: Sampler) -> MakeSampler:
    """Makes the sampler as the runner does."""
    return lambda seed, space: samplers.make_sampler(sampler, seed, space)


def _median(startup_trials: int, warmup_epochs: int) -> MedianPruner:
    return MedianPruner(name="median", startup_trials=startup_trials, warmup_epochs=warmup_epochs)


def _percentile(percentile: float, startup_trials: int) -> PercentilePruner:
    return PercentilePruner(
        name="percentile", percentile=percentile, startup_trials=startup_trials, warmup_epochs=0
    )


RANDOM = of_product("random", Random(name="random"), NoPruner(name="none"))
PLAIN = of_product(
    "TPE, one by one (10) + median (5)",
    TPE(name="tpe", startup_trials=10, multivariate=False),
    _median(5, 0),
)
"""Optuna's TPE before multivariate became its default, with Optuna's default pruner."""


def list_candidates() -> list[Candidate]:
    """All ways to search that can be had here; in brackets, trials before each begins."""
    none, tpe = NoPruner(name="none"), TPE(name="tpe", startup_trials=6, multivariate=True)
    gp, soon = GP(name="gp", startup_trials=6), GP(name="gp", startup_trials=4)
    product: dict[str, tuple[Sampler, Pruner]] = {
        "random + median (5)": (Random(name="random"), _median(5, 0)),
        "TPE (6) + median (4) after 1 epoch": (tpe, _median(4, 1)),
        "TPE (6)": (tpe, none),
        "TPE (6) + median (4)": (tpe, _median(4, 0)),
        "TPE (6) + top 75 % (4)": (tpe, _percentile(75, 4)),
        "TPE (6) + top 25 % (4)": (tpe, _percentile(25, 4)),
        "GP of all (4)": (soon, none),
        "GP of all (4) + median (4) after 1 epoch": (soon, _median(4, 1)),
        "GP of all (4) + median (4)": (soon, _median(4, 0)),
        "GP of all (4) + top 75 % (4)": (soon, _percentile(75, 4)),
        "GP of all (6)": (gp, none),
        "GP of all (6) + median (4) after 1 epoch": (gp, _median(4, 1)),
        "GP of all (6) + median (4)": (gp, _median(4, 0)),
        "GP of all (6) + top 75 % (4)": (gp, _percentile(75, 4)),
        "GP of all (6) + top 25 % (4)": (gp, _percentile(25, 4)),
    }
    return [
        RANDOM,
        PLAIN,
        *(of_product(name, *parts) for name, parts in product.items()),
        *_of_optuna(of_study_file(tpe), of_study_file(gp)),
    ]


def _of_optuna(tpe: MakeSampler, gp: MakeSampler) -> list[Candidate]:
    """Ways to search that no study file can state.

    Not among them: ``WilcoxonPruner``, whose test says nothing of fewer than four epochs, and
    samplers of OptunaHub, which are fetched from GitHub when they are used.
    """

    def halving(factor: int) -> Callable[[], BasePruner]:
        return lambda: SuccessiveHalvingPruner(min_resource=1, reduction_factor=factor)

    def hyperband() -> BasePruner:
        return HyperbandPruner(min_resource=1, max_resource=3, reduction_factor=3)

    def optunas_gp(seed: int, _space: object) -> BaseSampler:
        return GPSampler(seed=seed, n_startup_trials=6)

    def sobol(_seed: int, _space: object) -> BaseSampler:
        return QMCSampler(seed=0, scramble=True)

    def cma(seed: int, _space: object) -> BaseSampler:
        return CmaEsSampler(seed=seed, n_startup_trials=1, consider_pruned_trials=True)

    no_pruner, median = optuna.pruners.NopPruner, lambda: make_pruner(_median(4, 0))
    found = [
        Candidate("TPE (6) + halving by 2", tpe, halving(2)),
        Candidate("TPE (6) + halving by 3", tpe, halving(3)),
        Candidate("TPE (6) + Hyperband by 3", tpe, hyperband),
        Candidate("GP of all (6) + halving by 2", gp, halving(2)),
        Candidate("GP of all (6) + Hyperband by 3", gp, hyperband),
        Candidate("Optuna's GP (6)", optunas_gp, no_pruner),
        Candidate("Optuna's GP (6) + median (4)", optunas_gp, median),
        Candidate("Sobol points", sobol, no_pruner),
    ]
    if importlib.util.find_spec("cmaes"):
        found += [
            Candidate("CMA-ES", cma, no_pruner),
            Candidate("CMA-ES + median (4)", cma, median),
        ]
    return found


# --- the table ----------------------------------------------------------------------------------


def median_and_quartiles(outcomes: list[Outcome]) -> tuple[float, float, float]:
    """Of the epochs to find, infinite where nothing was found: lower quartile, median, upper."""
    epochs = sorted(one.epochs_to_find or float("inf") for one in outcomes)
    low, median, high = (epochs[round(share * (len(epochs) - 1))] for share in (0.25, 0.5, 0.75))
    return low, median, high


def format_row(name: str, outcomes: list[Outcome], epochs: int) -> str:
    """One line of the table."""
    low, median, high = (
        f"{one:.0f}" if one < float("inf") else f"> {epochs}"
        for one in median_and_quartiles(outcomes)
    )
    found = fmean(one.epochs_to_find is not None for one in outcomes)
    regrets = " | ".join(
        f"{100 * fmean(one.regret(until) for one in outcomes):.2f}"
        for until in (QUICK_EPOCHS, epochs)
    )
    trials = fmean(one.trials for one in outcomes)
    return f"| {name} | {median} ({low} to {high}) | {found:.0%} | {regrets} | {trials:.0f} |"


def main() -> int:
    """Read the command line and print the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=50, help="studies of each kind (50)")
    parser.add_argument("--epochs", type=int, default=150, help="of one study (150)")
    parser.add_argument("--seed", type=int, default=0, help="of the first study (0)")
    parser.add_argument("--study", default="joint", help="whose space is searched (joint)")
    parser.add_argument("--forest", action="store_true", help="learn the curves with a forest")
    parser.add_argument("--only", default="", help="kinds whose name contains this")
    given = parser.parse_args()
    say = functools.partial(print, flush=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", ExperimentalWarning)
    curves = load_curves()
    study = resolve(load_study_file(given.study), "quick")
    surrogate = Surrogate(curves, Forest(curves) if given.forest else None, study)
    errors = ", ".join(f"{100 * error:.1f}" for error in surrogate.regression.errors)
    say(
        f"{len(curves.points)} recorded curves, error at a trial not learnt from {errors} points "
        f"by epoch; the best configuration has {100 * surrogate.best_accuracy:.1f} %"
    )
    say(
        "| search | epochs to come within half a point: median (quartiles) "
        f"| found in {given.epochs} | points short after {QUICK_EPOCHS} epochs "
        f"| after {given.epochs} | trials |"
    )
    say("|---|---|---|---|---|---|")
    for candidate in list_candidates():
        if given.only in candidate.name:
            seeds = range(given.seed, given.seed + given.repeats)
            outcomes = [simulate(surrogate, candidate, given.epochs, seed) for seed in seeds]
            say(format_row(candidate.name, outcomes, given.epochs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
