"""The commands that a reader is told to type."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from cifar_tune.config.study_file import load_study_file, parse_override, resolve
from cifar_tune.storage.invocations import (
    name_options,
    storage_options,
    study_arguments,
    train_command,
)
from cifar_tune.storage.location import locate_storage


def test_options_name_profile_and_overrides() -> None:
    loaded = load_study_file("dropout")
    assert name_options(resolve(loaded, "quick")) == "--profile quick"
    changed = resolve(loaded, "quick", {"epochs": 4, "augment_validation": True})
    assert name_options(changed) == ("--profile quick --set augment_validation=true --set epochs=4")


@pytest.mark.parametrize(
    "overrides",
    [
        {"weights": "123", "data": "true"},  # names that are no text where they stand alone
        {"weights": "none", "head": "mlp"},
        {"normalize_mean": [0.1, 0.2, 1e-5]},
        {"augment_validation": True, "augmentation_strength": 1e-7},
    ],
)
def test_overrides_are_read_as_they_were(overrides: dict[str, Any]) -> None:
    study = load_study_file("transfer")
    spec = resolve(study, "quick", overrides)
    words = shlex.split(study_arguments(spec, None))
    assert words[:3] == ["transfer", "--profile", "quick"]
    again = resolve(study, "quick", dict(map(parse_override, words[4::2])))
    assert (again.overrides, again.study_name) == (spec.overrides, spec.study_name)


def test_a_storage_is_named_where_a_command_does_not_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CIFAR_TUNE_STORAGE", raising=False)
    assert storage_options(locate_storage()) == ""
    assert storage_options(locate_storage("my own.db")) == "--storage 'my own.db'"
    assert storage_options(locate_storage("postgresql://me:secret@host/db")) == ""
    monkeypatch.setenv("CIFAR_TUNE_STORAGE", "my own.db")
    assert storage_options(locate_storage("my own.db")) == ""


def test_a_replicate_is_trained_with_those_before_it() -> None:
    command = train_command("cifar-tune study run x", "a b", "seed=3")
    assert command == "cifar-tune study run x --only 'a b' --seeds 3"
