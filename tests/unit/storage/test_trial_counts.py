"""Stored trials are counted without Optuna as Optuna counts them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from cifar_tune.errors import StorageError
from cifar_tune.storage.location import StorageLocation, locate_storage
from cifar_tune.storage.studies import open_to_write
from cifar_tune.storage.trial_counts import count_trials_by_file


@pytest.fixture
def location(tmp_path: Path) -> StorageLocation:
    """A database with three studies of two study files, and one of another program's."""
    location = locate_storage(str(tmp_path / "studies.db"))
    storage = open_to_write(location)
    for name, trials in (("dropout:quick", 3), ("other", 1), ("joint:quick:epochs=2", 0)):
        study = optuna.create_study(storage=storage, study_name=name)
        for _ in range(trials):
            study.ask()
    study = optuna.create_study(storage=storage, study_name="dropout:assignment")
    study.set_user_attr("format", 1)
    study.enqueue_trial({})
    storage.engine.dispose()
    return location


def test_trials_are_counted_by_study_file(location: StorageLocation) -> None:
    assert count_trials_by_file(location, ["joint", "dropout", "final"]) == {
        "joint": {"joint:quick:epochs=2": 0},
        "dropout": {"dropout:quick": 3, "dropout:assignment": 1},
        "final": {},
    }


def test_a_server_is_counted_by_optuna_alike(
    location: StorageLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = count_trials_by_file(location, ["joint", "dropout"])
    on_server = StorageLocation(location.url, None)  # as Optuna reads what is no file
    monkeypatch.setattr("cifar_tune.storage.server.server_settings", lambda _location: {})
    assert count_trials_by_file(on_server, ["joint", "dropout"]) == counted


def test_nothing_is_stored_where_no_database_is(tmp_path: Path) -> None:
    location = locate_storage(str(tmp_path / "none.db"))
    assert count_trials_by_file(location, ["dropout"]) == {"dropout": {}}


def test_a_database_whose_tables_are_half_made_holds_nothing(tmp_path: Path) -> None:
    half_made = locate_storage(str(tmp_path / "half.db"))
    with closing(sqlite3.connect(tmp_path / "half.db")) as database:
        database.execute("CREATE TABLE studies (study_id INTEGER, study_name TEXT)")
    assert count_trials_by_file(half_made, ["dropout"]) == {"dropout": {}}


def test_a_study_of_a_newer_version_is_refused_where_it_is_meant(
    location: StorageLocation,
) -> None:
    study = optuna.load_study(study_name="joint:quick:epochs=2", storage=location.url)
    study.set_user_attr("format", 99)
    assert count_trials_by_file(location, ["dropout"])["dropout"]["dropout:quick"] == 3
    with pytest.raises(StorageError, match="was written by a newer cifar-tune"):
        count_trials_by_file(location, ["joint"])
