"""torchvision's ResNet-18 with the assignment's heads, frozen to a depth."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from cifar_tune.config.seeds import derive_seed
from cifar_tune.config.trial import Precision, TrialConfig

FREEZE_STAGES = (
    ("conv1", "bn1", "relu", "maxpool"),
    ("layer1",),
    ("layer2",),
    ("layer3",),
    ("layer4", "avgpool"),
)
"""What each further step of freeze depth freezes, 1 to 5, with what has no parameters."""


class SeededDropout(nn.Dropout):
    """Dropout whose masks come from a generator of its own, so that trials of a process share none.

    From the same seed the masks on the CPU are those that ``nn.Dropout`` draws there from torch's
    global generator.

    Attributes:
        features: numbers that an image has here.
        generator: on the device of the features; None takes torch's global one.
        noise: float32 [B, features], what ``draw`` would give for the batch, where it was drawn
            beforehand; None draws.
    """

    def __init__(self, p: float, features: int) -> None:
        super().__init__(p)
        self.features = features
        self.generator: torch.Generator | None = None
        self.noise: Tensor | None = None

    def seed(self, seed: int, device: torch.device) -> None:
        """Begin the masks of this seed, for features on this device."""
        self.generator = torch.Generator(device).manual_seed(seed)

    def draw(self, like: Tensor) -> Tensor:
        """Return zeros with the probability p and else 1 / (1 - p), in the form of a tensor."""
        kept = 1 - self.p
        return torch.empty_like(like).bernoulli_(kept, generator=self.generator).div_(kept)

    def forward(self, features: Tensor) -> Tensor:
        """Return [B, features], in training with zeros for some and the others enlarged."""
        if not self.training:
            return features
        if self.noise is not None:
            return features * self.noise.to(features.dtype)
        return features * self.draw(features) if self.p else features


def find_dropouts(model: nn.Module) -> dict[str, SeededDropout]:
    """Return the dropout layers of a model by name; a linear head has none."""
    modules = model.named_modules()
    return {name: layer for name, layer in modules if isinstance(layer, SeededDropout)}


def seed_dropouts(model: nn.Module, config: TrialConfig, epoch: int) -> None:
    """Begin an epoch's masks: they follow from seed and epoch alone, like the images' order."""
    device = next(model.parameters()).device
    for layer in find_dropouts(model).values():
        layer.seed(derive_seed(config.seed, "dropout", epoch), device)


_INITIALISING = threading.Lock()


def initialise_model(
    config: TrialConfig, classes: int, pretrained: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Build the network of a trial as ``build_model`` does, initialised from the trial's seed.

    torch's global generator is left as it was. All threads of a process have the same one, so no
    two of them draw weights at once.
    """
    with _INITIALISING, torch.random.fork_rng(devices=()):
        torch.manual_seed(derive_seed(config.seed, "weights"))
        return build_model(config, classes, pretrained)


def build_model(
    config: TrialConfig, classes: int, pretrained: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Build the network of a trial on the CPU, its weights drawn from torch's global generator.

    ``pretrained`` are torchvision's tensors of everything but the head, to start from.
    """
    model = resnet18(weights=None)
    if config.stem == "cifar":
        model.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
    features = model.fc.in_features
    if pretrained is not None:
        head = {f"fc.{name}": value for name, value in model.fc.state_dict().items()}
        model.load_state_dict({**pretrained, **head}, strict=True)
    if config.head == "linear":
        model.fc = nn.Linear(features, classes)
    elif config.head == "dropout":
        model.fc = nn.Sequential(
            SeededDropout(config.dropout_rate, features), nn.Linear(features, classes)
        )
    else:
        model.fc = nn.Sequential(
            nn.Linear(features, 256),
            nn.ReLU(),
            SeededDropout(config.dropout_rate, 256),
            nn.Linear(256, classes),
        )
    for stage in frozen_stages(model, config.freeze_depth):
        stage.requires_grad_(False)
    return model.to(memory_format=torch.channels_last)  # type: ignore[no-any-return]


def frozen_stages(model: nn.Module, freeze_depth: int) -> list[nn.Module]:
    """Return the parts that a freeze depth of 0 to 5 freezes, from the input on."""
    names = [name for stage in FREEZE_STAGES[:freeze_depth] for name in stage]
    return [model.get_submodule(name) for name in names]


def computing_in(precision: Precision, device: torch.device) -> torch.autocast:
    """Return a context in which a network is computed in a precision, whatever its weights have."""
    # Weights change from step to step, so casts of them are not worth keeping.
    return torch.autocast(
        device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False
    )


def set_training(model: nn.Module, config: TrialConfig) -> None:
    """Put the model in training mode.

    With ``frozen_batch_norm = "running"`` the frozen part stays in evaluation mode, a fixed
    function of its input. With ``"batch"``, the report's way, its batch norm goes on normalising
    with batch statistics and its running averages move.
    """
    model.train()
    if config.frozen_batch_norm == "running":
        for stage in frozen_stages(model, config.freeze_depth):
            stage.eval()
