"""Importances of hyperparameters with their uncertainty, by PED-ANOVA.

Watanabe, Bansal and Hutter, "PED-ANOVA: efficiently quantifying hyperparameter importance in
arbitrary subspaces", IJCAI 2023. It counts complete trials only.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

LEAST_TRIALS = 4
"""Fewer complete trials say nothing of importances."""
LEAST_OF_GOOD = 12
"""Fewer say nothing of what matters among the good ones."""
_RESAMPLES, _LEAST_RESAMPLES = 40, 10
_RESAMPLED_TRIALS = 20_000
"""In all resamples together: of many trials fewer are drawn, which scatter less."""
_GOOD, _BEST_OF_GOOD = 0.5, 0.25
"""Among the better half of the trials: what it takes to be in the best quarter of all."""


@dataclass(frozen=True)
class Importance:
    """The share of a hyperparameter in all importance.

    Attributes:
        low: The lower end of the interval from resampled trials (bootstrap, 95 %).
        high: The upper end of the interval.
    """

    parameter: str
    share: float
    low: float
    high: float


def compute_importances(trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """Return the share of each hyperparameter in what makes the best tenth of trials.

    None are there if complete trials are too few or all alike.
    """
    return _evaluate(_complete(trials), PedAnovaImportanceEvaluator())


def resample_importances(
    trials: Sequence[FrozenTrial], *, of_good: bool = False
) -> tuple[Importance, ...]:
    """Return importances with intervals, the greatest first.

    ``of_good`` asks what matters among the better half of the trials. None are there if complete
    trials are too few or all alike.
    """
    complete = _complete(trials)
    evaluator = PedAnovaImportanceEvaluator()
    if of_good:
        if len(complete) < LEAST_OF_GOOD:
            return ()
        evaluator = PedAnovaImportanceEvaluator(
            target_quantile=_BEST_OF_GOOD, region_quantile=_GOOD
        )
    shares = _evaluate(complete, evaluator)
    random = np.random.default_rng(0)
    draws: dict[str, list[float]] = {key: [] for key in shares}
    affordable = _RESAMPLED_TRIALS // max(len(complete), 1)
    for _ in range(min(max(affordable, _LEAST_RESAMPLES), _RESAMPLES) if shares else 0):
        chosen = [complete[index] for index in random.integers(0, len(complete), len(complete))]
        for key, share in _evaluate(chosen, evaluator).items():
            draws[key].append(share)
    return tuple(
        Importance(key, share, *_interval(draws[key], share))
        for key, share in sorted(shares.items(), key=lambda pair: -pair[1])
    )


def _interval(draws: list[float], share: float) -> tuple[float, float]:
    low, high = np.quantile([*draws, share], [0.025, 0.975])
    return min(float(low), share), max(float(high), share)


def _complete(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.state == TrialState.COMPLETE]


def _evaluate(
    complete: Sequence[FrozenTrial], evaluator: PedAnovaImportanceEvaluator
) -> dict[str, float]:
    searched: dict[str, set[object]] = {}
    for trial in complete:
        for key, value in trial.params.items():
            searched.setdefault(key, set()).add(value)
    varied = [key for key, values in searched.items() if len(values) > 1]
    if len(complete) < LEAST_TRIALS or not varied:
        return {}
    study = _make_study(complete)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that all are alike shows in the figures
            importances = get_param_importances(
                study, evaluator=evaluator, params=varied, normalize=True
            )
    except (ValueError, RuntimeError):  # e.g. every trial has the same value
        return {}
    return {key: float(value) for key, value in importances.items()}


def _make_study(trials: Sequence[FrozenTrial]) -> optuna.Study:
    """Return a study in memory, without the line that Optuna prints of each."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(verbosity)
    study.add_trials(trials)
    return study
