"""One trial from its configuration to its result; it knows nothing of Optuna."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cifar_tune.config.trial import TrialConfig, digest_of
from cifar_tune.data.search_data import SearchData, Subset
from cifar_tune.models.weight_files import save_model
from cifar_tune.models.weights import Weights
from cifar_tune.training.callbacks import NO_CALLBACKS, TrainingCallbacks
from cifar_tune.training.checkpoints import (
    Checkpoints,
    Position,
    TrainingState,
    UnusableCheckpointError,
)
from cifar_tune.training.malloc import keep_freed_memory
from cifar_tune.training.network import TrainingNetwork
from cifar_tune.training.predictions import make_predictions, save_predictions
from cifar_tune.training.records import TrialFiles, TrialResult
from cifar_tune.training.step_graph import StepGraphs, graphs_of_thread
from cifar_tune.training.trainer import Fitted, Trainer


@dataclass(frozen=True)
class TrainedTrial:
    """A trial in the process that has just trained it, which may still look at its network.

    Attributes:
        result: What is recorded of it.
        config: Its configuration.
        classes: Names in the order of the labels.
        validation: The images that ``logits`` are of.
        logits: Float32 [N, number of classes], after the last epoch; empty where no epoch was
            trained in this process.
        model: torchvision's network with the weights after the last epoch.
    """

    result: TrialResult
    config: TrialConfig
    classes: tuple[str, ...]
    validation: Subset
    logits: npt.NDArray[np.float32]
    model: nn.Module


def run_trial(
    config: TrialConfig,
    data: SearchData,
    weights: Weights | None,
    device: torch.device,
    callbacks: TrainingCallbacks = NO_CALLBACKS,
    files: TrialFiles | None = None,
    graphs: StepGraphs | None = None,
) -> TrainedTrial:
    """Train one configuration, from its newest usable checkpoint where there is one.

    On a CPU the result is a function of configuration, data, weights, PyTorch version and thread
    count, however often it was stopped and continued.

    Args:
        config: The configuration.
        data: The images that its split is drawn from.
        weights: The pretrained weights that the configuration names; None where it names none.
        device: The device to train on.
        callbacks: Called as the training goes on.
        files: Where to keep checkpoints, and the final weights and predictions unless the trial is
            pruned; None keeps nothing.
        graphs: The graphs of the training step; None takes those of this thread where the device is
            a CUDA one, and else has none.

    Raises:
        ValueError: The weights are not those that the configuration names.
        NonFiniteLossError: The training loss became infinite or not a number.
        TrainingStopped: ``should_stop`` said so.
        WeightsError: The final weights cannot be written.
        StorageError: The predictions or a checkpoint cannot be written.
    """
    keep_freed_memory()
    name = weights.name if weights is not None else "none"
    if name != config.weights:
        raise ValueError(f"the configuration names weights {config.weights}, given were {name}")
    files = files or TrialFiles()
    split = data.split(config)
    step_graphs = graphs if graphs is not None else graphs_of_thread(device)
    checkpoints = None
    if files.checkpoints is not None:
        identity = digest_of([config.digest, dict(data.digests), weights and weights.sha256])
        checkpoints = Checkpoints(files.checkpoints, identity)

    def train(start: TrainingState | None, refusals: list[str]) -> tuple[nn.Module, Fitted]:
        pretrained = weights.tensors if weights is not None else None
        network = TrainingNetwork(
            config, len(data.classes), pretrained, device, has_graph=step_graphs is not None
        )
        model = network.model
        callbacks.on_start(Position() if start is None else start.position, refusals)
        images = network.place_training(split.train, files.features)
        validation = network.place_validation(split.validation, files.features)
        lent = nullcontext() if step_graphs is None else step_graphs.training(model, images, config)
        with lent as graph:
            trainer = Trainer(model, config, callbacks, checkpoints, graph)
            fitted = trainer.fit(images, validation, start)
        return network.restore(len(fitted.epochs)), fitted

    model, fitted = _train_from_newest(checkpoints, train)
    logits = fitted.logits.float().cpu().numpy()
    digest = None
    if not fitted.pruned and files.weights is not None:
        digest = save_model(model, files.weights)
    if not fitted.pruned and files.predictions is not None:
        rows, pool = split.validation.rows, split.validation.pool
        predictions = make_predictions(data.classes, rows, pool.images, pool.labels, logits)
        save_predictions(predictions, files.predictions)
    result = TrialResult(fitted.epochs, fitted.pruned, digest)
    return TrainedTrial(result, config, data.classes, split.validation, logits, model)


def _train_from_newest(
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
