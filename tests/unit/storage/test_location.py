"""A path is the file of that name, or it is refused before anything is written."""

from __future__ import annotations

import os
from pathlib import Path

import optuna
import pytest

from cifar_tune.errors import StorageError
from cifar_tune.storage.invocations import storage_options
from cifar_tune.storage.location import check_writable, locate_storage
from cifar_tune.storage.studies import create_study, open_to_read, open_to_write

NAMES = [
    "exp?a.db",
    "x%41.db",
    "{exp}/s.db",
    "${HOME}/s.db",
    "./~/s.db",
    "~nobody-has-this-name.db",
    "./a:b@c/s.db",
    "a:b@c.db",
    "./:memory:",
    "./sqlite:///s.db",
    "a#b&c=d.db",
    "a b\n.db",
    "a\\b.db",
    "猫.db",
    "mode=memory",
    "runs",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CIFAR_TUNE_STORAGE", raising=False)
    return tmp_path


def list_databases(folder: Path) -> set[Path]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path for path in files if not path.name.endswith(("-wal", "-shm"))}


def test_each_name_is_that_file(folder: Path) -> None:
    for number, name in enumerate(NAMES):
        create_study(open_to_write(locate_storage(name)), f"study-{number}")
    expected = {Path(os.path.abspath(folder / name)) for name in NAMES}  # noqa: PTH100
    assert list_databases(folder) == expected
    for number, name in enumerate(NAMES):
        # What commands print finds it too.
        option = storage_options(locate_storage(name))
        assert option.startswith("--storage ")
        for location in (locate_storage(name), locate_storage(locate_storage(name).argument)):
            opened = open_to_read(location)
            assert opened is not None
            assert optuna.get_all_study_names(storage=opened) == [f"study-{number}"]


@pytest.mark.parametrize("text", ["~/s.db", "sqlite:///~/s.db"])
def test_a_tilde_is_the_home_folder(folder: Path, text: str) -> None:
    create_study(open_to_write(locate_storage(text)), "study")
    assert list_databases(folder) == {folder / "home" / "s.db"}


def test_a_url_has_its_own_way_to_write_such_names(folder: Path) -> None:
    create_study(open_to_write(locate_storage("sqlite:///exp%3Fa.db")), "study")
    assert list_databases(folder) == {folder / "exp?a.db"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sqlite:///exp?a.db", "a ? in its name is written %3F"),
        ("sqlite:///s.db?mode=ro", "expected a file and no more"),
        ("sqlite://host/s.db", "expected a file and no more"),
        ("sqlite:///", "expected a file and no more"),
        ("s\0.db", "expected a path in UTF-8 without NUL"),
        ("s\udcff.db", "expected a path in UTF-8 without NUL"),
        ("me:hidden@host/name", "is an address but not a URL"),
        ("x" * 250 + ".db", "expected a file name of up to 243 bytes"),
        ("x" * 300 + "/s.db", "cannot be opened: File name too long"),
        ("circle/s.db", "cannot be opened: Too many levels of symbolic links"),
        ("dangling.db/s.db", "is not a directory"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, text: str, reason: str) -> None:
    (folder / "circle").symlink_to("circle")
    (folder / "dangling.db").touch()
    before = sorted(folder.rglob("*"))
    with pytest.raises(StorageError) as refused:
        check_writable(locate_storage(text))
    assert reason in str(refused.value)
    assert "hidden" not in str(refused.value)
    assert sorted(folder.rglob("*")) == before
