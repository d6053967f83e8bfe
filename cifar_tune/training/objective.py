"""One trial from its configuration to its result; it knows nothing of Optuna."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import nn

from cifar_tune.config.trial import TrialConfig, digest_of
from cifar_tune.data.search_data import SearchData
from cifar_tune.models.weight_files import save_model
from cifar_tune.models.weights import Weights
from cifar_tune.training.checkpoints import (
    Checkpoints,
    Position,
    TrainingState,
    UnusableCheckpointError,
)
from cifar_tune.training.malloc import keep_freed_memory
from cifar_tune.training.network import TrainingNetwork
from cifar_tune.training.pictures.draw import Subject, draw_pictures
from cifar_tune.training.predictions import make_predictions, save_predictions
from cifar_tune.training.records import EpochMetrics, TrialFiles, TrialResult
from cifar_tune.training.shared_lock import SharedLock
from cifar_tune.training.step import OnStep, ShouldStop, never
from cifar_tune.training.step_graph import StepGraphs, graphs_of_thread
from cifar_tune.training.trainer import Fitted, OnEpoch, fit

_NETWORKS = SharedLock()
"""To look into a network, torch.fx takes hold of the calls of all modules of the process: no other
trial may compute with its own meanwhile."""

OnStart = Callable[[Position, list[str]], None]


def run_trial(
    config: TrialConfig,
    data: SearchData,
    weights: Weights | None,
    device: torch.device,
    on_epoch: OnEpoch,
    on_step: OnStep,
    files: TrialFiles | None = None,
    should_stop: ShouldStop = never,
    on_start: OnStart | None = None,
    label: str = "trial",
    best_so_far: float = 0.0,
    graphs: StepGraphs | None = None,
) -> TrialResult:
    """Train one configuration, from its newest usable checkpoint where there is one.

    On a CPU the result is a function of configuration, data, weights, PyTorch version and thread
    count, however often it was stopped and continued.

    Args:
        weights: the pretrained ones that the configuration names; None where it names none.
        on_epoch: called after each epoch; False stops the trial, which is then pruned. Of a trial
            that is continued, it is called for the epochs before too.
        on_step: called after each training step and validation batch.
        files: where to keep what the trial makes; None keeps nothing.
        should_stop: asked after each step; True saves the state and stops.
        on_start: called with the position that the training starts from, and why checkpoints were
            refused.
        label: what the trial is called in its pictures.
        best_so_far: the highest validation accuracy of the study's complete trials; activation
            maps are drawn of one that is not below.
        graphs: of the training step; None takes this thread's where the device is a CUDA one, and
            else has none.

    Raises:
        NonFiniteLossError: the training loss became infinite or not a number.
        TrainingStopped: ``should_stop`` said so.
        WeightsError: the final weights cannot be written.
        StorageError: the predictions, a picture or a checkpoint cannot be written.
    """
    keep_freed_memory()
    named = weights.name if weights is not None else "none"
    if named != config.weights:
        raise ValueError(f"the configuration names weights {config.weights}, given were {named}")
    files = files or TrialFiles()
    split = data.split(config)
    pretrained = weights.tensors if weights is not None else None
    checkpoints = None
    if files.checkpoints is not None:
        identity = digest_of([config.digest, dict(data.digests), weights and weights.sha256])
        checkpoints = Checkpoints(files.checkpoints, identity)

    step_graphs = graphs if graphs is not None else graphs_of_thread(device)

    def give_way() -> bool:
        _NETWORKS.give_way()
        return should_stop()

    def wait_for_word(metrics: EpochMetrics) -> bool:
        with _NETWORKS.released():
            return on_epoch(metrics)

    def train(state: TrainingState | None, refusals: list[str]) -> tuple[nn.Module, Fitted]:
        network = TrainingNetwork(
            config, len(data.classes), pretrained, device, has_graph=step_graphs is not None
        )
        if on_start is not None:
            on_start(Position() if state is None else state.position, refusals)
        train_split = network.place_training(split.train, files.features)
        validation = network.place_validation(split.validation, files.features)
        rest = (config, wait_for_word, on_step, checkpoints, give_way, state, step_graphs)
        fitted = fit(network.model, train_split, validation, *rest)
        return network.restore(len(fitted.epochs)), fitted

    with _NETWORKS.shared():
        model, fitted = _from_newest(checkpoints, train)
    pruned = len(fitted.epochs) < config.epochs
    logits = fitted.logits.float().cpu().numpy()
    digest = None
    if not pruned:
        if files.weights is not None:
            digest = save_model(model, files.weights)
        if files.predictions is not None:
            part = split.validation
            made = make_predictions(
                data.classes, part.rows, part.pool.images, part.pool.labels, logits
            )
            save_predictions(made, files.predictions)
    subject = Subject(label, config, data.classes, split.validation, fitted.epochs, logits)
    is_best = not pruned and fitted.epochs[-1].val_accuracy >= best_so_far
    # Last: what is looked into is of no other use after.
    with _NETWORKS.alone() if is_best else nullcontext():
        note = draw_pictures(subject, model if is_best else None, files)
    return TrialResult(fitted.epochs, pruned, digest, note)


def _from_newest(
    checkpoints: Checkpoints | None,
    train: Callable[[TrainingState | None, list[str]], tuple[nn.Module, Fitted]],
) -> tuple[nn.Module, Fitted]:
    """Train from the newest checkpoint that can be used, else from the beginning."""
    refusals: list[str] = []
    for state in checkpoints.load() if checkpoints is not None else ():
        if isinstance(state, UnusableCheckpointError):
            refusals.append(str(state))
            continue
        try:
            return train(state, refusals)
        except UnusableCheckpointError as error:
            refusals.append(str(error))
    return train(None, refusals)
