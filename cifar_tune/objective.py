"""One trial from its configuration to its result; it knows nothing of Optuna."""

from __future__ import annotations

import torch

from cifar_tune.data.loader import place
from cifar_tune.data.source import SearchData
from cifar_tune.model import build_model
from cifar_tune.records import TrialConfig, TrialResult
from cifar_tune.seeds import derive_seed
from cifar_tune.trainer import OnEpoch, OnStep, fit


def run_trial(
    config: TrialConfig,
    data: SearchData,
    device: torch.device,
    on_epoch: OnEpoch,
    on_step: OnStep,
) -> TrialResult:
    """Train one configuration.

    On a CPU the result is a function of configuration, data, PyTorch version and thread count.

    Args:
        on_epoch: called after each epoch; False stops the trial, which is then pruned.
        on_step: called after each training step and validation batch.

    Raises:
        NonFiniteLossError: the training loss became infinite or not a number.
    """
    train, validation = data.split(config)
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked):
        torch.manual_seed(derive_seed(config.seed, "weights"))
        model = build_model(config).to(device)
        epochs = fit(
            model,
            place(train, config, device),
            place(validation, config, device),
            config,
            on_epoch,
            on_step,
        )
    return TrialResult(epochs, pruned=len(epochs) < config.epochs)
