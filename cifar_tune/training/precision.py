"""Whether a study is trained in bf16: where the device does that faster, and it agrees."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from cifar_tune.config.trial import Precision, TrialConfig
from cifar_tune.data.bundle import read_bundled
from cifar_tune.data.cifar10 import CLASSES, IMAGE_SIZE
from cifar_tune.data.loader import place, training_batches
from cifar_tune.data.mixing import Labels
from cifar_tune.data.search_data import Subset
from cifar_tune.models.full_map_conv import replace_whole_map_convolutions
from cifar_tune.models.resnet import initialise_model, seed_dropouts, set_training
from cifar_tune.training.device import keep_freed_memory, torch_threads
from cifar_tune.training.optimizer import make_optimizer
from cifar_tune.training.step import train_step

LEAST_SPEEDUP = 1.1
MOST_SHIFT = 0.5
CHECKED_IMAGES = 64
STEPS = 3


@dataclass(frozen=True)
class PrecisionCheck:
    """A precision, and why.

    Attributes:
        why: in words, for the first lines of a run.
    """

    precision: Precision
    why: str


def check_precision(config: TrialConfig, device: torch.device, threads: int) -> PrecisionCheck:
    """Train a few steps on bundled images in fp32 and in bf16, for a second.

    bf16 is chosen where a step is at least 1.1 times as fast and moves the gradient, over all
    weights, at most half as far as another batch of images does: then what the rounding adds is
    small beside the noise that stochastic gradient descent lives with. A trial has so many PyTorch
    threads on the processor.
    """
    if not _has_bf16(device):
        return PrecisionCheck("fp32", "this device has no bf16")
    keep_freed_memory()
    with torch_threads(threads):
        speedup, shift = _compare(config, device)
    error = f"rounding error is {shift:.2f} of batch noise"
    if speedup >= LEAST_SPEEDUP and shift <= MOST_SHIFT:
        return PrecisionCheck("bf16", f"{speedup:.1f}x faster; {error}")
    limits = f"at least {LEAST_SPEEDUP}x and at most {MOST_SHIFT} are needed"
    return PrecisionCheck("fp32", f"bf16 has {speedup:.2f}x its speed, {error}; {limits}")


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _compare(config: TrialConfig, device: torch.device) -> tuple[float, float]:
    """Return how much faster a step is in bf16, and how far it moves the first one's gradient.

    That is a multiple of how far the gradient moves from batch to batch.
    """
    images = max(8, CHECKED_IMAGES * IMAGE_SIZE**2 // config.input_size**2)
    small = replace(config, batch_size=images, train_images=2 * images, train_on="train", seed=0)
    part = Subset(read_bundled("train"), np.arange(2 * images))
    batch, other = training_batches(place(part, small, device), small, 1)
    step = _make_step(small, device)
    gradient, rounded = (step(*batch, precision) for precision in get_args(Precision))
    from_batch = (step(*other, "fp32") - gradient).norm()
    seconds: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    for precision in get_args(Precision) * STEPS:
        start = time.perf_counter()
        step(*batch, precision)
        seconds[precision].append(time.perf_counter() - start)
    speedup = statistics.median(seconds["fp32"]) / statistics.median(seconds["bf16"])
    return speedup, float((rounded - gradient).norm() / from_batch)


def _make_step(
    config: TrialConfig, device: torch.device
) -> Callable[[Tensor, Labels, Precision], Tensor]:
    """Return a function of images, labels and precision that trains a step.

    It returns the gradient, float32 [number of weights]; weights and dropout masks are always the
    same.
    """
    model = initialise_model(config, len(CLASSES)).to(device)
    replace_whole_map_convolutions(model, config.input_size)
    set_training(model, config)
    still = replace(config, learning_rate=0.0)  # the weights are not to move
    optimizer = make_optimizer(model, still)

    def step(images: Tensor, labels: Labels, precision: Precision) -> Tensor:
        seed_dropouts(model, config, 1)
        train_step(model, optimizer, images, labels, replace(still, precision=precision))
        gradients = [value.grad for value in model.parameters() if value.grad is not None]
        return torch.cat(
            [gradient.flatten() for gradient in gradients]
        ).cpu()  # waits for the device

    return step
