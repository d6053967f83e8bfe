"""Frozen records that the modules hand to one another."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

REQUIRED_HYPERPARAMETERS = (
    "dropout_rate",
    "learning_rate",
    "augmentation_strength",
    "freeze_depth",
    "cosine_t_max",
)
"""Those of the assignment: every study says what they are, or searches over them."""
HYPERPARAMETERS = (
    *REQUIRED_HYPERPARAMETERS,
    "flip_probability",
    "crop_padding",
    "warmup_epochs",
    "weight_decay",
    "momentum",
    "label_smoothing",
)
"""What a study may search over; those that are not required are the assignment's by default."""

QUANTITIES = ("train_accuracy", "val_accuracy", "test_accuracy", "seconds")
"""What reports state of a trial, and claims compare."""

Precision = Literal["fp32", "bf16"]
Split = Literal["fixed", "plain", "stratified"]
Head = Literal["linear", "dropout", "mlp"]
FrozenBatchNorm = Literal["batch", "running"]
Stem = Literal["imagenet", "cifar"]
OptimizerName = Literal["adam", "sgd"]
TrainOn = Literal["train", "train+val"]


@dataclass(frozen=True)
class TrialConfig:
    """All that decides the outcome of one trial on one kind of machine.

    Attributes:
        data: ``bundled`` (the mini CIFAR-10 in the package), ``cifar10`` (the full set) or the
            name of an imported image set.
        split: how training and validation images are told apart. ``fixed``: as the image set has
            them; ``plain``: drawn from the training set by seed, whatever their class;
            ``stratified``: the same with every class in proportion.
        train_images: number of training images.
        validation_images: number of validation images.
        input_size: height and width in pixels that images are resized to.
        normalize_mean: mean of each channel, on the scale 0 to 1.
        normalize_std: standard deviation of each channel, on the same scale.
        augment_validation: augment validation images as training images are.
        weights: ``none`` for random initialisation, ``imagenet``, ``tiny-imagenet-32`` or the name
            of imported weights; the head is always initialised at random.
        head: for ten or however many classes. ``linear``: Linear(512, 10); ``dropout``:
            Dropout(p), Linear(512, 10); ``mlp``: Linear(512, 256), ReLU, Dropout(p),
            Linear(256, 10).
        frozen_batch_norm: ``batch``: batch norm in the frozen part normalises with batch
            statistics and its running averages move; ``running``: it is a fixed function.
        batch_size: images in a training step; the last step of an epoch has the rest.
        epochs: passes over the training images.
        cosine_t_max: ``T_max`` of the cosine schedule, in epochs.
        dropout_rate: probability p of the head's dropout.
        learning_rate: of the optimiser, at the start of the cosine schedule.
        augmentation_strength: 0 is none, 1 the recipe of ``cifar_tune.data.augment``.
        freeze_depth: 0 freezes nothing, 1 the stem, 2 to 5 also layer1 to layer4.
        seed: of initialisation, order, augmentation and dropout.
        train_on: ``train``, or ``train+val``: on the validation images too. Then what is measured
            on those says nothing, and only the test images can tell what the trial is worth.
        precision: of convolutions and matrix products, and of what they hand on: ``fp32`` or, with
            weights, gradients and optimiser in single precision, ``bf16``.
        stem: ``imagenet``: torchvision's, which makes a 32-px image an 8-px map; ``cifar``: a 3x3
            convolution with stride 1 and no pooling, as for CIFAR-10 in He et al. (2016),
            "Deep Residual Learning for Image Recognition", section 4.2.
        optimizer: ``adam`` or, with Nesterov's momentum, ``sgd``.
        flip_probability: of mirroring a training image; None as the strength of the augmentation
            has it.
        crop_padding: pixels of black around a training image, from which a part of its size is
            cut at random, before it is resized; 0 for none.
        warmup_epochs: in which the learning rate grows linearly to its full value, before the
            cosine schedule begins.
        weight_decay: of all parameters that train. Adam's is decoupled (Loshchilov and Hutter
            2019, "Decoupled Weight Decay Regularization"), that of ``sgd`` a part of the gradient.
        momentum: of ``sgd``; Adam has none of that name.
        label_smoothing: the share of a training label that is spread evenly over all classes
            (Szegedy et al. 2016, "Rethinking the Inception Architecture").
    """

    data: str
    split: Split
    train_images: int
    validation_images: int
    input_size: int
    normalize_mean: tuple[float, float, float]
    normalize_std: tuple[float, float, float]
    augment_validation: bool
    weights: str
    head: Head
    frozen_batch_norm: FrozenBatchNorm
    batch_size: int
    epochs: int
    cosine_t_max: int
    dropout_rate: float
    learning_rate: float
    augmentation_strength: float
    freeze_depth: int
    seed: int
    train_on: TrainOn = "train"
    precision: Precision = "fp32"
    stem: Stem = "imagenet"
    optimizer: OptimizerName = "adam"
    flip_probability: float | None = None
    crop_padding: int = 0
    warmup_epochs: int = 0
    weight_decay: float = 0.0
    momentum: float = 0.9
    label_smoothing: float = 0.0

    @property
    def augments(self) -> bool:
        """Whether training images are changed from epoch to epoch."""
        return bool(self.augmentation_strength or self.flip_probability or self.crop_padding)

    @property
    def images_trained_on(self) -> int:
        """How many images an epoch has."""
        more = self.validation_images if self.train_on == "train+val" else 0
        return self.train_images + more

    @property
    def steps(self) -> int:
        """Training steps in an epoch."""
        return -(-self.images_trained_on // self.batch_size)

    @property
    def digest(self) -> str:
        """SHA-256 of the configuration, as hexadecimal."""
        return digest_of(self.as_stored())

    def as_stored(self) -> dict[str, Any]:
        """The fields as JSON has them. Those that have a default are left out where they are what
        they were before there was a choice, so that digests stay what they were."""
        return without_defaults(dataclasses.asdict(self))


def without_defaults(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a configuration, or of the protocol of a study, without those that are what
    ``TrialConfig`` has them by default; of a protocol, None stands for that too."""
    defaults = {
        field.name: field.default
        for field in dataclasses.fields(TrialConfig)
        if field.default is not dataclasses.MISSING
    }
    return {
        key: value
        for key, value in fields.items()
        if key not in defaults or value not in (None, defaults[key])
    }


def digest_of(value: object) -> str:
    """SHA-256 of a value's canonical JSON, as hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
