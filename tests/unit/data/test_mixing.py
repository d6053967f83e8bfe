"""Mixed batches are what torchvision's transforms make of the same draws, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

from cifar_tune.config.seeds import derive_seed
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.loader import place, training_batches
from cifar_tune.data.mixing import MixedLabels, draw_mixing
from cifar_tune.data.search_data import SearchData

MakeConfig = Callable[..., TrialConfig]
CPU = torch.device("cpu")
PLAIN = {"mixup_alpha": 0.0, "cutmix_probability": 0.0}


def mix_by_torchvision(
    config: TrialConfig,
    batches: list[tuple[Tensor, Tensor]],
    generator: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[list[tuple[Tensor, Tensor]], list[str]]:
    """Mix each batch; what torchvision draws is taken from the generator."""
    mixed: list[tuple[Tensor, Tensor]] = []
    kinds: list[str] = []

    class Drawn:
        def __init__(self, share: float) -> None:
            self._share = share

        def sample(self, _size: Any) -> float:
            return self._share

    for images, labels in batches:
        if generator.random() < config.cutmix_probability:
            mix: Any = v2.CutMix(num_classes=10)
            mix._dist = Drawn(generator.random())
            centre = iter(generator.integers(config.input_size, size=2).tolist())
            with monkeypatch.context() as patch:
                patch.setattr(torch, "randint", lambda *_a, c=centre, **_k: torch.tensor([next(c)]))
                mixed.append(mix(images, labels))
        elif config.mixup_alpha:
            mix = v2.MixUp(num_classes=10)
            mix._dist = Drawn(generator.beta(config.mixup_alpha, config.mixup_alpha))
            mixed.append(mix(images, labels))
        else:
            mix = None
            mixed.append((images, functional.one_hot(labels, 10).float()))
        kinds.append(type(mix).__name__)
    return mixed, kinds


@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_batches_are_torchvisions(
    make_config: MakeConfig, bundled: SearchData, monkeypatch: pytest.MonkeyPatch, alpha: float
) -> None:
    config = make_config(
        train_images=125, batch_size=8, mixup_alpha=alpha, cutmix_probability=0.5, input_size=40
    )
    split = place(bundled.split(config).train, config, CPU)
    plain: Any = list(training_batches(split, replace(config, **PLAIN), 3))
    generator = np.random.default_rng(derive_seed(config.seed, "mixing", 3))
    expected, kinds = mix_by_torchvision(config, plain, generator, monkeypatch)
    assert set(kinds) == {"CutMix", "MixUp" if alpha else "NoneType"}
    ours = list(training_batches(split, config, 3))
    for (images, labels), (their_images, their_labels), before in zip(
        ours, expected, plain, strict=True
    ):
        assert torch.equal(images, their_images)
        assert isinstance(labels, MixedLabels)
        assert torch.equal(labels.probabilities(torch.empty(1, 10)), their_labels)
        assert torch.equal(labels.heaviest(), their_labels.argmax(dim=1))
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(labels.own, before[1])


def test_draws_follow_seed_and_epoch(make_config: MakeConfig) -> None:
    config = make_config(mixup_alpha=0.4, cutmix_probability=0.5)
    first, same = (draw_mixing(640, config, 1) for _ in range(2))
    assert all(map(torch.equal, first.tensors().values(), same.tensors().values()))
    for other in (draw_mixing(640, config, 2), draw_mixing(640, replace(config, seed=8), 1)):
        assert not torch.equal(first.label_weights, other.label_weights)


def test_shares_are_those_of_the_distributions(make_config: MakeConfig) -> None:
    count = 20_000
    config = make_config(batch_size=2, mixup_alpha=0.4)
    shares = draw_mixing(2 * count, config, 1).label_weights[::2, 0]
    assert shares.mean().item() == pytest.approx(0.5, abs=0.01)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), rel=0.03)
    cut = draw_mixing(2 * count, replace(config, cutmix_probability=0.3), 1)
    is_cut = (cut.pixel_weights[::2, 0] == 1).float()
    assert is_cut.mean().item() == pytest.approx(0.3, abs=0.01)
    assert torch.allclose(cut.label_weights.sum(dim=1), torch.ones(2 * count))
