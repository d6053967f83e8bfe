"""Batched transforms give the pixels that torchvision gives on Pillow images, one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import one_hot
from torchvision.transforms import functional

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.augment import Draws, draw, transform
from cifar_tune.data.geometry import rotation_matrices
from cifar_tune.data.loader import place, training_batches
from cifar_tune.data.mixing import MixedLabels
from cifar_tune.data.search_data import SearchData

MakeConfig = Callable[..., TrialConfig]
COUNT = 40
CPU = torch.device("cpu")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("size", [32, 48, 224])
@pytest.mark.parametrize(("degrees", "padding"), [(0.0, 0), (30.0, 0), (120.0, 4), (0.0, 16)])
def test_equals_torchvision_bit_for_bit(
    bundled: SearchData, size: int, degrees: float, padding: int
) -> None:
    assert bundled.validation is not None
    images = bundled.validation.images[:COUNT]
    generator = torch.Generator().manual_seed(size)
    turns = (torch.rand(COUNT, generator=generator, dtype=torch.float64) * 2 - 1) * degrees
    flips = torch.rand(COUNT, generator=generator) < 0.5
    shifts = torch.randint(-padding, padding + 1, (COUNT, 2), generator=generator)
    ours = transform(
        torch.tensor(images),
        Draws(flips, rotation_matrices(turns, size), shifts if padding else None),
        size,
        torch.tensor(MEAN),
        torch.tensor(STD),
    )
    for index, image in enumerate(images):
        left, top = (shifts[index] + padding).tolist()
        picture = functional.pad(Image.fromarray(image.transpose(1, 2, 0)), [padding])
        picture = functional.resize(functional.crop(picture, top, left, 32, 32), size)
        if flips[index]:
            picture = functional.hflip(picture)
        picture = functional.rotate(picture, float(turns[index]))
        theirs = functional.normalize(functional.to_tensor(picture), MEAN, STD)
        assert torch.equal(ours[index], theirs)


def test_squares_are_erased_as_torchvision_erases(
    bundled: SearchData, make_config: MakeConfig
) -> None:
    config = replace(make_config(input_size=48), erase_size=0.3)
    plain = replace(config, erase_size=0.0)
    draws, same = (
        draw(400, given, torch.Generator().manual_seed(3), CPU) for given in (config, plain)
    )
    assert draws is not None
    assert same is not None
    assert draws.erased is not None
    assert torch.equal(draws.affine, same.affine), "the other draws are what they were"
    images = torch.tensor(bundled.train.images[:400])
    whole, ours = (
        transform(images, given, 48, torch.tensor(MEAN), torch.tensor(STD))
        for given in (same, draws)
    )
    sizes = set()
    for index, (left, top, right, bottom) in enumerate(draws.erased.tolist()):
        height, width = bottom - top, right - left
        erased = functional.erase(whole[index], top, left, height, width, torch.zeros(()))
        assert torch.equal(ours[index], erased)
        sizes.add(height)
    assert sizes == set(range(7, 15)), "14 px; at the border what is inside"


def test_the_last_epochs_are_without_augmentation(
    bundled: SearchData, make_config: MakeConfig
) -> None:
    changes = {"crop_padding": 4, "auto_augment": 1.0, "erase_size": 0.5, "mixup_alpha": 1.0}
    config = make_config(epochs=3, augmentation_off_epochs=2, **changes)
    off = dict.fromkeys(changes, 0)
    plain = replace(config, augmentation_strength=0.0, **off)
    split = place(bundled.split(config).train, config, CPU)
    for epoch, is_plain in ((1, False), (2, True), (3, True)):
        pairs = zip(
            training_batches(split, config, epoch),
            training_batches(split, plain, epoch),
            strict=True,
        )
        for (images, labels), (expected, own) in pairs:
            assert isinstance(labels, MixedLabels)
            assert torch.equal(images, expected) == is_plain
            assert torch.equal(labels.heaviest(), own) or not is_plain
            certain = one_hot(own, 10).float()
            assert torch.equal(labels.probabilities(certain), certain) == is_plain


def test_strength_zero_is_resize_and_normalise_only(
    bundled: SearchData, make_config: MakeConfig
) -> None:
    images = bundled.train.images[:COUNT]
    assert draw(COUNT, make_config(augmentation_strength=0.0), torch.Generator(), CPU) is None
    ours = transform(torch.tensor(images), None, 32, torch.tensor(MEAN), torch.tensor(STD))
    for index, image in enumerate(images):
        pixels = functional.to_tensor(image.transpose(1, 2, 0))
        assert torch.equal(ours[index], functional.normalize(pixels, MEAN, STD))


@pytest.mark.parametrize(("strength", "flipped"), [(0.5, 0.2), (1.0, 0.4), (2.0, 0.5)])
def test_each_image_has_a_draw_of_its_own(
    make_config: MakeConfig, strength: float, flipped: float
) -> None:
    config = make_config(augmentation_strength=strength)
    draws = draw(20_000, config, torch.Generator().manual_seed(0), CPU)
    assert draws is not None
    assert draws.flip.float().mean().item() == pytest.approx(flipped, abs=0.02)
    degrees = torch.rad2deg(torch.atan2(draws.affine[:, 3].double(), draws.affine[:, 0].double()))
    assert degrees.abs().max().item() == pytest.approx(30 * strength, abs=0.1)
    assert degrees.mean().item() == pytest.approx(0, abs=0.5 * strength)
    assert degrees.std().item() == pytest.approx(60 * strength / np.sqrt(12), rel=0.03)
    assert len(degrees.unique()) > 15_000
    assert draws.shift is None

    others = draw(20_000, replace(config, crop_padding=3), torch.Generator().manual_seed(0), CPU)
    assert others is not None
    assert torch.equal(others.flip, draws.flip), "with crops the other draws are what they were"
    assert torch.equal(others.affine, draws.affine)
    assert others.shift is not None
    shifts, counts = others.shift.unique(return_counts=True)
    assert shifts.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    assert counts.double().std() < 0.05 * counts.double().mean()


def test_flips_without_rotations(make_config: MakeConfig) -> None:
    config = replace(make_config(augmentation_strength=0.0), flip_probability=0.25)
    draws = draw(20_000, config, torch.Generator().manual_seed(0), CPU)
    assert draws is not None
    assert draws.flip.float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert torch.equal(draws.affine, rotation_matrices(torch.zeros(20_000).double(), 32))
