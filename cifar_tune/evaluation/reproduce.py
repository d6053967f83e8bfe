"""Trains a stored trial again and says whether it came out the same.

On one kind of processor, with the same versions and threads, it must be the same bit for bit. Where
one of these differs, rounding does too, and the outcome is one of those that other seeds might have
given: then it must lie within the spread over seeds.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.search_data import load_search_data
from cifar_tune.errors import DataError, InputError
from cifar_tune.evaluation.stats import binomial_variance
from cifar_tune.evaluation.trial import TrialDossier
from cifar_tune.models.weights import load_weights
from cifar_tune.training.callbacks import TrainingCallbacks
from cifar_tune.training.device import describe_device, torch_threads
from cifar_tune.training.objective import run_trial
from cifar_tune.training.provenance import software
from cifar_tune.training.records import EpochMetrics, TrialFiles, TrialResult

SPREAD = 1.96 * math.sqrt(2)
"""How many standard deviations two outcomes of one distribution differ by at most, in 95 %."""

Agreement = Literal["bit for bit", "within the seed spread", "no"]


@dataclass(frozen=True)
class RepeatedEpoch:
    """An epoch as it is stored, and as it came out again."""

    stored: EpochMetrics
    again: EpochMetrics

    @property
    def is_same(self) -> bool:
        """Whether both gave the same figures; their times may differ."""
        return replace(self.stored, seconds=self.again.seconds) == self.again


@dataclass(frozen=True)
class Reproduction:
    """A trial that was trained again.

    Attributes:
        reproduced: Whether it came out the same, bit for bit or within the spread over seeds.
        differences: What is not as it was, in words: versions, device, images.
        same_weights: Whether the final weights are the same bit for bit; None if they were not
            kept.
        explained_difference: The difference of final validation accuracy that the spread over seeds
            explains.
        explained_by: Where that comes from, in words.
    """

    agreement: Agreement
    reproduced: bool
    differences: tuple[str, ...]
    same_weights: bool | None
    explained_difference: float
    explained_by: str
    epochs: tuple[RepeatedEpoch, ...]


def reproduce(
    dossier: TrialDossier,
    root: Path,
    device: torch.device,
    on_epoch: Callable[[EpochMetrics, EpochMetrics], None],
) -> Reproduction:
    """Train a stored trial again.

    Imported images and weights are in ``root``.
    ``on_epoch`` is called after each epoch with the stored one and the new one.

    Raises:
        InputError: The trial has trained no epoch.
        DataError: Its images are no longer what they were, or are missing.
        WeightsError: The weights that it started from are missing or others.
    """
    if not dossier.history:
        raise InputError(f"trial {dossier.number} of {dossier.study_name}: has no epoch to repeat")
    config = TrialConfig(**dossier.config)
    data = load_search_data(config.data, root)
    if dict(data.digests) != dossier.facts["data_digests"]:
        raise DataError(f"images {config.data}: are not those that the trial learnt from")
    weights = load_weights({config.weights} - {"none"}, root).get(config.weights)
    stored, again = list(dossier.history), list[EpochMetrics]()

    def take(metrics: EpochMetrics) -> bool:
        again.append(metrics)
        on_epoch(stored[len(again) - 1], metrics)
        # A pruned trial is trained as far as it was.
        return len(again) < len(stored) or len(stored) == config.epochs

    kept = dossier.weights_sha256 is not None
    threads = dossier.facts.get("threads") if device.type == "cpu" else None
    with tempfile.TemporaryDirectory(prefix="cifar-tune-") as folder, torch_threads(threads):
        files = TrialFiles(weights=Path(folder) / "weights.safetensors" if kept else None)
        callbacks = TrainingCallbacks(on_epoch=take)
        result = run_trial(config, data, weights, device, callbacks, files).result
        now = describe_device(device)
    epochs = tuple(RepeatedEpoch(*pair) for pair in zip(stored, again, strict=True))
    return _compare(dossier, result, epochs, now, device)


def _compare(
    dossier: TrialDossier,
    result: TrialResult,
    epochs: tuple[RepeatedEpoch, ...],
    now: str,
    device: torch.device,
) -> Reproduction:
    differences = tuple(_differences(dossier.facts, now))
    same_weights = None
    if dossier.weights_sha256 is not None and result.kept_sha256 is not None:
        same_weights = dossier.weights_sha256 == result.kept_sha256
    stored, again = epochs[-1].stored.val_accuracy, epochs[-1].again.val_accuracy
    images = int(dossier.config["validation_images"])
    if dossier.seed_sd is not None:
        deviation, basis = dossier.seed_sd, "the spread over seeds of this study"
    else:
        deviation = math.sqrt(binomial_variance(stored, images))
        basis = f"the binomial standard error on {images:,} images, for want of a second seed"
    largest = SPREAD * deviation
    # Nothing explains a difference on one processor with the same versions.
    must_be_same = device.type == "cpu" and not differences
    agreement: Agreement = "no"
    if same_weights is not False and all(epoch.is_same for epoch in epochs):
        agreement = "bit for bit"
    elif not must_be_same and abs(stored - again) <= largest:
        agreement = "within the seed spread"
    return Reproduction(
        agreement, agreement != "no", differences, same_weights, largest, basis, epochs
    )


def _differences(facts: Mapping[str, Any], device: str) -> list[str]:
    then = {"device": facts["device"], **facts["software"]}
    now = {"device": device, **software()}
    return [
        f"{key}: {then.get(key)} then, {now.get(key)} now"
        for key in {**then, **now}
        if then.get(key) != now.get(key) and key != "optuna"  # which trains nothing
    ]
