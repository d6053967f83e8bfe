"""A network's weights for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import resnet18


@pytest.fixture(scope="session")
def state() -> dict[str, Tensor]:
    """A state dict of torchvision's ResNet-18 with the head of ImageNet's 1,000 classes."""
    torch.manual_seed(0)
    return dict(resnet18().state_dict())


@pytest.fixture
def saved(tmp_path: Path, state: dict[str, Tensor]) -> Path:
    path = tmp_path / "mine.safetensors"
    save_file(state, path)
    return path
