"""The objective of a study, for ``study.optimize``: one trial in this process, fully recorded."""

from __future__ import annotations

import dataclasses
import reprlib
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import optuna
import torch
from optuna.trial import BaseTrial

from cifar_tune import paths
from cifar_tune.config.params import MOST_SEED
from cifar_tune.config.seeds import derive_seed
from cifar_tune.config.space import WholeRange
from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.search_data import load_search_data
from cifar_tune.errors import InputError, NonFiniteLossError
from cifar_tune.models.weights import load_weights
from cifar_tune.search.own_trial import OwnTrial, describe_end, end, locate_own, open_own
from cifar_tune.search.plan import example_config
from cifar_tune.search.trial_callbacks import CallbackObserver, TrialCallback, check_callbacks
from cifar_tune.storage.definition import DEFAULT_SEED
from cifar_tune.storage.records import TrialSummary
from cifar_tune.training.callbacks import TrainingCallbacks
from cifar_tune.training.device import choose_device, describe_device
from cifar_tune.training.objective import run_trial
from cifar_tune.training.provenance import software
from cifar_tune.training.records import EpochMetrics, TrialResult
from cifar_tune.wording import printable
from cifar_tune.workers.protocol import Materials

_ONE_AT_A_TIME = threading.Lock()
"""Held while a trial is trained: threads of ``optimize(n_jobs=…)`` would share the seed of torch's
global generator."""


class Objective:
    """Train one trial; an objective for ``optuna.Study.optimize``.

    The validation accuracy is reported after each epoch, as steps 1, 2, …, and the study's pruner
    is asked after all but the last. The value is the validation accuracy after the last epoch. A
    loss that is not finite gives NaN, which Optuna records as a failed trial.

    In a study of ``create_study`` a trial is recorded as ``run_study`` records it: configuration,
    seed, epochs, digests, weights and pictures, so that reports, rankings and ``run_study`` count
    it as one of the study's own. Its seed and, with the study's sampler, its values are those that
    ``run_study`` would have given it, so two such loops give equal trials. Trials that were
    enqueued are never pruned. A trial that a stopped run has paused is resumed.

    In any other study, such as one in memory, the configuration, seed, device and epochs are stored
    as user attributes of the trial, and no files are kept.

    The study's lease is held during each trial, so another process that trains it at the same time
    is refused. Trials run in this process, one at a time, also with ``n_jobs``; a trial that is
    interrupted fails, and ``run_study`` trains it again from its beginning. For workers, resuming
    and time limits use ``run_study``.

    Args:
        spec: The study, from ``load_study_file``.
        device: ``cpu``, ``mps``, ``cuda`` or ``cuda:N``; None or ``auto`` takes the best there is.
        data_dir: The folder of imported images and weights; None takes ``$CIFAR_TUNE_DATA``, else
            the user's cache.
        callbacks: Called as each trial begins, after each of its epochs, and as it ends.

    Example:
        >>> spec = ct.load_study_file("dropout", profile="quick", overrides={"epochs": 3})
        >>> study = ct.create_study(spec)
        >>> study.optimize(ct.Objective(spec), n_trials=5)
    """

    def __init__(
        self,
        spec: StudySpec,
        *,
        device: str | torch.device | None = None,
        data_dir: str | Path | None = None,
        callbacks: Sequence[TrialCallback] = (),
    ) -> None:
        # Else Optuna would store a failed trial before anything is said of it.
        if not isinstance(spec, StudySpec):
            shown = printable(reprlib.repr(spec))
            raise InputError(f"spec = {shown}: expected a StudySpec, as load_study_file returns it")
        self.spec = spec
        self.callbacks = check_callbacks(callbacks)
        self._device = None if device is None else str(device)
        self._root = paths.data_root(None if data_dir is None else Path(data_dir))

    def __call__(self, trial: BaseTrial) -> float:
        """Train a trial and return its validation accuracy, as a fraction.

        Args:
            trial: The trial that Optuna has begun.

        Returns:
            The validation accuracy after the last epoch; NaN where the loss was not finite.

        Raises:
            optuna.TrialPruned: The pruner ended the trial.
            StudyMismatchError: The trial is of a study with other settings.
            StudyBusyError: Another process trains the study.
            DataError: Images are missing, or fewer than the study needs.
            WeightsError: Pretrained weights are missing.
            StorageError: The database or a file cannot be written.
        """
        with _ONE_AT_A_TIME:
            location = locate_own(trial, self.spec)
            if location is None or not isinstance(trial, optuna.Trial):
                return self._train_plain(trial)
            with open_own(trial.study, self.spec, location, self._materials) as study:
                return OwnTrial(
                    study, trial, self._materials_for, self.device, self.callbacks
                ).run()

    def suggest(self, trial: BaseTrial) -> TrialConfig:
        """Suggest the searched hyperparameters of a trial and return its configuration.

        Args:
            trial: A trial of Optuna's, also a ``FixedTrial``.

        Returns:
            The full configuration. Its seed is the user attribute ``seed`` of the trial, else it
            follows from the number of the trial.

        Raises:
            ValueError: A ``FixedTrial`` lacks a value.
        """
        params: dict[str, float] = {}
        for name, values in self.spec.space.ranges().items():
            if isinstance(values, WholeRange):
                params[name] = trial.suggest_int(name, values.low, values.high, log=values.log)
            else:
                params[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
        seed = trial.user_attrs.get("seed")
        if type(seed) is not int or not 0 <= seed <= MOST_SEED:
            seed = derive_seed(DEFAULT_SEED, "trial", trial.number)
        return self.spec.config(params, seed)

    def train(
        self, config: TrialConfig, on_epoch: Callable[[EpochMetrics], bool] | None = None
    ) -> TrialResult:
        """Train a configuration without Optuna; nothing is stored.

        Args:
            config: The configuration, such as ``suggest`` or ``spec.config`` return it.
            on_epoch: Called after each epoch; False ends the training, which counts as pruned.

        Returns:
            The metrics of all epochs.

        Raises:
            NonFiniteLossError: The training loss became infinite or not a number.
            DataError: Images are missing.
            WeightsError: Pretrained weights are missing.
        """
        callbacks = TrainingCallbacks(on_epoch=on_epoch or (lambda _metrics: True))
        materials = self._materials_for(config)
        weights = materials.weights.get(config.weights)
        return run_trial(config, materials.data, weights, self.device, callbacks).result

    @cached_property
    def device(self) -> torch.device:
        """The device that trials are trained on."""
        return choose_device(self._device)

    @cached_property
    def _materials(self) -> Materials:
        protocol = self.spec.protocol
        data = load_search_data(protocol.data, self._root)
        data.check(example_config(self.spec))
        return Materials(
            data, load_weights({protocol.weights} - {"none"}, self._root), self._root.absolute()
        )

    def _materials_for(self, config: TrialConfig) -> Materials:
        """Return what a trial learns from; a named trial may have weights of its own."""
        materials = self._materials
        if config.weights in ("none", *materials.weights):
            return materials
        weights = load_weights({config.weights}, self._root)
        return dataclasses.replace(materials, weights={**materials.weights, **weights})

    # --- a trial of any study ---

    def _train_plain(self, trial: BaseTrial) -> float:
        config, materials = self.suggest(trial), self._materials
        trial.set_user_attr("seed", config.seed)
        trial.set_user_attr("config", config.as_stored())
        made_with = {"device": describe_device(self.device), "software": software()}
        trial.set_user_attr("facts", {"data_digests": dict(materials.data.digests), **made_with})
        study: optuna.Study | None = getattr(trial, "study", None)
        observer = CallbackObserver("" if study is None else study.study_name, self.callbacks)
        summary = TrialSummary(
            number=trial.number, seed=config.seed, state="running", params=trial.params
        )
        observer.trial_started(summary, config)
        history: list[EpochMetrics] = []

        def on_epoch(metrics: EpochMetrics) -> bool:
            history.append(metrics)
            trial.set_user_attr("history", list(map(dataclasses.asdict, history)))
            trial.report(metrics.val_accuracy, metrics.epoch)
            observer.epoch_ended(trial.number, metrics)
            return metrics.epoch == config.epochs or not trial.should_prune()

        state = "fail"
        try:
            result = self.train(config, on_epoch)
            state = "pruned" if result.pruned else "complete"
        except NonFiniteLossError as error:
            trial.set_user_attr("failure", describe_end(trial.number, error))
            return float("nan")
        finally:
            observer.trial_ended(end(summary, state, history))
        if result.pruned:
            raise optuna.TrialPruned
        return result.val_accuracy
