"""The assignment's models: every setting as the report has it, trained as a plain loop trains."""

from __future__ import annotations

import copy
import gc
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from typing import Any

import pytest
import torch
from places import STUDY_FILES
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.models import resnet18

from cifar_tune.config.seeds import derive_seed
from cifar_tune.config.study_file import StudySpec, load_study_file, resolve
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.loader import place, training_batches, validation_batches
from cifar_tune.data.mixing import Labels
from cifar_tune.data.search_data import SearchData
from cifar_tune.models.bundled_weights import read_bundled_weights
from cifar_tune.models.full_map_conv import (
    WholeMapConv,
    replace_whole_map_convolutions,
    restore_convolutions,
)
from cifar_tune.models.resnet import build_model
from cifar_tune.training.callbacks import TrainingCallbacks
from cifar_tune.training.optimizer import decay_without_gradient
from cifar_tune.training.trainer import Trainer

SHIPPED = STUDY_FILES
CPU = torch.device("cpu")

# --- the table of the report ---------------------------------------------------------------------

HALF = (0.5, 0.5, 0.5)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EVERYWHERE = {
    "data": "cifar10",
    "split": "plain",
    "batch_size": 128,
    "cosine_t_max": 200,
    "frozen_batch_norm": "batch",
    "freeze_depth": 0,
}
PARTS_1_AND_2 = EVERYWHERE | {
    "train_images": 40_000,
    "validation_images": 10_000,
    "input_size": 32,
    "normalize_mean": HALF,
    "normalize_std": HALF,
    "augmentation_strength": 0.0,
    "augment_validation": False,
    "epochs": 20,
    "weights": "imagenet",
    "learning_rate": 0.001,
}
PART_3 = EVERYWHERE | {
    "train_images": 5_000,
    "validation_images": 45_000,
    "input_size": 224,
    "normalize_mean": IMAGENET_MEAN,
    "normalize_std": IMAGENET_STD,
    "augmentation_strength": 1.0,
    "augment_validation": True,
    "epochs": 50,
    "weights": "none",
    "head": "dropout",
    "learning_rate": 0.001,
}
LINEAR = {"head": "linear", "dropout_rate": 0.0}
MLP = {"head": "mlp", "dropout_rate": 0.2}
TABLE: dict[str, dict[str, Any]] = {
    "transfer/scratch": PARTS_1_AND_2 | LINEAR | {"weights": "none", "learning_rate": 0.01},
    "transfer/finetune": PARTS_1_AND_2 | LINEAR,
    "transfer/model-a": PARTS_1_AND_2 | MLP | {"freeze_depth": 2},
    "transfer/model-b": PARTS_1_AND_2 | MLP | {"freeze_depth": 5},
    "dropout/p=0.1": PART_3 | {"dropout_rate": 0.1},
    "dropout/p=0.2": PART_3 | {"dropout_rate": 0.2},
    "dropout/p=0.3": PART_3 | {"dropout_rate": 0.3},
    "dropout/p=0.4": PART_3 | {"dropout_rate": 0.4},
    "final/p=0.3": PART_3 | {"dropout_rate": 0.3},
}
TABLE |= {
    f"transfer/{model}-running": TABLE[f"transfer/{model}"] | {"frozen_batch_norm": "running"}
    for model in ("model-a", "model-b")
}


@cache
def shipped(profile: str) -> dict[str, TrialConfig]:
    """The configuration of every named trial of every shipped study file."""
    found = {}
    for path in sorted(SHIPPED.glob("*.toml")):
        spec: StudySpec = resolve(load_study_file(str(path)), profile)
        found |= {named.name: spec.named_config(named, seed=5) for named in spec.named}
    return found


@pytest.mark.parametrize("name", TABLE)
def test_every_setting_is_the_reports(name: str) -> None:
    config = shipped("assignment")[name]
    assert {key: getattr(config, key) for key in TABLE[name]} == TABLE[name]
    # Nothing that decides a trial is left out of the table, except the seed, which the report
    # does not have, and what is the report's where nothing else is said.
    defaults = {one.name: one.default for one in fields(TrialConfig) if one.default is not MISSING}
    assert set(TABLE[name]) | {"seed"} | defaults.keys() == {one.name for one in fields(config)}
    assert {key: getattr(config, key) for key in defaults} == defaults
    assert not defaults.keys() & config.as_stored().keys(), "so that digests stay what they were"


def test_studies_of_the_assignment_have_no_other_named_trials() -> None:
    studies = {name.partition("/")[0] for name in TABLE}
    names = {name for name in shipped("assignment") if name.partition("/")[0] in studies}
    assert names == set(TABLE)


def test_quick_never_asks_for_what_is_not_in_the_package() -> None:
    for config in shipped("quick").values():
        assert config.data == "bundled"
        assert config.weights in ("none", "tiny-imagenet-32")


# --- the same as the plain way --------------------------------------------------------------------


@pytest.fixture(autouse=True)
def freed() -> Iterator[None]:
    """Free what optimizer and schedule hold of each other: half a gigabyte a test otherwise."""
    yield
    gc.collect()


@dataclass(frozen=True)
class Step:
    """What a step of the plain loop left: its loss, and all weights after it, or their averages."""

    loss: float
    weights: dict[str, Tensor]


@cache
def pretrained() -> dict[str, Tensor]:
    return read_bundled_weights()


def plain_model(config: TrialConfig) -> nn.Module:
    """As the assignment built it, from the seed that the trial's own is built from."""
    torch.manual_seed(derive_seed(config.seed, "weights"))
    model = resnet18()
    if config.stem == "cifar":
        model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
    if config.weights != "none":
        model.load_state_dict(pretrained(), strict=False)
    if config.head == "linear":
        model.fc = nn.Linear(512, 10)
    elif config.head == "dropout":
        model.fc = nn.Sequential(nn.Dropout(config.dropout_rate), nn.Linear(512, 10))
    else:
        dropout = nn.Dropout(config.dropout_rate)
        model.fc = nn.Sequential(nn.Linear(512, 256), nn.ReLU(), dropout, nn.Linear(256, 10))
    for child in frozen_children(model, config):
        for parameter in child.parameters():
            parameter.requires_grad = False
    return model.double()


def frozen_children(model: nn.Module, config: TrialConfig) -> list[nn.Module]:
    count = {0: 0, 1: 4, 2: 5, 3: 6, 4: 7, 5: 9}[config.freeze_depth]
    return list(model.children())[:count]


def train_plainly(
    model: nn.Module, config: TrialConfig, batches: list[list[tuple[Tensor, Labels]]]
) -> list[Step]:
    """The assignment's loop over the given batches of each epoch."""
    optimizer = plain_optimizer(model, config)
    warmup, length = config.warmup_epochs, config.cosine_t_max

    def factor(epoch: int) -> float:
        if epoch < warmup:
            return (epoch + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / length))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    smoothing = config.label_smoothing
    average = None
    if config.ema_decay:
        average = AveragedModel(model, multi_avg_fn=plain_average(config), use_buffers=True)
    steps = []
    for epoch, epoch_batches in enumerate(batches, start=1):
        torch.manual_seed(derive_seed(config.seed, "dropout", epoch))
        model.train()
        if config.frozen_batch_norm == "running":
            for child in frozen_children(model, config):
                child.eval()
        for images, labels in epoch_batches:
            optimizer.zero_grad()
            masks = torch.get_rng_state()
            loss = plain_loss(model(images.double().contiguous()), labels, smoothing)
            loss.backward()
            if config.sam_radius:
                with uphill(model, config.sam_radius):
                    torch.set_rng_state(masks)
                    optimizer.zero_grad()
                    again = model(images.double().contiguous())
                    plain_loss(again, labels, smoothing).backward()
            optimizer.step()
            if average is not None:
                average.update_parameters(model)
            kept = model if average is None else average.module
            state = {name: value.clone() for name, value in kept.state_dict().items()}
            steps.append(Step(loss.item(), state))
        schedule.step()
    return steps


@contextmanager
def uphill(model: nn.Module, radius: float) -> Iterator[None]:
    """SAM's ascent, in the order of Foret et al.'s algorithm 1; batch norm's averages stay."""
    gradient = torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.add_(radius * parameter.grad / gradient.norm())
    yield
    model.load_state_dict(before)


def plain_loss(logits: Tensor, labels: Labels, smoothing: float) -> Tensor:
    if isinstance(labels, Tensor):
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    parts = zip((labels.own, labels.other), labels.weights.double().unbind(1), strict=True)
    losses = [
        weights
        * functional.cross_entropy(logits, label, reduction="none", label_smoothing=smoothing)
        for label, weights in parts
    ]
    return sum(losses, torch.zeros(len(logits), dtype=torch.float64)).mean()


def plain_average(config: TrialConfig) -> Callable[[Any, Any, Any], None]:
    """PyTorch's own, with TensorFlow's bound on its decay."""

    def update(averages: Any, weights: Any, count: Any) -> None:
        decay = min(config.ema_decay, int(count) / (int(count) + 9))
        get_ema_multi_avg_fn(decay)(averages, weights, count)

    return update


def plain_optimizer(model: Any, config: TrialConfig) -> torch.optim.Optimizer:
    rate, decay = config.learning_rate, config.weight_decay
    stem = nn.ModuleList([model.conv1, model.bn1])
    stages = (model.fc, model.layer4, model.layer3, model.layer2, model.layer1, stem)
    trained: list[Any] = [
        {"params": list(stage.parameters()), "lr": rate * config.layer_decay**number}
        for number, stage in enumerate(stages)
        if next(stage.parameters()).requires_grad
    ]
    if config.optimizer == "sgd":
        momentum = {"momentum": config.momentum, "nesterov": config.momentum > 0}
        return torch.optim.SGD(trained, lr=rate, weight_decay=decay, **momentum)
    kind = torch.optim.AdamW if decay else torch.optim.Adam
    return kind(trained, lr=rate, weight_decay=decay)


def small(config: TrialConfig) -> TrialConfig:
    """The same trial on few of the bundled images: three epochs of one step at 32 px, one epoch of
    two steps at 224 px."""
    images, batch_size, epochs = (16, 16, 3) if config.input_size == 32 else (4, 2, 1)
    return replace(
        config,
        data="bundled",
        split="fixed",
        train_images=images,
        validation_images=batch_size,
        batch_size=batch_size,
        epochs=epochs,
        cosine_t_max=3,  # so short that the schedule shows in a few epochs
    )


# Every named trial of the report, and the freeze depths that it did not try.
@pytest.mark.parametrize("name", [*TABLE, *(f"freeze-depth/{depth}" for depth in (1, 3, 4))])
def test_named_trial_trains_as_a_plain_torchvision_loop(bundled: SearchData, name: str) -> None:
    check_against_a_plain_loop(bundled, small(shipped("assignment")[name]))


SGD = {"optimizer": "sgd", "learning_rate": 0.05}
AVERAGED = {"ema_decay": 0.15, "epochs": 4}
"""The third average is the first with this decay: 2 / 11 is more."""
MIXED = {"mixup_alpha": 0.4, "cutmix_probability": 0.5, "label_smoothing": 0.1}
DECAYED = {"weight_decay": 0.05, "label_smoothing": 0.1, "warmup_epochs": 1, "cosine_t_max": 2}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("transfer/scratch", DECAYED),
        ("transfer/scratch", SGD | DECAYED),
        ("transfer/scratch", SGD | {"momentum": 0.0, "warmup_epochs": 2} | MIXED),
        ("transfer/model-a", DECAYED | {"layer_decay": 0.6}),
        ("transfer/model-a", SGD | DECAYED | {"sam_radius": 0.2}),
        ("transfer/scratch", AVERAGED | SGD | DECAYED),
        ("transfer/model-a-running", AVERAGED | DECAYED),
        ("transfer/scratch", {"stem": "cifar", "flip_probability": 0.5, "crop_padding": 4}),
    ],
    ids=str,
)
def test_other_hyperparameters_train_as_a_plain_torchvision_loop(
    bundled: SearchData, name: str, settings: dict[str, Any]
) -> None:
    check_against_a_plain_loop(bundled, replace(small(shipped("assignment")[name]), **settings))


def check_against_a_plain_loop(bundled: SearchData, config: TrialConfig) -> None:
    """In double precision, so that nothing but a different computation can make a difference: in
    single precision Adam turns the rounding of a gradient near zero into a step."""
    split = bundled.split(config)
    train, validation = (place(part, config, CPU) for part in (split.train, split.validation))
    epochs = range(1, config.epochs + 1)
    batches = [list(training_batches(train, config, epoch)) for epoch in epochs]
    plain = plain_model(config)
    expected = train_plainly(plain, config, batches)

    torch.manual_seed(derive_seed(config.seed, "weights"))
    ours = build_model(config, 10, pretrained() if config.weights != "none" else None).double()
    replace_whole_map_convolutions(ours, config.input_size)
    is_small = config.input_size == 32 and config.stem == "imagenet"
    assert any(isinstance(one, WholeMapConv) for one in ours.modules()) == is_small
    ours.register_forward_pre_hook(lambda _model, inputs: (inputs[0].double(),))
    checked: list[int] = []

    def compare(done: int) -> None:
        if done <= config.steps:  # the rest of an epoch's steps validate
            whole = copy.deepcopy(trainer.result)
            assert config.steps == 1 or not config.weight_decay, "decay is known for whole epochs"
            restore_convolutions(whole, decay_without_gradient(config, len(checked) + 1))
            found = whole.state_dict()
            for key, value in expected[len(checked)].weights.items():
                if config.ema_decay and key.endswith("num_batches_tracked"):
                    continue  # PyTorch averages whole numbers too, and truncates them
                torch.testing.assert_close(
                    found[key], value, rtol=1e-7, atol=1e-9, check_dtype=False
                )
            checked.append(done)

    trainer = Trainer(ours, config, TrainingCallbacks(on_step=compare))
    history = trainer.fit(train, validation).epochs
    assert all(map(torch.equal, ours.state_dict().values(), trainer.result.state_dict().values()))
    assert len(checked) == len(expected) == config.steps * config.epochs
    for metrics in history:
        losses = [step.loss for step in expected][: metrics.epoch * config.steps][-config.steps :]
        assert metrics.train_loss == pytest.approx(sum(losses) / config.steps, rel=1e-9)
    if config.ema_decay:
        plain.load_state_dict(expected[-1].weights)
    plain.eval()
    with torch.no_grad():
        images, labels = next(iter(validation_batches(validation, config, config.epochs)))
        logits = plain(images.double().contiguous())
    loss = functional.cross_entropy(logits, labels).item()
    assert history[-1].val_loss == pytest.approx(loss, rel=1e-9)
