"""The commands that a reader is told to type."""

from __future__ import annotations

from pathlib import Path

import pytest

from cifar_tune.config.study_file import load_study_file, resolve
from cifar_tune.evaluation.invocations import name_options, storage_options, train_command
from cifar_tune.storage.location import locate_storage


def test_options_name_profile_and_overrides() -> None:
    loaded = load_study_file("dropout")
    assert name_options(resolve(loaded, "quick")) == "--profile quick"
    changed = resolve(loaded, "quick", {"epochs": 4, "augment_validation": True})
    assert name_options(changed) == ("--profile quick --set augment_validation=true --set epochs=4")


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
