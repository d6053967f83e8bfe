"""The frozen part of a network, computed once an image: exact, shared through a file, bounded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from command_line import TINY, Cli
from torch import Tensor

from cifar_tune import paths
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.loader import DeviceSplit, place, training_batches
from cifar_tune.data.search_data import SearchData
from cifar_tune.models.full_map_conv import replace_whole_map_convolutions, restore_convolutions
from cifar_tune.models.resnet import build_model, set_training
from cifar_tune.models.weights import Weights, load_weights
from cifar_tune.training import network
from cifar_tune.training.network import FrozenPrefix, takes_features
from cifar_tune.training.objective import run_trial
from cifar_tune.training.optimizer import make_optimizer
from cifar_tune.training.records import TrialFiles, TrialResult
from cifar_tune.training.step import train_step

MakeConfig = Callable[..., TrialConfig]
CPU = torch.device("cpu")
WEIGHTS = "tiny-imagenet-32"


@pytest.fixture(scope="module")
def weights() -> Weights:
    return load_weights({WEIGHTS}, Path())[WEIGHTS]


def frozen(make_config: MakeConfig, depth: int, **settings: object) -> TrialConfig:
    fixed = {"freeze_depth": depth, "weights": WEIGHTS, "frozen_batch_norm": "running"}
    return make_config(**(fixed | {"augmentation_strength": 0.0} | settings))


def train(config: TrialConfig, split: DeviceSplit, weights: Weights, *, cuts: bool) -> list[Tensor]:
    """All that ten steps leave of a network: weights, averages, and the losses on the way."""
    torch.manual_seed(0)
    model = build_model(config, 10, weights.tensors)
    replace_whole_map_convolutions(model, config.input_size)
    prefix = FrozenPrefix(model, config) if cuts else None
    if prefix is not None:
        augmented = config.augments
        split = prefix.replace_images(split, None, augmented=augmented)
        assert split.images.is_floating_point() != augmented
    set_training(model, config)
    optimizer = make_optimizer(model, config)
    torch.manual_seed(1)  # of the dropout masks
    losses = []
    for epoch in (1, 2):
        for images, labels in islice(training_batches(split, config, epoch), 5):
            losses.append(train_step(model, optimizer, images, labels, config)[0])
    if prefix is not None:
        prefix.put_back()
    restore_convolutions(model)
    return [*model.state_dict().values(), *losses]


@pytest.mark.parametrize(
    ("depth", "settings"),
    [
        *((depth, {}) for depth in range(1, 6)),
        (2, {"precision": "bf16"}),
        (5, {"precision": "bf16"}),
        (2, {"augmentation_strength": 1.0}),
        (2, {"mixup_alpha": 0.4, "auto_augment": 0.5}),
    ],
    ids=str,
)
def test_ten_steps_are_those_of_the_whole_network_bit_for_bit(
    make_config: MakeConfig,
    bundled: SearchData,
    weights: Weights,
    depth: int,
    settings: dict[str, object],
) -> None:
    precision = settings.get("precision", "fp32")
    rest = {key: value for key, value in settings.items() if key != "precision"}
    config = replace(
        frozen(make_config, depth, train_images=160, batch_size=32, **rest), precision=precision
    )
    split = place(bundled.split(config).train, config, CPU)
    plain, ours = (train(config, split, weights, cuts=cuts) for cuts in (False, True))
    assert all(map(torch.equal, ours, plain))


def test_what_has_batch_statistics_or_is_not_frozen_is_not_taken_out(
    make_config: MakeConfig,
) -> None:
    assert takes_features(frozen(make_config, 1))
    assert not takes_features(frozen(make_config, 0))
    assert not takes_features(frozen(make_config, 2, frozen_batch_norm="batch"))


def run(config: TrialConfig, data: SearchData, weights: Weights, files: TrialFiles) -> TrialResult:
    return run_trial(config, data, weights, CPU, files=files).result


def outcome(result: TrialResult) -> list[tuple[float, ...]]:
    return [(one.train_loss, one.val_loss, one.val_accuracy) for one in result.epochs]


def test_trials_share_features_through_a_file(
    make_config: MakeConfig,
    bundled: SearchData,
    weights: Weights,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, folder = frozen(make_config, 3), tmp_path / "features"
    alone = run(config, bundled, weights, TrialFiles())
    first = run(config, bundled, weights, TrialFiles(features=folder))
    assert len(list(folder.iterdir())) == 2, "one of the training, one of the validation images"
    monkeypatch.setattr(FrozenPrefix, "_compute", None)  # whatever is computed again fails
    other = replace(config, learning_rate=0.002, dropout_rate=0.1, seed=8)
    again = run(config, bundled, weights, TrialFiles(features=folder))
    assert outcome(first) == outcome(alone) == outcome(again)
    assert outcome(run(other, bundled, weights, TrialFiles(features=folder))) != outcome(again)
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    "change",
    [{"freeze_depth": 4}, {"normalize_std": (0.25, 0.25, 0.25)}, {"precision": "bf16"}],
    ids=str,
)
def test_features_of_another_kind_are_others(
    make_config: MakeConfig,
    bundled: SearchData,
    weights: Weights,
    tmp_path: Path,
    change: dict[str, object],
) -> None:
    config, files = frozen(make_config, 3, epochs=1), TrialFiles(features=tmp_path)
    run(config, bundled, weights, files)
    run(replace(config, **change), bundled, weights, files)  # type: ignore[arg-type]
    assert len(list(tmp_path.iterdir())) == 4


def test_damaged_features_are_computed_again(
    make_config: MakeConfig, bundled: SearchData, weights: Weights, tmp_path: Path
) -> None:
    config, files = frozen(make_config, 5), TrialFiles(features=tmp_path)
    expected = outcome(run(config, bundled, weights, files))
    whole = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for path, content in whole.items():
        path.write_bytes(content[:-4] + b"\x00\x01\x02\x03")
    assert outcome(run(config, bundled, weights, files)) == expected
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == whole
    for path, content in whole.items():
        path.write_bytes(content[: len(content) // 2])
    assert outcome(run(config, bundled, weights, files)) == expected


def test_without_room_for_features_the_outcome_is_the_same(
    make_config: MakeConfig,
    bundled: SearchData,
    weights: Weights,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = frozen(make_config, 3)
    expected = outcome(run(config, bundled, weights, TrialFiles()))
    (tmp_path / "file").write_text("no folder")
    nowhere = TrialFiles(features=tmp_path / "file" / "features")
    assert outcome(run(config, bundled, weights, nowhere)) == expected
    monkeypatch.setattr(network, "MOST_BYTES", 1000)
    folder = tmp_path / "features"
    assert outcome(run(config, bundled, weights, TrialFiles(features=folder))) == expected
    assert not folder.exists()


def test_the_features_that_were_not_used_for_longest_are_removed(
    make_config: MakeConfig,
    bundled: SearchData,
    weights: Weights,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = TrialFiles(features=tmp_path)
    run(frozen(make_config, 4, epochs=1), bundled, weights, files)
    old = set(tmp_path.iterdir())
    for path in old:
        os.utime(path, (1, 1))
    used = max(old, key=lambda path: path.stat().st_size)
    sizes = {path: path.stat().st_size for path in old}
    run(frozen(make_config, 4, epochs=1), bundled, weights, files)  # uses both
    os.utime(min(old, key=lambda path: sizes[path]), (1, 1))
    monkeypatch.setattr(network, "MOST_BYTES", sizes[used] + 400_000)
    run(frozen(make_config, 5, epochs=1), bundled, weights, files)
    left = set(tmp_path.iterdir())
    assert used in left
    assert len(left) == 3


def test_a_study_keeps_them_beside_its_database(cli: Cli, tmp_path: Path) -> None:
    only = ("--only", "transfer/model-b-running", "--storage", "s.db")
    done = cli("study", "run", "transfer", *TINY, "--epochs", "1", "--seeds", "2", *only)
    assert done.code == 0, done.err
    folder = paths.features_folder(tmp_path / "s.db")
    assert len(list(folder.iterdir())) == 2
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    name = "transfer/model-b-running/seed=1"
    again = cli("trial", "rerun", "transfer", name, "--epochs", "1", *TINY, "--storage", "s.db")
    assert "bit for bit" in again.out, again.err
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in before} == before
