"""torchvision's ResNet-18 with the assignment's heads, frozen to a depth."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from cifar_tune.records import TrialConfig

FREEZE_STAGES = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
"""Parts with parameters that each further step of freeze depth freezes, 1 to 5."""


def build_model(
    config: TrialConfig, classes: int, pretrained: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Build the network of a trial on the CPU, initialised from the trial's seed.

    The weights are drawn from torch's global generator, which is seeded by ``run_trial``.

    Args:
        classes: how many the images have.
        pretrained: torchvision's tensors of everything but the head, to start from.
    """
    model = resnet18(weights=None)
    features = model.fc.in_features
    if pretrained is not None:
        head = {f"fc.{name}": value for name, value in model.fc.state_dict().items()}
        model.load_state_dict({**pretrained, **head}, strict=True)
    if config.head == "linear":
        model.fc = nn.Linear(features, classes)
    elif config.head == "dropout":
        model.fc = nn.Sequential(nn.Dropout(config.dropout_rate), nn.Linear(features, classes))
    else:
        model.fc = nn.Sequential(
            nn.Linear(features, 256),
            nn.ReLU(),
            nn.Dropout(config.dropout_rate),
            nn.Linear(256, classes),
        )
    for stage in frozen_stages(model, config.freeze_depth):
        stage.requires_grad_(False)
    return model.to(memory_format=torch.channels_last)  # type: ignore[no-any-return]


def frozen_stages(model: nn.Module, freeze_depth: int) -> list[nn.Module]:
    """The parts that a freeze depth of 0 to 5 freezes, from the input on."""
    names = [name for stage in FREEZE_STAGES[:freeze_depth] for name in stage]
    return [model.get_submodule(name) for name in names]


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
