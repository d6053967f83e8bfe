"""The configuration of a trial, with the declaration of every hyperparameter."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cifar_tune.config.hyperparameter import Hyperparameter, read_declarations

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

    The hyperparameters are described where they are declared. One without a default is the
    assignment's, and every study says what it is or searches it; the default of any other is what
    the assignment had.

    Attributes:
        data: ``bundled`` (the mini CIFAR-10 in the package), ``cifar10`` (the full set) or the
            name of an imported image set.
        split: How training and validation images are told apart. ``fixed``: as the image set has
            them; ``plain``: drawn from the training set by seed, whatever their class;
            ``stratified``: the same with every class in proportion.
        train_images: The number of training images.
        validation_images: The number of validation images.
        input_size: The height and width in pixels that images are resized to.
        normalize_mean: The mean of each channel, on the scale 0 to 1.
        normalize_std: The standard deviation of each channel, on the same scale.
        augment_validation: Whether validation images are augmented as training images are.
        weights: ``none`` for random initialisation, ``imagenet``, ``tiny-imagenet-32`` or the name
            of imported weights; the head is always initialised at random.
        head: The layers after the last pooling, for ten or however many classes. ``linear``:
            Linear(512, 10); ``dropout``: Dropout(p), Linear(512, 10); ``mlp``: Linear(512, 256),
            ReLU, Dropout(p), Linear(256, 10).
        frozen_batch_norm: ``batch``: batch norm in the frozen part normalises with batch
            statistics and its running averages move; ``running``: it is a fixed function.
        epochs: The passes over the training images.
        seed: The seed of initialisation, order, augmentation and dropout.
        train_on: ``train``, or ``train+val``: on the validation images too. Then what is measured
            on those says nothing, and only the test images can tell what the trial is worth.
        precision: The precision of convolutions and matrix products, and of what they hand on:
            ``fp32`` or, with weights, gradients and optimiser in single precision, ``bf16``.

    Example:
        >>> spec = ct.load_study_file("dropout", profile="quick")
        >>> params = {"dropout_rate": 0.3, "learning_rate": 1e-3, "augmentation_strength": 1.0}
        >>> config = spec.config(params, seed=1)
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
    batch_size: Annotated[
        int,
        Hyperparameter(
            "images in a training step; the last step of an epoch has the rest",
            short="batch",
            ge=2,
            le=50_000,
        ),
    ]
    epochs: int
    dropout_rate: Annotated[
        float,
        Hyperparameter(
            'probability of the head\'s dropout (`head = "dropout"` or `"mlp"`)',
            short="dropout",
            ge=0,
            lt=1,
            shares_graph=True,
        ),
    ]
    learning_rate: Annotated[
        float,
        Hyperparameter(
            "learning rate at the start of the cosine schedule",
            short="lr",
            gt=0,
            le=10,
            shares_graph=True,
        ),
    ]
    augmentation_strength: Annotated[
        float,
        Hyperparameter(
            "0 is none, 1 the report's flips (probability 0.40) and rotations (±30°), larger is "
            "stronger",
            short="augment",
            ge=0,
            le=4,
            shares_graph=True,
        ),
    ]
    freeze_depth: Annotated[
        int,
        Hyperparameter(
            "0 freezes nothing, 1 the stem, 2 to 5 also `layer1` to `layer4`",
            short="freeze",
            ge=0,
            le=5,
            has_log_scale=False,
        ),
    ]
    cosine_t_max: Annotated[
        int,
        Hyperparameter(
            "`T_max` of the cosine schedule, in epochs; 200 in the assignment",
            short="T_max",
            label="T_max of the cosine schedule",
            ge=1,
            shares_graph=True,
        ),
    ]
    seed: int
    train_on: TrainOn = "train"
    precision: Precision = "fp32"
    # The stem of CIFAR-10 is that of He et al. (2016), "Deep Residual Learning for Image
    # Recognition", section 4.2; torchvision's makes a 32-px image an 8-px map.
    stem: Annotated[
        Stem,
        Hyperparameter(
            "first layers: torchvision's, or one 3x3 convolution with stride 1 and no pooling"
        ),
    ] = "imagenet"
    optimizer: Annotated[
        OptimizerName,
        Hyperparameter(
            "Adam, or stochastic gradient descent with Nesterov momentum", label="optimiser"
        ),
    ] = "adam"
    flip_probability: Annotated[
        float | None,
        Hyperparameter(
            "probability of a horizontal flip; if not set, `augmentation_strength` determines it",
            short="flip",
            ge=0,
            le=1,
            shares_graph=True,
        ),
    ] = None
    crop_padding: Annotated[
        int,
        Hyperparameter(
            "random crop with this much black padding (px) before resizing; 0 is none",
            short="crop",
            label="padding of random crops",
            unit="px",
            ge=0,
            le=16,
        ),
    ] = 0
    warmup_epochs: Annotated[
        int,
        Hyperparameter(
            "epochs of linear learning-rate warm-up before the cosine schedule",
            short="warm-up",
            label="epochs of warm-up",
            ge=0,
            shares_graph=True,
        ),
    ] = 0
    # Loshchilov and Hutter (2019), "Decoupled Weight Decay Regularization".
    weight_decay: Annotated[
        float,
        Hyperparameter(
            "weight decay of all trained parameters: decoupled with Adam (AdamW), part of the "
            "gradient with SGD",
            short="decay",
            ge=0,
            le=10,
        ),
    ] = 0.0
    momentum: Annotated[
        float, Hyperparameter('Nesterov momentum of `optimizer = "sgd"`', ge=0, lt=1)
    ] = 0.9
    # Szegedy et al. (2016), "Rethinking the Inception Architecture for Computer Vision".
    label_smoothing: Annotated[
        float,
        Hyperparameter(
            "fraction of a training label that is spread evenly over all classes",
            short="smoothing",
            ge=0,
            lt=1,
        ),
    ] = 0.0
    # Polyak and Juditsky (1992), "Acceleration of Stochastic Approximation by Averaging".
    ema_decay: Annotated[
        float,
        Hyperparameter(
            "decay per training step of the exponential moving average of the weights, which is "
            "evaluated and kept in their place; 0 is none",
            short="EMA",
            label="decay of averaged weights",
            ge=0,
            lt=1,
            shares_graph=True,
        ),
    ] = 0.0
    # Müller and Hutter (2021), "TrivialAugment: Tuning-free Yet State-of-the-Art".
    auto_augment: Annotated[
        float,
        Hyperparameter(
            "share of training images that get one operation of TrivialAugment before resizing",
            short="auto",
            label="share of TrivialAugment",
            ge=0,
            le=1,
            shares_graph=True,
        ),
    ] = 0.0
    # DeVries and Taylor (2017), "Improved Regularization of Convolutional Neural Networks".
    erase_size: Annotated[
        float,
        Hyperparameter(
            "cutout: side of the square that is erased from each training image, as a fraction of "
            "the image's side; 0 is none",
            short="erase",
            label="size of erased squares",
            ge=0,
            le=1,
            shares_graph=True,
        ),
    ] = 0.0
    # Zhang et al. (2018), "mixup: Beyond Empirical Risk Minimization".
    mixup_alpha: Annotated[
        float,
        Hyperparameter(
            "mixup: training images and labels are mixed in pairs, with weights from a beta "
            "distribution with both parameters equal to this; 0 is none",
            short="mixup",
            label="alpha of mixup",
            ge=0,
            le=10,
            shares_graph=True,
        ),
    ] = 0.0
    # Yun et al. (2019), "CutMix: Regularization Strategy to Train Strong Classifiers".
    cutmix_probability: Annotated[
        float,
        Hyperparameter(
            "probability that a batch is mixed by CutMix, a box of each image replaced by another "
            "image's; other batches have mixup if `mixup_alpha` is set",
            short="CutMix",
            label="probability of CutMix",
            ge=0,
            le=1,
            shares_graph=True,
        ),
    ] = 0.0
    # Foret et al. (2021), "Sharpness-Aware Minimization for Efficiently Improving Generalization".
    sam_radius: Annotated[
        float,
        Hyperparameter(
            "sharpness-aware minimization (SAM): a step takes the gradient at this distance from "
            "the weights, uphill, and twice the time; 0 is none",
            short="SAM",
            label="radius of SAM",
            ge=0,
            le=10,
        ),
    ] = 0.0
    # Howard and Ruder (2018), "Universal Language Model Fine-tuning", section 3.2.
    layer_decay: Annotated[
        float,
        Hyperparameter(
            "learning rate of each stage as a fraction of the next one's, from the head down to "
            "the stem; 1 is the same for all",
            short="layer decay",
            gt=0,
            le=1,
            shares_graph=True,
        ),
    ] = 1.0
    augmentation_off_epochs: Annotated[
        int,
        Hyperparameter(
            "last epochs that train on images without any augmentation or mixing",
            short="off",
            label="last epochs without augmentation",
            ge=0,
            shares_graph=True,
        ),
    ] = 0

    @property
    def augments(self) -> bool:
        """Whether training images are changed from epoch to epoch."""
        changes = (self.augmentation_strength, self.flip_probability, self.crop_padding)
        return any(changes) or bool(self.auto_augment or self.erase_size or self.mixes)

    @property
    def mixes(self) -> bool:
        """Whether training images are mixed with one another."""
        return bool(self.mixup_alpha or self.cutmix_probability)

    @property
    def images_trained_on(self) -> int:
        """The number of images in an epoch."""
        more = self.validation_images if self.train_on == "train+val" else 0
        return self.train_images + more

    @property
    def steps(self) -> int:
        """The number of training steps in an epoch."""
        return -(-self.images_trained_on // self.batch_size)

    @property
    def digest(self) -> str:
        """The SHA-256 of the configuration, as hexadecimal."""
        return digest_of(self.as_stored())

    def as_stored(self) -> dict[str, Any]:
        """Return the fields as JSON has them, without those that have their default.

        What had no choice once is then stored as it was, so that digests stay what they were.
        """
        fields = dataclasses.asdict(self)
        keys = list(fields)
        # `cosine_t_max` is stored where it stood before it could be searched.
        first = [*keys[: keys.index("epochs") + 1], "cosine_t_max"]
        return without_defaults(dict.fromkeys(first) | fields)


HYPERPARAMETERS: Mapping[str, Hyperparameter] = read_declarations(TrialConfig)
"""Every hyperparameter by its key, in the order in which it is listed and drawn."""
SEARCHABLE = tuple(key for key, declared in HYPERPARAMETERS.items() if declared.is_searchable)
"""The keys of the hyperparameters that a study may search."""

_DEFAULTS = {
    field.name: field.default
    for field in dataclasses.fields(TrialConfig)
    if field.default is not dataclasses.MISSING
}


def without_defaults(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a configuration without those that have their default.

    They may be the fields of a protocol too, where None stands for the default.
    """
    return {
        key: value
        for key, value in fields.items()
        if key not in _DEFAULTS or value not in (None, _DEFAULTS[key])
    }


def digest_of(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON, as hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
