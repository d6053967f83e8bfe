"""Convolutions as matrix products: what comes out, what is trained, what returns."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import islice

import pytest
import torch
from torch import nn

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.loader import place, training_batches
from cifar_tune.data.search_data import SearchData
from cifar_tune.models.full_map_conv import (
    WholeMapConv,
    look_along,
    replace_whole_map_convolutions,
    restore_convolutions,
)
from cifar_tune.models.resnet import build_model
from cifar_tune.training.optimizer import make_optimizer
from cifar_tune.training.step import train_step

MakeConfig = Callable[..., TrialConfig]
AT_32_PX = {
    "layer3.0.conv2": 9,
    "layer3.1.conv1": 9,
    "layer3.1.conv2": 9,
    "layer4.0.conv1": 4,
    "layer4.0.conv2": 1,
    "layer4.0.downsample.0": 1,
    "layer4.1.conv1": 1,
    "layer4.1.conv2": 1,
}
"""How many taps of each kernel meet the map."""
AT_64_PX = {
    "layer4.0.conv2": 9,
    "layer4.1.conv1": 9,
    "layer4.1.conv2": 9,
}


def small(model: nn.Module) -> dict[str, int]:
    return {
        name: one.weight.shape[1] * one.weight.shape[2]
        for name, one in model.named_modules()
        if isinstance(one, WholeMapConv)
    }


@pytest.mark.parametrize(
    ("input_size", "expected"), [(32, AT_32_PX), (64, AT_64_PX), (224, {})], ids=str
)
def test_what_is_replaced_follows_from_the_size_of_the_images(
    make_config: MakeConfig, input_size: int, expected: dict[str, int]
) -> None:
    model = build_model(make_config(), 10)
    replace_whole_map_convolutions(model, input_size)
    assert small(model) == expected


def test_the_network_comes_back_as_it_was(make_config: MakeConfig) -> None:
    torch.manual_seed(0)
    model = build_model(make_config(), 10)
    before = copy.deepcopy(model.state_dict())
    replace_whole_map_convolutions(model, 32)
    assert sum(one.numel() for one in model.parameters()) == 4_234_826
    restore_convolutions(model)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize(
    ("kernel", "stride", "size"),
    [
        ((1, 1), 2, (1, 1)),
        ((1, 1), 2, (2, 2)),  # one of four pixels is met
        ((3, 3), 2, (2, 2)),
        ((3, 3), 1, (1, 1)),
        ((3, 3), 1, (2, 2)),
        ((3, 3), 1, (1, 2)),
        ((5, 3), 1, (3, 2)),
        ((5, 3), 2, (2, 1)),
    ],
    ids=str,
)
def test_any_convolution_that_sees_the_whole_map(
    kernel: tuple[int, int], stride: int, size: tuple[int, int]
) -> None:
    padding = (kernel[0] // 2, kernel[1] // 2)
    torch.manual_seed(1)
    plain = nn.Conv2d(3, 5, kernel, stride, padding, bias=False).double()
    ours = copy.deepcopy(plain)
    axes = [
        look_along(size[i], -(-size[i] // stride), kernel[i], stride, padding[i]) for i in (0, 1)
    ]
    assert axes[0] is not None
    assert axes[1] is not None
    replaced = WholeMapConv(ours, axes[0], axes[1])
    images = torch.randn(4, 3, *size, dtype=torch.float64)
    made, expected = replaced(images), plain(images)
    torch.testing.assert_close(made, expected)
    weights = torch.randn_like(expected)
    (made * weights).sum().backward()
    (expected * weights).sum().backward()
    gradient = plain.weight.grad
    assert gradient is not None
    assert replaced.weight.grad is not None
    live = gradient[:, :, axes[0].taps, axes[1].taps].permute(0, 2, 3, 1)
    torch.testing.assert_close(replaced.weight.grad, live)
    assert gradient.count_nonzero() == live.count_nonzero(), "a tap that counts was left out"


@pytest.mark.parametrize(
    ("kernel", "stride", "size"), [(1, 1, 2), (1, 2, 4), (3, 1, 3), (3, 1, 4), (3, 2, 4)], ids=str
)
def test_where_pixels_see_different_parts_nothing_is_replaced(
    kernel: int, stride: int, size: int
) -> None:
    assert look_along(size, -(-size // stride), kernel, stride, kernel // 2) is None


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
    replace_whole_map_convolutions(ours, 32)
    for network in (plain, ours):
        torch.manual_seed(0)  # of the dropout masks
        optimizer = make_optimizer(network, config)
        for images, labels in islice(training_batches(split, config, 1), steps):
            train_step(network, optimizer, images.to(dtype), labels, config)
    found, expected = (network.get_parameter("conv1.weight").grad for network in (ours, plain))
    assert found is not None
    assert expected is not None
    assert (found - expected).norm() < most * expected.norm()
    restore_convolutions(ours)
    if dtype == torch.float64:
        for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
            assert (one - other).norm() <= most * other.norm()
