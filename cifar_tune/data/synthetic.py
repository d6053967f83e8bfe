"""Random images and settings to time training with: what images show makes no difference to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.cifar10 import CLASSES, IMAGE_SIZE, LabelledImages
from cifar_tune.data.search_data import Subset


def random_images(count: int) -> Subset:
    """Return so many images of CIFAR-10's size with labels, the same ones each time."""
    noise = np.random.default_rng(0)
    images = noise.integers(0, 256, (count, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    labels = noise.integers(0, len(CLASSES), count, dtype=np.uint8)
    return Subset(LabelledImages(images, labels), np.arange(count))


def config_for_noise(config: TrialConfig) -> TrialConfig:
    """Return settings that take as long, and with which noise cannot drive the loss to infinity."""
    alone = (0.5, 0.5, 0.5)
    return replace(config, learning_rate=1e-6, normalize_mean=alone, normalize_std=alone)
