"""When a trial is stopped before its last epoch: the pruner of a study and what it compares."""

from __future__ import annotations

from typing import cast

import optuna
from optuna.trial import FrozenTrial, TrialState

from cifar_tune.config.schema import MedianPruner, PercentilePruner, Pruner
from cifar_tune.storage.optuna_private import get_latest_trial
from cifar_tune.storage.trials import rank


def make_pruner(pruner: Pruner) -> optuna.pruners.BasePruner:
    """Build the pruner.

    Epochs are reported as steps 1, 2, …; Optuna begins to prune at the step that equals its
    ``n_warmup_steps``, which is the first one after the warm-up.
    """
    if isinstance(pruner, MedianPruner):
        return optuna.pruners.MedianPruner(
            n_startup_trials=pruner.startup_trials, n_warmup_steps=pruner.warmup_epochs + 1
        )
    if isinstance(pruner, PercentilePruner):
        return optuna.pruners.PercentilePruner(
            pruner.percentile,
            n_startup_trials=pruner.startup_trials,
            n_warmup_steps=pruner.warmup_epochs + 1,
        )
    return optuna.pruners.NopPruner()


def may_prune(*, is_owed: bool, epoch: int, reported: int, epochs: int) -> bool:
    """Return whether the pruner is asked about a trial after one of its epochs.

    It is not after the last one: there is nothing left to save, the trial is complete. Nor is it
    after an epoch of a continued trial that was reported, and decided on, before.

    Args:
        is_owed: Whether this very trial was asked for: it is never pruned.
        epoch: The epoch that ended.
        reported: The last epoch that Optuna was told of.
        epochs: The epochs of the whole trial.
    """
    return not is_owed and reported <= epoch < epochs


class CompleteTrials:
    """What a pruner asks of a study: its complete trials, and whether more is better.

    Kept in memory, as only this process adds any: Optuna's own study reads the database for each
    epoch anew.
    """

    def __init__(self, study: optuna.Study) -> None:
        self.direction = study.direction
        self._pruner = study.pruner
        self._complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        self._best = max(map(rank, self._complete), default=(-1.0, 0))

    def get_trials(self, *_: object, **__: object) -> list[FrozenTrial]:
        """The complete trials, which is all that the pruners of ``search.make_pruner`` ask for."""
        return self._complete

    def add(self, trial: FrozenTrial) -> None:
        """A trial is complete."""
        self._complete.append(trial)
        self._best = max(self._best, rank(trial))

    @property
    def best_accuracy(self) -> float:
        """The highest validation accuracy, as a fraction; below 0 where no trial is complete."""
        return self._best[0]

    def is_best(self, number: int, val_accuracy: float) -> bool:
        """Whether a trial that ends so is the best, as ``rank`` has it."""
        return (val_accuracy, -number) >= self._best

    def should_prune(self, trial: optuna.Trial) -> bool:
        """Whether a trial is to be stopped after the last epoch that it reported."""
        return self._pruner.prune(cast("optuna.Study", self), get_latest_trial(trial))
