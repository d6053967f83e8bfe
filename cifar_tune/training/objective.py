"""One trial from its configuration to its result; it knows nothing of Optuna."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cifar_tune.config.trial import TrialConfig, digest_of
from cifar_tune.data.search_data import SearchData, Split, Subset
from cifar_tune.models.weight_files import save_model
from cifar_tune.models.weights import Weights
from cifar_tune.training.callbacks import NO_CALLBACKS, TrainingCallbacks
from cifar_tune.training.checkpoints import (
    Checkpoints,
    Position,
    TrainingState,
    UnusableCheckpointError,
)
from cifar_tune.training.device import keep_freed_memory
from cifar_tune.training.network import TrainingNetwork
from cifar_tune.training.predictions import make_predictions, save_predictions
from cifar_tune.training.records import TrialFiles, TrialResult
from cifar_tune.training.step_graph import StepGraphs, graphs_of_thread
from cifar_tune.training.trainer import Fitted, Trainer


@dataclass(frozen=True)
class TrainedTrial:
    """A trial in the process that has just trained it, which may still look at its network.

    Attributes:
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

    ``files`` says where to keep checkpoints, and the final weights and predictions unless the trial
    is pruned; None keeps nothing. ``graphs`` are those of the training step; None takes those of
    this thread where the device is a CUDA one, and else has none.

    Raises:
        ValueError: The weights are not those that the configuration names, or none where it does.
        NonFiniteLossError: The training loss became infinite or not a number.
        TrainingStopped: ``should_stop`` said so.
        WeightsError: The final weights cannot be written.
        StorageError: The predictions or a checkpoint cannot be written.
    """
    keep_freed_memory()
    files = files or TrialFiles()
    graphs = graphs if graphs is not None else graphs_of_thread(device)
    split = data.split(config)
    attempts = _Attempts(config, data, split, weights, device, callbacks, files, graphs)
    model, fitted = attempts.train_from_newest()
    logits = fitted.logits.float().cpu().numpy()
    kept = TrialFiles() if fitted.pruned else files
    digest = save_model(model, kept.weights) if kept.weights is not None else None
    if kept.predictions is not None:
        part = split.validation
        predictions = make_predictions(data.classes, part.pool, part.rows, logits)
        save_predictions(predictions, kept.predictions)
    result = TrialResult(fitted.epochs, fitted.pruned, digest)
    return TrainedTrial(result, config, data.classes, split.validation, logits, model)


@dataclass(frozen=True)
class _Attempts:
    """What the attempts to train a trial have in common, each from another of its checkpoints."""

    config: TrialConfig
    data: SearchData
    split: Split
    weights: Weights | None
    device: torch.device
    callbacks: TrainingCallbacks
    files: TrialFiles
    graphs: StepGraphs | None

    def train_from_newest(self) -> tuple[nn.Module, Fitted]:
        """Train from the newest checkpoint that can be used, else from the beginning."""
        name, expected = self.weights.name if self.weights else "none", self.config.weights
        if name != expected:
            raise ValueError(f"the configuration names weights {expected}, given were {name}")
        if self.files.checkpoints is None:
            return self._train(None, None, [])
        weights_sha256 = self.weights and self.weights.sha256
        identity = digest_of([self.config.digest, dict(self.data.digests), weights_sha256])
        checkpoints = Checkpoints(self.files.checkpoints, identity)
        refusals: list[str] = []
        for state in checkpoints.load():
            if isinstance(state, UnusableCheckpointError):
                refusals.append(str(state))
                continue
            try:
                return self._train(checkpoints, state, refusals)
            except UnusableCheckpointError as error:
                refusals.append(str(error))
        return self._train(checkpoints, None, refusals)

    def _train(
        self, checkpoints: Checkpoints | None, start: TrainingState | None, refusals: list[str]
    ) -> tuple[nn.Module, Fitted]:
        config, graphs = self.config, self.graphs
        pretrained = self.weights.tensors if self.weights is not None else None
        classes, has_graph = len(self.data.classes), graphs is not None
        network = TrainingNetwork(config, classes, pretrained, self.device, has_graph=has_graph)
        self.callbacks.on_start(Position() if start is None else start.position, refusals)
        images = network.place_training(self.split.train, self.files.features)
        validation = network.place_validation(self.split.validation, self.files.features)
        model = network.model
        lent = nullcontext() if graphs is None else graphs.training(model, images, config)
        with lent as graph:
            trainer = Trainer(model, config, self.callbacks, checkpoints, graph)
            fitted = trainer.fit(images, validation, start)
        return network.restore(len(fitted.epochs)), fitted
