"""Training is the assignment's, deterministic on the CPU, and honest about its failures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.loader import place, validation_batches
from cifar_tune.data.search_data import SearchData
from cifar_tune.errors import NonFiniteLossError
from cifar_tune.models.resnet import SeededDropout, build_model, set_training
from cifar_tune.training.callbacks import TrainingCallbacks
from cifar_tune.training.objective import run_trial
from cifar_tune.training.records import EpochMetrics, TrialResult

CPU = torch.device("cpu")
MakeConfig = Callable[..., TrialConfig]


def train(config: TrialConfig, data: SearchData, device: torch.device = CPU) -> TrialResult:
    return run_trial(config, data, None, device).result


def without_seconds(result: TrialResult) -> list[EpochMetrics]:
    return [replace(metrics, seconds=0.0) for metrics in result.epochs]


def count_convolutions(module: nn.Module, *, frozen: bool) -> int:
    return sum(
        isinstance(part, nn.Conv2d) and part.weight.requires_grad is not frozen
        for part in module.modules()
    )


# --- model --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        ({"head": "dropout"}, [SeededDropout, nn.Linear]),
        ({"head": "mlp"}, [nn.Linear, nn.ReLU, SeededDropout, nn.Linear]),
    ],
)
def test_heads_of_the_assignment(
    make_config: MakeConfig, settings: dict[str, str], layers: list[type[nn.Module]]
) -> None:
    head = build_model(make_config(**settings), 10).fc
    assert [type(layer) for layer in head] == layers
    assert all(layer.p == 0.3 for layer in head if isinstance(layer, nn.Dropout))
    sizes = [(layer.in_features, layer.out_features) for layer in head if type(layer) is nn.Linear]
    assert sizes == ([(512, 10)] if settings["head"] == "dropout" else [(512, 256), (256, 10)])


def test_linear_head(make_config: MakeConfig) -> None:
    model = build_model(replace(make_config(), head="linear"), 10)
    assert type(model.fc) is nn.Linear
    assert model.fc.weight.shape == (10, 512)


@pytest.mark.parametrize(
    ("freeze_depth", "convolutions"), [(0, 0), (1, 1), (2, 5), (3, 10), (4, 15), (5, 20)]
)
def test_freeze_depth(make_config: MakeConfig, freeze_depth: int, convolutions: int) -> None:
    # 5 convolutions in the report's model A, all 20 in its model B.
    model = build_model(make_config(freeze_depth=freeze_depth), 10)
    assert count_convolutions(model, frozen=True) == convolutions
    assert all(parameter.requires_grad for parameter in model.fc.parameters())


@pytest.mark.parametrize(("mode", "moves"), [("batch", True), ("running", False)])
def test_batch_norm_of_the_frozen_part(make_config: MakeConfig, mode: str, moves: bool) -> None:
    config = make_config(freeze_depth=2, frozen_batch_norm=mode)
    model = build_model(config, 10)
    set_training(model, config)
    images = torch.randn(8, 3, 32, 32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(images)
    after = model.state_dict()
    assert torch.equal(before["bn1.running_mean"], after["bn1.running_mean"]) is not moves
    assert not torch.equal(before["layer2.0.bn1.running_mean"], after["layer2.0.bn1.running_mean"])


@pytest.mark.parametrize("rate", [0.0, 0.123456, 0.3, 0.9])
def test_dropout_of_a_seed_is_that_of_pytorch_to_the_last_bit(rate: float) -> None:
    images = torch.randn(32, 512, generator=torch.Generator().manual_seed(1))
    found, expected = [], []
    ours, plain = SeededDropout(rate, 512), nn.Dropout(rate)
    ours.seed(5, CPU)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(5)
        before = torch.get_rng_state()
        for results, layer in ((found, ours), (expected, plain)):
            features = images.clone().requires_grad_()
            for _ in range(2):  # the second batch has masks of its own
                made = layer(features)
                made.square().sum().backward()
                results += [made.detach(), features.grad.clone()]
            if layer is ours:
                assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert torch.equal(ours.eval()(images), images)


# --- training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("augmentation_strength", [0.0, 1.0])
def test_same_seed_same_result_on_the_cpu(
    make_config: MakeConfig, bundled: SearchData, augmentation_strength: float
) -> None:
    config = make_config(augmentation_strength=augmentation_strength)
    torch.manual_seed(1)  # the caller's generator must neither matter nor be disturbed
    first = without_seconds(train(config, bundled))
    assert torch.initial_seed() == 1
    torch.manual_seed(2)
    assert without_seconds(train(config, bundled)) == first
    assert without_seconds(train(replace(config, seed=8), bundled)) != first


def test_stopping_after_an_epoch_is_pruning(make_config: MakeConfig, bundled: SearchData) -> None:
    callbacks = TrainingCallbacks(on_epoch=lambda metrics: metrics.epoch < 2)
    result = run_trial(make_config(epochs=3), bundled, None, CPU, callbacks).result
    assert result.pruned
    assert [metrics.epoch for metrics in result.epochs] == [1, 2]
    assert result.val_accuracy == result.epochs[-1].val_accuracy


def test_every_step_and_batch_is_counted(make_config: MakeConfig, bundled: SearchData) -> None:
    config = make_config(train_images=70, epochs=1)
    seen: list[int] = []
    run_trial(config, bundled, None, CPU, TrainingCallbacks(on_step=seen.append))
    assert seen == [1, 2, 3, 4, 5]  # three training steps, the last of 6 images; two batches


def test_loss_that_is_not_finite_names_epoch_and_step(
    make_config: MakeConfig, bundled: SearchData
) -> None:
    config = replace(make_config(), learning_rate=1e38)
    with pytest.raises(NonFiniteLossError) as caught:
        train(config, bundled)
    assert caught.value.epoch == 1
    assert caught.value.step == 2  # the first step's loss is that of the initial weights


def test_validation_is_augmented_only_where_the_protocol_says_so(
    make_config: MakeConfig, bundled: SearchData
) -> None:
    plain, augmented = make_config(), make_config(augment_validation=True)
    split = place(bundled.split(plain).validation, plain, CPU)

    def first_batch(config: TrialConfig, epoch: int) -> torch.Tensor:
        return next(iter(validation_batches(split, config, epoch)))[0]

    assert torch.equal(first_batch(plain, 1), first_batch(plain, 2))
    assert not torch.equal(first_batch(plain, 1), first_batch(augmented, 1))
    assert torch.equal(first_batch(augmented, 1), first_batch(augmented, 1))
    assert not torch.equal(first_batch(augmented, 1), first_batch(augmented, 2))


def test_config_is_json_and_its_digest_follows_it(make_config: MakeConfig) -> None:
    config = make_config()
    assert json.loads(json.dumps(config.__dict__))["batch_size"] == 32
    assert config.digest == make_config().digest
    assert config.digest != make_config(seed=8).digest


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_gpu_learns_what_the_cpu_learns(make_config: MakeConfig, bundled: SearchData) -> None:
    config = make_config(train_images=640, epochs=1, dropout_rate=0.0)
    on_cpu = train(config, bundled)
    on_gpu = train(config, bundled, torch.device("cuda"))
    assert on_gpu.epochs[0].train_loss == pytest.approx(on_cpu.epochs[0].train_loss, rel=0.02)
