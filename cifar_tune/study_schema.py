"""The form of a study file, as pydantic models: what keys it has and what values they may take."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from cifar_tune.records import (
    HYPERPARAMETERS,
    QUANTITIES,
    FrozenBatchNorm,
    Head,
    OptimizerName,
    Split,
    Stem,
)

FULL_SET_IMAGES = 50_000
BUNDLED_IMAGES = {"train_images": 5_000, "validation_images": 1_000}

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
TrialName = Annotated[str, Field(pattern=r"^[a-z0-9-]+/[A-Za-z0-9_.=+-]+$")]
Channel = Annotated[float, Field(ge=0, le=1)]
Deviation = Annotated[float, Field(gt=0, le=1)]
LearningRate = Annotated[float, Field(gt=0, le=10)]
DropoutRate = Annotated[float, Field(ge=0, lt=1)]
AugmentationStrength = Annotated[float, Field(ge=0, le=4)]
FreezeDepth = Annotated[int, Field(ge=0, le=5)]
CosineTMax = Annotated[int, Field(ge=1)]
FlipProbability = Annotated[float, Field(ge=0, le=1)]
CropPadding = Annotated[int, Field(ge=0, le=16)]
WarmupEpochs = Annotated[int, Field(ge=0)]
WeightDecay = Annotated[float, Field(ge=0, le=10)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
LabelSmoothing = Annotated[float, Field(ge=0, lt=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Range(_Strict):
    """The values that a search may give a hyperparameter: from ``low`` to ``high``, both in."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> Range:
        if self.low >= self.high:
            raise _fault(f"low = {self.low:g}, high = {self.high:g}", "low < high")
        if self.log and self.low <= 0:
            raise _fault(f"low = {self.low:g} with log = true", "low > 0")
        return self

    def contains(self, value: float) -> bool:
        """Whether ``value`` lies in the range."""
        return self.low <= value <= self.high


class LearningRateRange(Range):
    """Of the learning rate."""

    low: LearningRate
    high: LearningRate


class DropoutRateRange(Range):
    """Of the probability of the head's dropout."""

    low: DropoutRate
    high: DropoutRate


class AugmentationStrengthRange(Range):
    """Of the augmentation strength."""

    low: AugmentationStrength
    high: AugmentationStrength


class WholeRange(Range):
    """Of what is a whole number."""

    low: int
    high: int


class FreezeDepthRange(WholeRange):
    """Of the freeze depth."""

    low: FreezeDepth
    high: FreezeDepth
    log: Literal[False] = False


class CosineTMaxRange(WholeRange):
    """Of the length of the cosine schedule in epochs."""

    low: CosineTMax
    high: CosineTMax
    log: bool = False


class FlipProbabilityRange(Range):
    """Of the probability that an image is mirrored."""

    low: FlipProbability
    high: FlipProbability


class CropPaddingRange(WholeRange):
    """Of the padding that a random crop has, in pixels."""

    low: CropPadding
    high: CropPadding


class WarmupEpochsRange(WholeRange):
    """Of the epochs of warm-up."""

    low: WarmupEpochs
    high: WarmupEpochs


class WeightDecayRange(Range):
    """Of the weight decay."""

    low: WeightDecay
    high: WeightDecay


class MomentumRange(Range):
    """Of the momentum of ``optimizer = "sgd"``."""

    low: Momentum
    high: Momentum


class LabelSmoothingRange(Range):
    """Of the label smoothing."""

    low: LabelSmoothing
    high: LabelSmoothing


class Space(_Strict):
    """The search space: a range for each hyperparameter that is searched."""

    dropout_rate: DropoutRateRange | None = None
    learning_rate: LearningRateRange | None = None
    augmentation_strength: AugmentationStrengthRange | None = None
    freeze_depth: FreezeDepthRange | None = None
    cosine_t_max: CosineTMaxRange | None = None
    flip_probability: FlipProbabilityRange | None = None
    crop_padding: CropPaddingRange | None = None
    warmup_epochs: WarmupEpochsRange | None = None
    weight_decay: WeightDecayRange | None = None
    momentum: MomentumRange | None = None
    label_smoothing: LabelSmoothingRange | None = None

    def ranges(self) -> dict[str, Range]:
        """The ranges that are given, by hyperparameter, in the order of ``HYPERPARAMETERS``."""
        found = {name: getattr(self, name) for name in HYPERPARAMETERS}
        return {name: value for name, value in found.items() if value is not None}


WHOLE_HYPERPARAMETERS = frozenset(("freeze_depth", "cosine_t_max", "crop_padding", "warmup_epochs"))
"""Those that are whole numbers."""


class Settings(_Strict):
    """What a named trial may set for itself where the study does not search over it.

    What decides how trials are measured (images, splits, epochs, input) is the same for all trials
    of a study.
    """

    weights: Name | None = None
    head: Head | None = None
    frozen_batch_norm: FrozenBatchNorm | None = None
    dropout_rate: DropoutRate | None = None
    learning_rate: LearningRate | None = None
    augmentation_strength: AugmentationStrength | None = None
    freeze_depth: FreezeDepth | None = None
    cosine_t_max: CosineTMax | None = None
    stem: Stem | None = None
    optimizer: OptimizerName | None = None
    flip_probability: FlipProbability | None = None
    crop_padding: CropPadding | None = None
    warmup_epochs: WarmupEpochs | None = None
    weight_decay: WeightDecay | None = None
    momentum: Momentum | None = None
    label_smoothing: LabelSmoothing | None = None

    def given(self) -> dict[str, Any]:
        """The settings that are given."""
        return self.model_dump(exclude_none=True)


class NamedTrial(_Strict):
    """A configuration that is trained under a name, once for each replicate.

    Attributes:
        params: a value for each searched hyperparameter.
        settings: other keys of the protocol that this trial has for itself.
    """

    name: TrialName
    params: dict[str, float] = {}
    settings: Settings = Settings()


class Protocol(_Strict):
    """What all trials of a study have in common; the fields are those of ``TrialConfig``.

    A hyperparameter is given here where the study does not search over it. Those from ``stem`` on
    may be left out: then they are what the assignment had.
    """

    data: Name
    split: Split
    train_images: Annotated[int, Field(ge=2)]
    validation_images: Annotated[int, Field(ge=1)]
    input_size: Annotated[int, Field(ge=32, le=512)]
    normalize_mean: Annotated[list[Channel], Field(min_length=3, max_length=3)]
    normalize_std: Annotated[list[Deviation], Field(min_length=3, max_length=3)]
    augment_validation: bool
    weights: Name
    head: Head
    frozen_batch_norm: FrozenBatchNorm
    batch_size: Annotated[int, Field(ge=2, le=50_000)]
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    cosine_t_max: CosineTMax | None = None
    dropout_rate: DropoutRate | None = None
    learning_rate: LearningRate | None = None
    augmentation_strength: AugmentationStrength | None = None
    freeze_depth: FreezeDepth | None = None
    stem: Stem | None = None
    optimizer: OptimizerName | None = None
    flip_probability: FlipProbability | None = None
    crop_padding: CropPadding | None = None
    warmup_epochs: WarmupEpochs | None = None
    weight_decay: WeightDecay | None = None
    momentum: Momentum | None = None
    label_smoothing: LabelSmoothing | None = None

    @model_validator(mode="after")
    def _has_its_images(self) -> Protocol:
        # Of image sets of the user's own this is checked when they are opened.
        fixed = self.split == "fixed"
        if (self.data == "bundled" and not fixed) or (self.data == "cifar10" and fixed):
            expected = '"fixed"' if self.data == "bundled" else '"plain" or "stratified"'
            raise _fault(f'split = "{self.split}"', f'{expected} with data = "{self.data}"')
        if self.data == "bundled":
            for field, most in BUNDLED_IMAGES.items():
                if getattr(self, field) > most:
                    raise _fault(
                        f"{field} = {getattr(self, field)}", f'at most {most} with data = "bundled"'
                    )
        elif (
            self.data == "cifar10" and self.train_images + self.validation_images > FULL_SET_IMAGES
        ):
            raise _fault(
                f"train_images + validation_images = {self.train_images + self.validation_images}",
                f"at most {FULL_SET_IMAGES}, the training set of CIFAR-10",
            )
        if self.train_images % self.batch_size == 1:
            raise _fault(
                f"batch_size = {self.batch_size} with train_images = {self.train_images}",
                "sizes that leave no last batch of one image: batch norm needs two",
            )
        return self

    @model_validator(mode="after")
    def _has_weights_for_its_input(self) -> Protocol:
        if self.weights == "tiny-imagenet-32" and self.input_size != 32:
            raise _fault(
                f"input_size = {self.input_size}",
                '32 with weights = "tiny-imagenet-32": they were made for 32-px images only',
            )
        if self.stem == "cifar" and self.weights != "none":
            raise _fault(
                f'stem = "cifar" with weights = "{self.weights}"',
                'weights = "none": pretrained ones have torchvision\'s stem',
            )
        return self


class TPE(_Strict):
    """The tree-structured Parzen estimator (Bergstra et al. 2011), as Optuna has it."""

    name: Literal["tpe"]
    startup_trials: Annotated[int, Field(ge=0)]
    multivariate: bool


class GP(_Strict):
    """A Gaussian process and its expected improvement, as Optuna has them, learning from pruned
    trials too.

    Attributes:
        startup_trials: complete ones, named ones among them, before it begins.
    """

    name: Literal["gp"]
    startup_trials: Annotated[int, Field(ge=2)]


class Random(_Strict):
    """Independent uniform draws."""

    name: Literal["random"]


class PercentilePruner(_Strict):
    """Stop a trial whose best epoch so far is not among the top ``percentile`` % at that epoch."""

    name: Literal["percentile"]
    percentile: Annotated[float, Field(ge=0, le=100)]
    startup_trials: Annotated[int, Field(ge=0)]
    warmup_epochs: Annotated[int, Field(ge=0)]


class MedianPruner(_Strict):
    """Stop a trial whose best epoch so far is below the median of the others at that epoch."""

    name: Literal["median"]
    startup_trials: Annotated[int, Field(ge=0)]
    warmup_epochs: Annotated[int, Field(ge=0)]


class NoPruner(_Strict):
    """Train every trial to its last epoch."""

    name: Literal["none"]


Sampler = Annotated[TPE | GP | Random, Field(discriminator="name")]
Pruner = Annotated[MedianPruner | PercentilePruner | NoPruner, Field(discriminator="name")]


class Budget(_Strict):
    """The most that a study may use, over all of its runs; named trials come first.

    Attributes:
        epochs: trained by all trials together.
        device_seconds: of a GPU or of a machine's processor; a trial that shares its device with
            others counts with its share.
    """

    epochs: Annotated[int, Field(ge=1)] | None = None
    device_seconds: Annotated[float, Field(gt=0)] | None = None


class Resources(_Strict):
    """What a trial asks of a Ray cluster.

    Attributes:
        cpus: cores.
        gpus: of them, or a share of one.
    """

    cpus: Annotated[float, Field(gt=0)] = 1.0
    gpus: Annotated[float, Field(ge=0)] = 0.0


class Profile(_Strict):
    """One protocol, with how much of it is run and how it is searched.

    Attributes:
        seeds: replicates of each named trial.
        trials: sampled trials; sampler and pruner are for them.
        keep_weights: whose final weights are kept in a file beside the database: those of no
            trial, or of the named ones.
        keep_best: of how many trials besides, the complete ones with the highest validation
            accuracy, they are kept.
        keep_gigabytes: the most that the kept weights of the study may take, in 10⁹ bytes. Where
            it is too little, those of named trials stay, and of the others the best.
        budget: the most that the study may use.
        resources: what a trial asks of a Ray cluster.
    """

    description: str
    seeds: Annotated[int, Field(ge=1)]
    trials: Annotated[int, Field(ge=0)]
    sampler: Sampler = Random(name="random")
    pruner: Pruner = NoPruner(name="none")
    keep_weights: Literal["none", "named"] = "none"
    keep_best: Annotated[int, Field(ge=0)] = 0
    keep_gigabytes: Annotated[float, Field(gt=0)] = 10.0
    budget: Budget = Budget()
    resources: Resources = Resources()
    protocol: Protocol


Fraction = Annotated[float, Field(ge=0, le=1)]
Effect = Annotated[float, Field(gt=0, lt=1)]


class SmallestEffects(_Strict):
    """By how much a model must be better for it to count.

    Attributes:
        train_accuracy: as a fraction: 0.01 is one percentage point; likewise the next two.
        seconds: of training, as a share of the other's: 0.05 is five percent less.
    """

    train_accuracy: Effect | None = None
    val_accuracy: Effect | None = None
    test_accuracy: Effect | None = None
    seconds: Effect | None = None

    @model_validator(mode="after")
    def _has_one(self) -> SmallestEffects:
        if not self.given():
            raise _fault("nothing", f"at least one of {', '.join(QUANTITIES)}")
        return self

    def given(self) -> dict[str, float]:
        """The quantities that are given, with their smallest effects."""
        return self.model_dump(exclude_none=True)


class Claim(_Strict):
    """A statement that reports judge: a named trial is better than each of some others.

    Attributes:
        text: the statement in words.
        source: who made it, where.
        trial: the named trial that it is about.
        than: the named trials that it is compared with.
        better_in: what it is better in, all of it at once, with the smallest effect that counts.
    """

    name: Name
    text: str
    source: str = ""
    trial: TrialName
    than: Annotated[list[TrialName], Field(min_length=1)]
    better_in: SmallestEffects


class PublishedFigures(_Strict):
    """What a publication states of a named trial: accuracies as fractions, training in seconds.

    Attributes:
        note: what a reader must know beside the figure.
    """

    name: TrialName
    train_accuracy: Fraction | None = None
    val_accuracy: Fraction | None = None
    test_accuracy: Fraction | None = None
    seconds: Annotated[float, Field(gt=0)] | None = None
    note: str = ""


class Published(_Strict):
    """Figures that a study regenerates.

    Attributes:
        source: where they were published.
        profile: the profile that has their protocol; only its trials are comparable with them.
        device: that they were measured on.
        remarks: where the publication is unclear or wrong, for the study as a whole.
    """

    source: str
    profile: Name
    device: str
    remarks: list[str] = []
    figures: list[PublishedFigures]


class StudyFile(_Strict):
    """The content of a study file."""

    title: str
    description: str
    space: Space
    named: list[NamedTrial] = []
    published: Published | None = None
    claims: list[Claim] = []
    profiles: Annotated[dict[Name, Profile], Field(min_length=1)]


def _fault(found: str, expected: str) -> PydanticCustomError:
    context = {"found": found, "expected": expected}
    return PydanticCustomError("fault", "{found}: expected {expected}", context)
