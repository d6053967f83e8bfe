"""Operations of TrivialAugment give the pixels that torchvision gives on Pillow images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import v2
from torchvision.transforms.functional import InterpolationMode

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.auto_augment import (
    MAGNITUDES,
    OPERATIONS,
    apply_operations,
    draw_operations,
    make_operations,
)
from cifar_tune.data.search_data import SearchData

MakeConfig = Callable[..., TrialConfig]
REFERENCE = v2.TrivialAugmentWide()
SPACE = REFERENCE._AUGMENTATION_SPACE


def magnitude_by_torchvision(name: str, place: int, sign: int) -> float:
    magnitudes, is_signed = SPACE[name]
    values = magnitudes(MAGNITUDES, 32, 32)
    if values is None:
        return 0.0
    return float(values[place]) * (-1 if sign and is_signed else 1)


def test_operations_are_torchvisions() -> None:
    assert tuple(SPACE) == OPERATIONS
    assert REFERENCE.num_magnitude_bins == MAGNITUDES


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_and_magnitude_bit_for_bit(bundled: SearchData, name: str) -> None:
    count = MAGNITUDES * 2
    images = torch.from_numpy(bundled.train.images[:count].copy())
    images[0], images[1, 1], images[2, :, 4:] = 77, 200, 0  # with few levels, and one alone
    images[3] = (images[3] // 64) * 64 + 11
    magnitude, sign = torch.arange(count) % MAGNITUDES, torch.arange(count) // MAGNITUDES
    ours = apply_operations(
        images, make_operations(torch.full((count,), OPERATIONS.index(name)), magnitude, sign)
    )
    assert ours.dtype == torch.uint8
    for index in range(count):
        picture = Image.fromarray(images[index].permute(1, 2, 0).numpy())
        theirs = REFERENCE._apply_image_or_video_transform(
            picture,  # type: ignore[arg-type]
            name,
            magnitude_by_torchvision(name, int(magnitude[index]), int(sign[index])),
            interpolation=InterpolationMode.NEAREST,
            fill={Image.Image: None},
        )
        expected = v2.functional.pil_to_tensor(theirs)
        assert torch.equal(ours[index], expected), (int(magnitude[index]), int(sign[index]))


def test_stretched_levels_are_pillows() -> None:
    """For lowest and highest levels, of images that have these two and all between."""
    for low in range(0, 256, 17):
        for high in range(low, 256, 13):
            values = torch.arange(low, high + 1, dtype=torch.uint8)
            picture = values.repeat(-(-1024 // len(values)))[:1024].view(32, 32)
            expected = ImageOps.autocontrast(Image.fromarray(picture.numpy()))
            level = torch.zeros(1, dtype=torch.long)
            operations = make_operations(level + OPERATIONS.index("AutoContrast"), level, level)
            ours = apply_operations(picture.expand(1, 3, 32, 32), operations)
            assert torch.equal(ours[0, :1], v2.functional.pil_to_tensor(expected)), (low, high)


def test_images_of_a_batch_have_operations_of_their_own(bundled: SearchData) -> None:
    count = 280
    images = torch.from_numpy(bundled.train.images[:count].copy())
    operations = draw_operations(count, 1.0, torch.Generator().manual_seed(1))
    together = apply_operations(images, operations)
    for index in range(0, count, 7):
        alone = apply_operations(
            images[index : index + 1], operations.take(slice(index, index + 1))
        )
        assert torch.equal(together[index], alone[0])


def test_draws_are_torchvisions_distribution() -> None:
    count = 70_000
    operations = draw_operations(count, 0.5, torch.Generator().manual_seed(0))
    shares = operations.kind.bincount(minlength=len(OPERATIONS)) / count
    assert shares[0].item() == pytest.approx(0.5 + 0.5 / 14, abs=0.01)
    assert shares[1:].tolist() == pytest.approx([0.5 / 14] * 13, abs=0.005)
    factors = operations.factor[operations.kind == OPERATIONS.index("Color")]
    assert len(factors.unique()) == 2 * MAGNITUDES - 1
    assert (factors < 1).float().mean().item() == pytest.approx(30 / 62, abs=0.04)
