"""Places that will not do are refused in one line, and nothing is written."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from command_line import TINY, Cli

from cifar_tune.storage.location import check_readable, locate_storage
from cifar_tune.storage.studies import create_study, open_to_write

RUN = ("study", "run", "dropout", *TINY, "--epochs", "1", "--trials", "0")


def refused(cli: Cli, storage: str) -> str:
    answer = cli(*RUN, "--storage", storage)
    assert answer.code == 2
    assert answer.out.count("trial 0") == 0
    assert len(answer.err.splitlines()) == 1, answer.err
    assert answer.err.startswith("error: ")
    return answer.err


def test_directory(cli: Cli, tmp_path: Path) -> None:
    assert "is a directory" in refused(cli, str(tmp_path))


@pytest.mark.parametrize(
    ("version", "advice"),
    [
        ("v3.0.0.c", "; `optuna storage upgrade --storage 'sqlite:///{}'` brings them up to date"),
        ("v99", "has tables of optuna 9.9.9, expected those of optuna 5"),
    ],
)
def test_tables_of_another_optuna(cli: Cli, tmp_path: Path, version: str, advice: str) -> None:
    file = tmp_path / "my studies.db"
    open_to_write(locate_storage(str(file)))
    with sqlite3.connect(file) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (version,))
        database.execute("UPDATE version_info SET library_version = '9.9.9'")
    said = refused(cli, str(file))
    assert advice.format(file) in said
    assert "$" not in said


def test_not_sqlite(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database at all")
    assert "is not a SQLite file" in refused(cli, str(file))
    assert file.read_text() == "not a database at all"


def test_made_by_another_program(cli: Cli, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as database:
        database.execute("CREATE TABLE songs (title TEXT)")
    database.close()
    before = (tmp_path / "other.db").read_bytes()
    assert "is a SQLite file of another program" in refused(cli, str(tmp_path / "other.db"))
    assert (tmp_path / "other.db").read_bytes() == before


def test_study_of_another_program(cli: Cli, tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="dropout:quick:batch_size=32,epochs=1,train_images=64,validation_images=50",
        storage=f"sqlite:///{tmp_path / 'theirs.db'}",
    )
    study.add_trial(optuna.create_trial(value=1.0))
    assert "was made by another program" in refused(cli, str(tmp_path / "theirs.db"))


def test_damaged_sqlite_file(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "damaged.db"
    file.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 16)
    assert "damaged" in refused(cli, str(file))


def test_another_program_that_closes_the_database_leaves_a_runner_its_log(tmp_path: Path) -> None:
    """SQLite's last connection removes the log: a runner must not have lost its lock by then."""
    location = locate_storage(str(tmp_path / "s.db"))
    storage = open_to_write(location)
    script = (
        "import sqlite3, sys; database = sqlite3.connect(sys.argv[1]); "
        "print(database.execute('SELECT count(*) FROM studies').fetchone()[0]); database.close()"
    )
    for number in (1, 2):
        create_study(storage, f"study-{number}")
        check_readable(location)
        command = [sys.executable, "-c", script, str(tmp_path / "s.db")]
        assert subprocess.check_output(command, text=True).strip() == str(number)


@pytest.mark.parametrize("storage", ["/proc/nowhere/x.db", "/dev/null", "/dev/null/x.db"])
def test_places_that_cannot_be_written(cli: Cli, storage: str) -> None:
    assert storage in refused(cli, storage)


def test_url_without_driver_or_sense(cli: Cli) -> None:
    assert "expected a file" in refused(cli, "sqlite://")
    assert "neither a path nor a database URL" in refused(cli, "://")


def test_password_is_not_shown(cli: Cli) -> None:
    error = refused(cli, "nosuchdatabase://me:secret@localhost/studies")
    assert "secret" not in error


def test_sqlite_url_and_environment(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli(*RUN, "--storage", "sqlite:///by-url.db").code == 0
    assert Path("by-url.db").is_file()
    monkeypatch.setenv("CIFAR_TUNE_STORAGE", "by-url.db")
    assert len(cli("study", "show", "dropout", "--json").record["stored"]) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    folder = tmp_path / "disk"
    folder.mkdir()
    if mount is None or umount is None:
        pytest.skip("mount is not installed")
    command = [mount, "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run([umount, str(folder)], check=True)


def test_full_disk_is_refused_before_anything_is_written(cli: Cli, small_disk: Path) -> None:
    assert "the disk is full" in refused(cli, str(small_disk / "new" / "x.db"))
    assert list(small_disk.iterdir()) == []


def test_disk_that_fills_up_during_a_run(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own limit of pages stands in for the disk: its error is the same."""
    from cifar_tune.storage import studies as storage

    tune = storage.use_write_ahead_log
    limits: dict[str, int] = {}

    def tune_and_limit(connection: Any, record: object) -> None:
        tune(connection, record)
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={limits.setdefault('pages', pages + 1)}")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "use_write_ahead_log", tune_and_limit)
        answer = cli(*RUN)
    assert answer.code == 2
    assert "the disk is full; free some space and run the same command again" in answer.err
    assert "Traceback" not in answer.err
    assert cli(*RUN).code == 0


def test_damaged_bundle(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cifar_tune.data import bundle, search_data

    folder = shutil.copytree(bundle.FOLDER, tmp_path / "bundled")
    shutil.copy(folder / "test.webp", folder / "validation.webp")
    monkeypatch.setattr(search_data, "read_bundled", lambda name: bundle.read_bundled(name, folder))
    answer = cli(*RUN)
    assert answer.code == 2
    assert "the bundled images are damaged" in answer.err
    assert not (tmp_path / "storage").exists()
