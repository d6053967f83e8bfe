"""One trial from its configuration to its result; it knows nothing of Optuna."""

from __future__ import annotations

from pathlib import Path

import torch

from cifar_tune.checkpoint import save_model
from cifar_tune.data.loader import place
from cifar_tune.data.source import SearchData
from cifar_tune.model import build_model
from cifar_tune.predictions import make_predictions, save_predictions
from cifar_tune.records import TrialConfig, TrialResult
from cifar_tune.seeds import derive_seed
from cifar_tune.trainer import OnEpoch, OnStep, fit
from cifar_tune.weights.registry import Weights


def run_trial(
    config: TrialConfig,
    data: SearchData,
    weights: Weights | None,
    device: torch.device,
    on_epoch: OnEpoch,
    on_step: OnStep,
    keep: Path | None = None,
    predictions: Path | None = None,
) -> TrialResult:
    """Train one configuration.

    On a CPU the result is a function of configuration, data, weights, PyTorch version and thread
    count.

    Args:
        weights: the pretrained ones that the configuration names; None where it names none.
        on_epoch: called after each epoch; False stops the trial, which is then pruned.
        on_step: called after each training step and validation batch.
        keep: where to keep the final weights, unless the trial is pruned; None keeps none.
        predictions: where to keep what the last epoch said of each validation image; likewise.

    Raises:
        NonFiniteLossError: the training loss became infinite or not a number.
        WeightsError: the final weights cannot be written.
        StorageError: the predictions cannot be written.
    """
    named = weights.name if weights is not None else "none"
    if named != config.weights:
        raise ValueError(f"the configuration names weights {config.weights}, given were {named}")
    split = data.split(config)
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked):
        torch.manual_seed(derive_seed(config.seed, "weights"))
        pretrained = weights.tensors if weights is not None else None
        model = build_model(config, len(data.classes), pretrained).to(device)
        fitted = fit(
            model,
            place(split.train, config, device),
            place(split.validation, config, device),
            config,
            on_epoch,
            on_step,
        )
    pruned = len(fitted.epochs) < config.epochs
    digest = save_model(model, keep) if keep is not None and not pruned else None
    if predictions is not None and not pruned:
        part, logits = split.validation, fitted.last.logits.float().cpu().numpy()
        made = make_predictions(data.classes, part.rows, part.pool.images, part.pool.labels, logits)
        save_predictions(made, predictions)
    return TrialResult(fitted.epochs, pruned, digest)
