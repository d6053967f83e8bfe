"""Splits, what a trial is given of the images, and the full set's absence."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import Cli

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.loader import place
from cifar_tune.data.search_data import SearchData, balanced_head, plain_split, stratified_split
from cifar_tune.errors import DataError


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
    split = bundled.split(make_config(train_images=70, validation_images=30))
    assert np.bincount(split.train.copy().labels).tolist() == [7] * 10
    assert np.bincount(split.validation.copy().labels).tolist() == [3] * 10


def test_without_the_full_set_the_error_says_what_to_do(cli: Cli, tmp_path: Path) -> None:
    answer = cli("study", "run", "dropout", "--profile", "assignment")
    assert answer.code == 2
    assert "cifar10.safetensors: is missing" in answer.err
    assert "cifar-tune data import" in answer.err
    assert "--profile quick" in answer.err
    assert not (tmp_path / "storage").exists()


# --- splits by seed -------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [(40_000, 10_000), (5_000, 45_000), (777, 333)])
def test_stratified_split_has_every_class_in_proportion(first: int, second: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10, dtype=np.uint8), 5_000))
    train, validation = stratified_split(labels, first, second, seed=3)
    assert (len(train), len(validation)) == (first, second)
    assert len(np.union1d(train, validation)) == first + second
    for rows in (train, validation):
        counts = np.bincount(labels[rows], minlength=10)
        assert abs(counts - len(rows) / 10).max() <= 1
    again, _ = stratified_split(labels, first, second, seed=3)
    other, _ = stratified_split(labels, first, second, seed=4)
    assert train.tolist() == again.tolist()
    assert train.tolist() != other.tolist()


def test_stratified_split_of_uneven_classes() -> None:
    labels = np.repeat(np.arange(3, dtype=np.uint8), [100, 30, 7])
    train, validation = stratified_split(labels, 100, 37, seed=0)
    assert abs(np.bincount(labels[train]) - np.array([73, 21.9, 5.1])).max() <= 1
    assert len(np.intersect1d(train, validation)) == 0


def test_split_is_known_by_its_digest(
    bundled: SearchData, make_config: Callable[..., TrialConfig]
) -> None:
    whole = replace(bundled, validation=None)
    config = replace(make_config(), split="plain")
    digest = whole.split(config).digest
    assert digest == whole.split(config).digest
    assert digest != whole.split(replace(config, seed=8)).digest
    assert digest != whole.split(replace(config, split="stratified")).digest
    assert digest != whole.split(replace(config, train_images=63)).digest


def test_a_split_on_the_cpu_is_the_images_themselves(
    bundled: SearchData, make_config: Callable[..., TrialConfig]
) -> None:
    config = make_config()
    placed = place(bundled.split(config).train, config, torch.device("cpu"))
    assert placed.images.data_ptr() == bundled.train.images.ctypes.data


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"train_images": 6_000}, "train_images = 6000: expected at most 5000"),
        ({"validation_images": 1_001}, "validation_images = 1001: expected at most 1000"),
        (
            {"split": "plain", "train_images": 4_000, "validation_images": 1_001},
            "train_images + validation_images = 5001: expected at most 5000",
        ),
        ({"input_size": 16}, "input_size = 16: expected at least 32"),
    ],
)
def test_images_that_will_not_do(
    bundled: SearchData,
    make_config: Callable[..., TrialConfig],
    settings: dict[str, Any],
    complaint: str,
) -> None:
    with pytest.raises(DataError, match=re.escape(complaint)):
        bundled.check(replace(make_config(), **settings))
    with pytest.raises(DataError, match="have no validation split of their own"):
        replace(bundled, validation=None).check(make_config())
