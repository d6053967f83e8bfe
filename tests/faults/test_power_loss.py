"""A run that ends at any moment, and a disk that has not all of what was written.

A run in this process leaves a copy of its storage at every commit, flush, rename and removal, and
at every table that is made. Each
copy is what a run finds that was killed at that moment; a database of one moment with the files of
a later one is what is left when the power fails: files are flushed at once, commits later.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import invariants
import optuna
import psutil
import pytest
from command_line import Cli
from processes import write_study
from sqlalchemy import Engine, event

from cifar_tune.cli.app import main
from cifar_tune.search import costs

RESUMED = 4
"""Of some 170 moments, evenly spread. All of them: CIFAR_TUNE_TEST_MOMENTS=1000."""
APART = 15
"""Moments that lie between a database and the files that it is found with."""
KEEP_BEST = 1
SMALL = ("--set", "train_images=32", "--set", "validation_images=20", "--set", "batch_size=16")
RUN = ("--seeds", "1", *SMALL, "--epochs", "2")
TABLES = ("studies.db", "studies.db-wal")


@dataclass(frozen=True)
class Moment:
    """A copy of a storage.

    Attributes:
        what: had just happened.
    """

    what: str
    folder: Path


class Recorder:
    """Copies a storage whenever something is about to be committed, or was done to a file.

    Args:
        storage: the folder.
        copies: a folder for the copies, on the same disk.
    """

    def __init__(self, storage: Path, copies: Path) -> None:
        self._storage = storage
        self._copies = copies
        self.moments: list[Moment] = []

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Begin; ends with the patch, but for ``stop``."""
        event.listen(Engine, "commit", self._before_commit)
        event.listen(Engine, "after_cursor_execute", self._after_statement)
        for owner, name in ((Path, "replace"), (Path, "unlink"), (os, "fsync"), (shutil, "rmtree")):
            patch.setattr(owner, name, self._after(getattr(owner, name), name))

    def stop(self) -> None:
        """Listen to the database no more."""
        event.remove(Engine, "commit", self._before_commit)
        event.remove(Engine, "after_cursor_execute", self._after_statement)

    def _before_commit(self, _connection: Any) -> None:
        self._copy("a commit")

    def _after_statement(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        first = " ".join(statement.split()[:3])
        if first.startswith("CREATE"):  # not part of a transaction
            self._copy(first)

    def _after(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            done = function(*arguments, **options)
            self._copy(f"{name} {Path(str(arguments[0])).name}")
            return done

        return run

    def _copy(self, what: str) -> None:
        if self._storage.is_dir():
            folder = self._copies / str(len(self.moments))
            copy_storage(self._storage, self._storage, folder)
            self.moments.append(Moment(f"{len(self.moments)}, {what}", folder))


def copy_storage(tables: Path, files: Path, place: Path) -> None:
    """Make a storage of the database of one and the files of another."""
    place.mkdir(parents=True)
    for name in TABLES:
        if (tables / name).exists():
            shutil.copyfile(tables / name, place / name)
    for path in sorted(files.rglob("*")):
        copy = place / path.relative_to(files)
        if path.is_dir():
            copy.mkdir()
        elif path.parent != files:  # not the database, nor its index of the log
            os.link(path, copy)  # once written it is not changed


@dataclass(frozen=True)
class Recorded:
    """An undisturbed study, and its storage at every moment of the run."""

    study_file: Path
    study: optuna.Study
    moments: Sequence[Moment]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A named trial and two sampled ones, of two epochs."""
    folder = tmp_path_factory.mktemp("recorded")
    study_file = folder / "kills.toml"
    write_study(study_file, trials=2, names=("kill/p=0.3",), keep_best=KEEP_BEST)
    recorder = Recorder(folder / "whole", folder / "copies")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CIFAR_TUNE_WORKERS", "inline")
        patch.setattr(costs, "MEASURE_SECONDS", 0.1)
        patch.setattr(costs, "STEP_SECONDS_MOST", 0.1)
        # So that the holder of the lease in the copies is a process that is gone, not this one.
        patch.setattr(psutil, "boot_time", lambda: 0.0)
        recorder.watch(patch)
        try:
            database = str(folder / "whole" / "studies.db")
            with pytest.raises(SystemExit) as end:
                main(["study", "run", str(study_file), "--storage", database, *RUN])
        finally:
            recorder.stop()
    assert end.value.code == 0
    study = invariants.read_study(database)
    check(study, study, folder / "whole")
    return Recorded(study_file, study, recorder.moments)


def check(study: optuna.Study, whole: optuna.Study, folder: Path) -> None:
    """Fail where a finished study is not as it would be if nothing had happened to it."""
    faults = invariants.differences(study, whole) + invariants.duplicates(study)
    faults += invariants.weights_faults(study, folder, KEEP_BEST)
    faults += invariants.weights_differences(study, whole)
    faults += invariants.leftovers(folder) + invariants.database_faults(folder / "studies.db")
    numbers = {invariants.identity(one): one.number for one in study.get_trials(deepcopy=False)}
    expected = {invariants.identity(one): one.number for one in whole.get_trials(deepcopy=False)}
    assert faults == []
    assert numbers == expected


def finish(cli: Cli, recorded: Recorded, folder: Path) -> None:
    """Run what is left of a study, check it, and remove it."""
    database = folder / "studies.db"
    answer = cli("study", "run", str(recorded.study_file), "--storage", str(database), *RUN)
    assert answer.code == 0, answer.err
    assert "Traceback" not in answer.err + answer.out
    check(invariants.read_study(str(database)), recorded.study, folder)
    shutil.rmtree(folder)


def spread(moments: Sequence[Moment], count: int) -> list[int]:
    """Indices of so many of them, evenly spread."""
    count = min(int(os.environ.get("CIFAR_TUNE_TEST_MOMENTS", count)), len(moments))
    return [index * len(moments) // count for index in range(count)]


@pytest.mark.long
def test_killed_while_the_tables_are_made(cli: Cli, recorded: Recorded, tmp_path: Path) -> None:
    made = [one for one in recorded.moments if "CREATE TABLE" in one.what]
    assert len(made) > 10
    for moment in (made[0], made[7]):
        copy_storage(moment.folder, moment.folder, tmp_path / "found")
        finish(cli, recorded, tmp_path / "found")


@pytest.mark.long
def test_killed_at_any_moment(cli: Cli, recorded: Recorded, tmp_path: Path) -> None:
    moments = recorded.moments
    assert len(moments) > 60
    for index in spread(moments, RESUMED):
        print("killed at", moments[index].what)  # noqa: T201  (shown where it fails)
        folder = moments[index].folder
        copy_storage(folder, folder, tmp_path / "found")
        finish(cli, recorded, tmp_path / "found")


def moments_apart(recorded: Recorded) -> Iterator[tuple[Moment, Moment]]:
    """An earlier and a later moment, further apart than a flush allows in truth."""
    moments = recorded.moments
    for index in spread(moments, RESUMED // 2):
        earlier, later = moments[index], moments[min(index + APART, len(moments) - 1)]
        print("earlier:", earlier.what, "later:", later.what)  # noqa: T201
        yield earlier, later


@pytest.mark.long
def test_database_behind_the_files(cli: Cli, recorded: Recorded, tmp_path: Path) -> None:
    for earlier, later in moments_apart(recorded):
        copy_storage(earlier.folder, later.folder, tmp_path / "found")
        finish(cli, recorded, tmp_path / "found")


@pytest.mark.long
def test_checkpoints_behind_the_database(cli: Cli, recorded: Recorded, tmp_path: Path) -> None:
    for earlier, later in moments_apart(recorded):
        found = tmp_path / "found" / "studies-checkpoints"
        copy_storage(later.folder, later.folder, found.parent)
        shutil.rmtree(found, ignore_errors=True)
        if (earlier.folder / found.name).is_dir():
            shutil.copytree(earlier.folder / found.name, found, copy_function=os.link)
        finish(cli, recorded, found.parent)


@pytest.mark.long
def test_write_ahead_log_that_was_cut(cli: Cli, recorded: Recorded, tmp_path: Path) -> None:
    middle = recorded.moments[len(recorded.moments) * 2 // 3].folder
    size = (middle / "studies.db-wal").stat().st_size
    assert size > 100_000
    for kept in (0.3, 0.8):
        copy_storage(middle, middle, tmp_path / "found")
        os.truncate(tmp_path / "found" / "studies.db-wal", int(size * kept) + 1)
        finish(cli, recorded, tmp_path / "found")
