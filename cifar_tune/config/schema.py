"""The form of a study file, as pydantic models: what keys it has and what values they may take."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cifar_tune.config.space import Hyperparameters, Space, Strict, fault
from cifar_tune.config.trial import QUANTITIES, FrozenBatchNorm, Head, Split

FULL_SET_IMAGES = 50_000
BUNDLED_IMAGES = {"train_images": 5_000, "validation_images": 1_000}

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
TrialName = Annotated[str, Field(pattern=r"^[a-z0-9-]+/[A-Za-z0-9_.=+-]+$")]
Channel = Annotated[float, Field(ge=0, le=1)]
Deviation = Annotated[float, Field(gt=0, le=1)]


class _NetworkSettings(Strict):
    """Settings that are no hyperparameters; they come first where keys are listed."""

    weights: Name | None = None
    head: Head | None = None
    frozen_batch_norm: FrozenBatchNorm | None = None


class Settings(Hyperparameters, _NetworkSettings):
    """What a named trial may set for itself where the study does not search it.

    What decides how trials are measured (images, splits, epochs, input) is the same for all trials
    of a study.
    """


class NamedTrial(Strict):
    """A configuration that is trained under a name, once for each replicate.

    Attributes:
        params: A value for each searched hyperparameter.
        settings: Other keys of the protocol that this trial has for itself.
    """

    name: TrialName
    params: dict[str, float] = Field(default_factory=dict)
    settings: Settings = Settings()


class Conditions(Strict):
    """Keys of a protocol that are no hyperparameters; they come first where it is shown."""

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


class Protocol(Hyperparameters, Conditions):
    """What all trials of a study have in common; the fields are those of ``TrialConfig``.

    A hyperparameter is given here where the study does not search it, ``batch_size`` too, which is
    among the conditions for the order of the keys. Those that ``TrialConfig``
    has a default for may be left out: then they are what the assignment had.
    """

    @model_validator(mode="after")
    def _has_its_images(self) -> Protocol:
        # Of image sets of the user's own this is checked when they are opened.
        is_bundled, images = self.data == "bundled", self.train_images + self.validation_images
        if self.data in ("bundled", "cifar10") and (self.split == "fixed") != is_bundled:
            expected = '"fixed"' if is_bundled else '"plain" or "stratified"'
            raise fault(f'split = "{self.split}"', f'{expected} with data = "{self.data}"')
        for field, most in BUNDLED_IMAGES.items() if is_bundled else ():
            if getattr(self, field) > most:
                value = f"{field} = {getattr(self, field)}"
                raise fault(value, f'at most {most} with data = "bundled"')
        if self.data == "cifar10" and images > FULL_SET_IMAGES:
            raise fault(
                f"train_images + validation_images = {images}",
                f"at most {FULL_SET_IMAGES}, the training set of CIFAR-10",
            )
        batch_size = self.given().get("batch_size")  # it may be searched
        if batch_size and self.train_images % batch_size == 1:
            raise fault(
                f"batch_size = {batch_size} with train_images = {self.train_images}",
                "sizes that leave no last batch of one image: batch norm needs two",
            )
        return self

    @model_validator(mode="after")
    def _has_weights_for_its_input(self) -> Protocol:
        if self.weights == "tiny-imagenet-32" and self.input_size != 32:
            raise fault(
                f"input_size = {self.input_size}",
                '32 with weights = "tiny-imagenet-32": they were made for 32-px images only',
            )
        if self.given().get("stem") == "cifar" and self.weights != "none":
            raise fault(
                f'stem = "cifar" with weights = "{self.weights}"',
                'weights = "none": pretrained ones have torchvision\'s stem',
            )
        return self


class TPE(Strict):
    """The tree-structured Parzen estimator (Bergstra et al. 2011), as Optuna has it."""

    name: Literal["tpe"]
    startup_trials: Annotated[int, Field(ge=0)]
    multivariate: bool


class GP(Strict):
    """A Gaussian process and its expected improvement, as Optuna has them.

    It learns from pruned trials too.

    Attributes:
        startup_trials: Complete trials, named ones among them, before it begins.
    """

    name: Literal["gp"]
    startup_trials: Annotated[int, Field(ge=2)]


class Random(Strict):
    """Independent uniform draws."""

    name: Literal["random"]


class PercentilePruner(Strict):
    """Stop a trial whose best epoch so far is not among the top ``percentile`` % at that epoch."""

    name: Literal["percentile"]
    percentile: Annotated[float, Field(ge=0, le=100)]
    startup_trials: Annotated[int, Field(ge=0)]
    warmup_epochs: Annotated[int, Field(ge=0)]


class MedianPruner(Strict):
    """Stop a trial whose best epoch so far is below the median of the others at that epoch."""

    name: Literal["median"]
    startup_trials: Annotated[int, Field(ge=0)]
    warmup_epochs: Annotated[int, Field(ge=0)]


class NoPruner(Strict):
    """Train every trial to its last epoch."""

    name: Literal["none"]


Sampler = Annotated[TPE | GP | Random, Field(discriminator="name")]
Pruner = Annotated[MedianPruner | PercentilePruner | NoPruner, Field(discriminator="name")]


class Budget(Strict):
    """The most that a study may use, over all of its runs; named trials come first.

    Attributes:
        epochs: Epochs that all trials are trained for together.
        device_seconds: Seconds of a GPU or of a machine's processor; a trial that shares its device
            with others counts with its share.
    """

    epochs: Annotated[int, Field(ge=1)] | None = None
    device_seconds: Annotated[float, Field(gt=0)] | None = None


class Resources(Strict):
    """What a trial asks of a Ray cluster: cores, and GPUs or a share of one."""

    cpus: Annotated[float, Field(gt=0)] = 1.0
    gpus: Annotated[float, Field(ge=0)] = 0.0


class Profile(Strict):
    """One protocol, with how much of it is run and how it is searched.

    Attributes:
        seeds: Replicates of each named trial.
        trials: Sampled trials; sampler and pruner are for them.
        keep_weights: Keep the final weights of no trial, or of the named ones, in files beside the
            database.
        keep_best: Keep those of so many other complete trials too, the ones with the highest
            validation accuracy: by default the best one's, so that it can be exported.
        keep_gigabytes: The most that the kept weights of the study may take, in 10⁹ bytes. Where
            it is too little, those of named trials stay, and of the others the best.
        budget: The most that the study may use.
        resources: What a trial asks of a Ray cluster.
    """

    description: str
    seeds: Annotated[int, Field(ge=1)]
    trials: Annotated[int, Field(ge=0)]
    sampler: Sampler = Random(name="random")
    pruner: Pruner = NoPruner(name="none")
    keep_weights: Literal["none", "named"] = "none"
    keep_best: Annotated[int, Field(ge=0)] = 1
    keep_gigabytes: Annotated[float, Field(gt=0)] = 10.0
    budget: Budget = Budget()
    resources: Resources = Resources()
    protocol: Protocol


Fraction = Annotated[float, Field(ge=0, le=1)]
Effect = Annotated[float, Field(gt=0, lt=1)]


class SmallestEffects(Strict):
    """By how much a model must be better for it to count.

    Attributes:
        train_accuracy: As a fraction: 0.01 is one percentage point.
        val_accuracy: Likewise.
        test_accuracy: Likewise.
        seconds: Training time, as a share of the other's: 0.05 is five percent less.
    """

    train_accuracy: Effect | None = None
    val_accuracy: Effect | None = None
    test_accuracy: Effect | None = None
    seconds: Effect | None = None

    @model_validator(mode="after")
    def _has_one(self) -> SmallestEffects:
        if not self.given():
            raise fault("nothing", f"at least one of {', '.join(QUANTITIES)}")
        return self


class Claim(Strict):
    """A statement that reports judge: a named trial is better than each of some others.

    Attributes:
        text: The statement in words.
        source: Who made it, where.
        trial: The named trial that it is about.
        than: The named trials that it is compared with.
        better_in: What it is better in, all of it at once, with the smallest effect that counts.
    """

    name: Name
    text: str
    source: str = ""
    trial: TrialName
    than: Annotated[list[TrialName], Field(min_length=1)]
    better_in: SmallestEffects


class PublishedFigures(Strict):
    """What a publication states of a named trial: accuracies as fractions, training in seconds.

    Attributes:
        note: What a reader must know beside the figure.
    """

    name: TrialName
    train_accuracy: Fraction | None = None
    val_accuracy: Fraction | None = None
    test_accuracy: Fraction | None = None
    seconds: Annotated[float, Field(gt=0)] | None = None
    note: str = ""


class Published(Strict):
    """Figures that a study regenerates.

    Attributes:
        source: Where they were published.
        profile: The profile that has their protocol; only its trials are comparable with them.
        device: The device that they were measured on.
        remarks: Where the publication is unclear or wrong, for the study as a whole.
    """

    source: str
    profile: Name
    device: str
    remarks: list[str] = Field(default_factory=list)
    figures: list[PublishedFigures]


class StudyFile(Strict):
    """The content of a study file."""

    title: str
    description: str
    space: Space
    named: list[NamedTrial] = Field(default_factory=list)
    published: Published | None = None
    claims: list[Claim] = Field(default_factory=list)
    profiles: Annotated[dict[Name, Profile], Field(min_length=1)]
