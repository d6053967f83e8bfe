"""Hyperparameters as a study file has them: the values that each may take, and search spaces."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from cifar_tune.config.trial import HYPERPARAMETERS, OptimizerName, Stem

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
WHOLE_HYPERPARAMETERS = frozenset(("freeze_depth", "cosine_t_max", "crop_padding", "warmup_epochs"))
"""Those that are whole numbers."""


class Strict(BaseModel):
    """A table of a study file: no other keys, no values of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Hyperparameters(Strict):
    """Values of hyperparameters, where they are given."""

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


class Range(Strict):
    """The values that a search may give a hyperparameter: from ``low`` to ``high``, both in."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> Range:
        if self.low >= self.high:
            raise fault(f"low = {self.low:g}, high = {self.high:g}", "low < high")
        if self.log and self.low <= 0:
            raise fault(f"low = {self.low:g} with log = true", "low > 0")
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


class Space(Strict):
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


def fault(found: str, expected: str) -> PydanticCustomError:
    """A fault of a table, in words."""
    context = {"found": found, "expected": expected}
    return PydanticCustomError("fault", "{found}: expected {expected}", context)
