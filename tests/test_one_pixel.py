"""Convolutions to one pixel as matrix products: what comes out, what is trained, what returns."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import islice

import pytest
import torch
from torch import nn

from cifar_tune.data.loader import place, training_batches
from cifar_tune.data.source import SearchData
from cifar_tune.model import build_model
from cifar_tune.one_pixel import (
    OnePixelConv,
    replace_one_pixel_convolutions,
    restore_convolutions,
)
from cifar_tune.records import TrialConfig
from cifar_tune.trainer import make_optimizer, train_step

MakeConfig = Callable[..., TrialConfig]
AT_32_PX = {
    "layer4.0.conv1": 4,
    "layer4.0.conv2": 1,
    "layer4.0.downsample.0": 1,
    "layer4.1.conv1": 1,
    "layer4.1.conv2": 1,
}
"""How many taps of each kernel meet the map."""


def small(model: nn.Module) -> dict[str, int]:
    return {
        name: one.weight.shape[1] // one.full[0].in_channels
        for name, one in model.named_modules()
        if isinstance(one, OnePixelConv)
    }


@pytest.mark.parametrize(("input_size", "expected"), [(32, AT_32_PX), (64, {}), (224, {})], ids=str)
def test_what_is_replaced_follows_from_the_size_of_the_images(
    make_config: MakeConfig, input_size: int, expected: dict[str, int]
) -> None:
    model = build_model(make_config(), 10)
    replace_one_pixel_convolutions(model, input_size)
    assert small(model) == expected


def test_the_network_comes_back_as_it_was(make_config: MakeConfig) -> None:
    torch.manual_seed(0)
    model = build_model(make_config(), 10)
    before = copy.deepcopy(model.state_dict())
    replace_one_pixel_convolutions(model, 32)
    assert sum(one.numel() for one in model.parameters()) == 4_234_826
    restore_convolutions(model)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 3)], ids=str)
@pytest.mark.parametrize("size", [1, 2])
def test_any_convolution_to_one_pixel(kernel: tuple[int, int], size: int) -> None:
    padding = (kernel[0] // 2, kernel[1] // 2)
    torch.manual_seed(1)
    plain = nn.Sequential(nn.Conv2d(3, 5, kernel, 2, padding, bias=False)).double()
    ours = copy.deepcopy(plain)
    replace_one_pixel_convolutions(ours, size)
    assert isinstance(ours[0], OnePixelConv)
    images = torch.randn(4, 3, size, size, dtype=torch.float64)
    torch.testing.assert_close(ours(images), plain(images))


@pytest.mark.parametrize(
    ("dtype", "steps", "most"), [(torch.float32, 1, 1e-4), (torch.float64, 10, 1e-10)], ids=str
)
def test_training_on_real_images_is_that_of_the_plain_network(
    make_config: MakeConfig, bundled: SearchData, dtype: torch.dtype, steps: int, most: float
) -> None:
    """In single precision the gradients agree but for rounding. Adam turns the rounding of one near
    zero into a whole step, so weights after ten steps are compared in double precision."""
    config = make_config(train_images=320)
    split = place(bundled.split(config).train, config, torch.device("cpu"))
    torch.manual_seed(0)
    plain = build_model(config, 10).to(dtype).train()
    ours = copy.deepcopy(plain)
    replace_one_pixel_convolutions(ours, 32)
    for network in (plain, ours):
        torch.manual_seed(0)  # of the dropout masks
        optimizer = make_optimizer(network, config)
        for images, labels in islice(training_batches(split, config, 1), steps):
            train_step(network, optimizer, images.to(dtype), labels)
    found, expected = (network.get_parameter("conv1.weight").grad for network in (ours, plain))
    assert found is not None
    assert expected is not None
    assert (found - expected).norm() < most * expected.norm()
    restore_convolutions(ours)
    if dtype == torch.float64:
        for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
            assert (one - other).norm() <= most * other.norm()
