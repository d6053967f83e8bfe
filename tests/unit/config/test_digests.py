"""Configurations and studies have the digests that they had when they were first stored."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from places import TEST_DATA

from cifar_tune.config.study_file import load_study_file, resolve
from cifar_tune.config.trial import TrialConfig, without_defaults

RECORDED = json.loads((TEST_DATA / "config_digests.json").read_text(encoding="utf-8"))
"""From the version before hyperparameters were declared in one place each.

``trials``: the digests of shipped named trials with seed 5, by study; ``studies``: the SHA-256 of
protocol, space and named trials as stored; ``settings``: the digest of ``PLAIN`` with one setting.
"""
PLAIN = TrialConfig(
    data="bundled",
    split="fixed",
    train_images=5_000,
    validation_images=1_000,
    input_size=32,
    normalize_mean=(0.485, 0.456, 0.406),
    normalize_std=(0.229, 0.224, 0.225),
    augment_validation=False,
    weights="none",
    head="dropout",
    frozen_batch_norm="batch",
    batch_size=128,
    epochs=3,
    cosine_t_max=200,
    dropout_rate=0.3,
    learning_rate=0.001,
    augmentation_strength=1.0,
    freeze_depth=0,
    seed=7,
)
SETTINGS = {
    "dropout_rate": (0, 0.0, 0.5),
    "learning_rate": (1, 0.1),
    "augmentation_strength": (0.0, 2),
    "freeze_depth": (0, 5),
    "cosine_t_max": (3,),
    "stem": ("cifar", "imagenet"),
    "optimizer": ("sgd", "adam"),
    "flip_probability": (None, 0.0, 0.5, 1),
    "crop_padding": (0, 4),
    "warmup_epochs": (0, 2),
    "weight_decay": (0, 0.0, 0.01),
    "momentum": (0.9, 0.0, 0.5),
    "label_smoothing": (0.0, 0, 0.1),
    "train_on": ("train+val",),
    "precision": ("bf16",),
    "seed": (0, 9),
}


@pytest.mark.parametrize("study", RECORDED["trials"])
def test_shipped_named_trials(study: str) -> None:
    spec = resolve(load_study_file(study.partition(":")[0]), study.partition(":")[2])
    configs = {named.name: spec.named_config(named, seed=5) for named in spec.named}
    for name, digest in RECORDED["trials"][study].items():
        assert configs[name].digest == digest
        assert TrialConfig(**configs[name].as_stored()).digest == digest


def test_each_setting() -> None:
    digests = {
        f"{key}={value!r}": replace(PLAIN, **{key: value}).digest
        for key, values in SETTINGS.items()
        for value in values
    }
    last = {key: values[-1] for key, values in SETTINGS.items()}
    assert digests | {"all": replace(PLAIN, **last).digest} == RECORDED["settings"]


@pytest.mark.parametrize("study", RECORDED["studies"])
def test_shipped_studies(study: str) -> None:
    spec = resolve(load_study_file(study.partition(":")[0]), study.partition(":")[2])
    text = json.dumps(
        {
            "protocol": without_defaults(spec.protocol.model_dump()),
            "space": {key: values.model_dump() for key, values in spec.space.ranges().items()},
            "named": {
                named.name: {"params": named.params, "settings": named.settings.given()}
                for named in spec.named
            },
        }
    )
    assert hashlib.sha256(text.encode()).hexdigest() == RECORDED["studies"][study]


def test_defaults_are_not_stored() -> None:
    assert without_defaults({"epochs": 3, "weight_decay": 0.0, "stem": None}) == {"epochs": 3}
    assert "precision" not in PLAIN.as_stored()
