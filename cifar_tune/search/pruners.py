"""Whether a trial is stopped before its last epoch, and how much that is expected to save."""

from __future__ import annotations

from collections.abc import Container

import optuna
from optuna.trial import FrozenTrial, TrialState

from cifar_tune.config.schema import MedianPruner, NoPruner, PercentilePruner, Pruner
from cifar_tune.storage.optuna_private import get_latest_trial, get_storage
from cifar_tune.storage.trials import rank


def make_pruner(pruner: Pruner) -> optuna.pruners.BasePruner:
    """Build the pruner.

    Epochs are reported as steps 1, 2, …; Optuna begins to prune at the step that equals its
    ``n_warmup_steps``, which is the first one after the warm-up.
    """
    match pruner:
        case MedianPruner(startup_trials=startup_trials, warmup_epochs=warmup_epochs):
            return optuna.pruners.MedianPruner(startup_trials, warmup_epochs + 1)
        case PercentilePruner(startup_trials=startup_trials, warmup_epochs=warmup_epochs):
            return optuna.pruners.PercentilePruner(
                pruner.percentile, startup_trials, warmup_epochs + 1
            )
        case NoPruner():
            return optuna.pruners.NopPruner()


def expect_pruning(pruner: Pruner, epochs: int) -> tuple[int, float]:
    """Return the epochs of a trial that is pruned as early as can be, and the share that is pruned.

    Args:
        pruner: The pruner.
        epochs: The epochs of a trial that is not pruned.
    """
    match pruner:
        case NoPruner():
            return epochs, 0.0
        case PercentilePruner():
            share = 1 - pruner.percentile / 100
        case MedianPruner():
            share = 0.5
    return min(pruner.warmup_epochs + 1, epochs), share


def may_prune(*, is_owed: bool, epoch: int, reported: int, epochs: int) -> bool:
    """Return whether the pruner is asked about a trial after one of its epochs.

    It is not after the last one: there is nothing left to save, the trial is complete. Nor is it
    after those epochs of a continued trial that were decided on before: all but the last one that
    was reported.

    Args:
        is_owed: Whether this very trial was asked for: it is never pruned.
        epoch: The epoch that ended.
        reported: The last epoch that Optuna was told of.
        epochs: The epochs of the whole trial.
    """
    return not is_owed and reported <= epoch < epochs


class CompleteTrials(optuna.Study):
    """A study as its pruner sees it: its complete trials alone.

    They are kept in memory, as only this process adds any; Optuna's own study reads the database
    for each epoch anew.
    """

    def __init__(self, study: optuna.Study) -> None:
        super().__init__(study.study_name, get_storage(study), study.sampler, study.pruner)
        self._complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        self._best = max(map(rank, self._complete), default=(-1.0, 0))

    def get_trials(
        self,
        deepcopy: bool = True,  # noqa: ARG002  (pruners only read them)
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the complete trials, if they are among those that are asked for."""
        return self._complete if states is None or TrialState.COMPLETE in states else []

    def add(self, trial: FrozenTrial) -> None:
        """Take note of a trial that is complete."""
        self._complete.append(trial)
        self._best = max(self._best, rank(trial))

    @property
    def best_accuracy(self) -> float:
        """The highest validation accuracy, as a fraction; below 0 where no trial is complete."""
        return self._best[0]

    def is_best(self, number: int, val_accuracy: float) -> bool:
        """Return whether a trial that ends so is the best, as ``rank`` has it."""
        return (val_accuracy, -number) >= self._best

    def should_prune(self, trial: optuna.Trial) -> bool:
        """Return whether a trial is to be stopped after the last epoch that it reported."""
        return self.pruner.prune(self, get_latest_trial(trial))
