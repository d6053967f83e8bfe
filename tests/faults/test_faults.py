"""Disks that are full and checkpoints that are damaged: one clear line, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import invariants
import pytest
from command_line import Cli
from one_trial import Quiet, command, expect_equal, interrupt, process_that_ends, said_in_one_line
from optuna.trial import TrialState
from processes import Runner

from cifar_tune import files
from cifar_tune.search import runner
from cifar_tune.training import objective

# --- disks --------------------------------------------------------------------------------------


class Disk:
    """A file system in memory, of a size that can be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "studies.db"

    def mount(self, megabytes: int) -> None:
        """Make it."""
        self.folder.mkdir()
        self._run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(self.folder))

    def resize(self, megabytes: int) -> None:
        """Give it another size."""
        self._run("mount", "-o", f"remount,size={megabytes}m", str(self.folder))

    def unmount(self) -> None:
        """Take it away."""
        self._run("umount", "--lazy", str(self.folder))  # Optuna keeps its connections open

    def fill(self) -> None:
        """Fill it to the last byte."""
        with (self.folder / "ballast").open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                while self._has_room(file, size):
                    pass

    def empty(self) -> None:
        """Take out what ``fill`` has put in."""
        (self.folder / "ballast").unlink()

    @staticmethod
    def _has_room(file: Any, size: int) -> bool:
        try:
            return bool(file.write(bytes(size)) == size)
        except OSError:
            return False

    @staticmethod
    def _run(*arguments: str) -> None:
        if shutil.which(arguments[0]) is None:
            pytest.skip(f"{arguments[0]} is not installed")
        if subprocess.run(arguments, capture_output=True, check=False).returncode != 0:
            pytest.skip("mounting a small file system is not allowed here")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A file system that has room for weights (45 MB), but not for a checkpoint (51 MB)."""
    made = Disk(tmp_path / "disk")
    made.mount(megabytes=47)
    yield made
    made.unmount()


def test_disk_too_small_for_a_checkpoint(
    cli: Cli, study_file: Path, disk: Disk, quiet: Quiet
) -> None:
    run = command(study_file, disk.database, epochs=2)
    with pytest.MonkeyPatch.context() as patch:  # the disk fills up while it is written
        patch.setattr(files, "check_disk_space", lambda *_: None)
        lines = [said_in_one_line(cli(*run))]
    lines.append(said_in_one_line(cli(*run)))
    assert all(f"error: trial 0: {disk.folder}" in line for line in lines)
    assert "cannot be written: " in lines[0]
    assert "MB are needed" in lines[1]
    (trial,) = invariants.read_study(str(disk.database)).trials
    assert trial.state == TrialState.WAITING
    assert invariants.leftovers(disk.folder, ["*.part", "*.staged"]) == []
    disk.resize(megabytes=500)
    assert cli(*run).code == 0
    trial = expect_equal(disk.database, quiet.study(2))
    assert {one["why"] for one in trial.user_attrs["restarts"]} == {"the run had ended"}


@pytest.mark.long
def test_disk_too_small_for_the_weights_of_a_finished_trial(
    cli: Cli, study_file: Path, disk: Disk, quiet: Quiet
) -> None:
    disk.resize(megabytes=40)
    run = command(study_file, disk.database)
    with pytest.MonkeyPatch.context() as patch:  # there was room enough when the run began
        patch.setattr(runner, "check_disk_space", lambda *_: None)
        line = said_in_one_line(cli(*run))
    assert "MB are needed" in line
    assert "weights" in line
    disk.resize(megabytes=500)
    assert cli(*run).code == 0
    (restart,) = expect_equal(disk.database, quiet.study(1)).user_attrs["restarts"]
    assert (restart["epochs"], restart["steps"]) == (0, 0)  # only its last epoch is lost


@pytest.mark.long
@pytest.mark.parametrize("what", ["predictions", "record"])
def test_disk_that_fills_up_once_the_weights_are_written(
    cli: Cli,
    study_file: Path,
    disk: Disk,
    quiet: Quiet,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    disk.resize(megabytes=200)
    run = command(study_file, disk.database)
    filled_after = "save_model" if what == "predictions" else "save_predictions"
    real = getattr(objective, filled_after)

    def save_and_fill(*arguments: Any) -> Any:
        done = real(*arguments)
        disk.fill()
        return done

    with monkeypatch.context() as patch, process_that_ends():
        patch.setattr(objective, filled_after, save_and_fill)
        line = said_in_one_line(cli(*run))
    assert "disk" in line
    disk.empty()
    assert cli(*run).code == 0
    expect_equal(disk.database, quiet.study(1))


@pytest.mark.long
def test_disk_that_fills_up_under_a_worker_process(
    cli: Cli, study_file: Path, disk: Disk, quiet: Quiet
) -> None:
    disk.resize(megabytes=800)
    run = command(study_file, disk.database, epochs=3)
    runner = Runner(study_file.parent, *run, "--workers", "1")
    assert runner.wait_for_line("epoch 1/3"), runner.text
    disk.fill()
    assert runner.end() == 2, runner.text
    assert "Traceback" not in runner.text
    (line,) = [line for line in runner.lines if line.startswith("error: ")]
    assert "the disk is full" in line or "MB are needed" in line
    disk.empty()
    assert cli(*run).code == 0
    trial = expect_equal(disk.database, quiet.study(3))
    assert "died" not in str(trial.user_attrs["restarts"])


# --- checkpoints --------------------------------------------------------------------------------


def checkpoints_of(database: Path) -> list[Path]:
    """The two checkpoints of a trial that was stopped in its third epoch, the newest first."""
    found = database.with_name(f"{database.stem}-checkpoints").glob("*/trial-0/*.safetensors")
    newest, older = sorted(found, reverse=True)  # epoch-E-step-S
    return [newest, older]


def flip_bytes(path: Path) -> None:
    """Change a few bytes in the middle of a file."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        before = file.read(16)
        file.seek(-16, os.SEEK_CUR)
        file.write(bytes(255 - byte for byte in before))


def blank(path: Path) -> None:
    """Let a file be all zeros, as some file systems leave it when the power fails."""
    path.write_bytes(bytes(path.stat().st_size))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the storage of a trial that was stopped in its third epoch; empty yet."""
    return tmp_path_factory.mktemp("stopped") / "storage"


def stop_in_third_epoch(cli: Cli, study_file: Path, stopped: Path, place: Path) -> Path:
    """Put the storage of a trial that was stopped there into a folder; the database."""
    if not stopped.exists():
        interrupt(cli, command(study_file, stopped / "studies.db", epochs=3), epoch=2)
    shutil.copytree(stopped, place)
    return place / "studies.db"


@pytest.mark.long
@pytest.mark.parametrize("damage", [flip_bytes, blank, None], ids=["flipped", "blank", "foreign"])
def test_checkpoint_that_cannot_be_used(
    cli: Cli,
    study_file: Path,
    stopped: Path,
    tmp_path: Path,
    quiet: Quiet,
    damage: Callable[[Path], None] | None,
) -> None:
    database = stop_in_third_epoch(cli, study_file, stopped, tmp_path / "mine")
    newest, _ = checkpoints_of(database)
    if damage is not None:
        damage(newest)
    else:
        other = tmp_path / "other" / "studies.db"
        interrupt(cli, command(study_file, other, epochs=4), epoch=2)
        shutil.copyfile(checkpoints_of(other)[0], newest)
    answer = cli(*command(study_file, database, epochs=3))
    assert answer.code == 0, answer.err
    assert f"trial 0: checkpoint not used: {newest}: is damaged or of another trial" in answer.out
    (restart,) = expect_equal(database, quiet.study(3)).user_attrs["restarts"]
    assert (restart["epochs"], restart["steps"]) == (2, 0)
    assert "from" not in restart


@pytest.mark.long
def test_no_checkpoint_that_can_be_used(
    cli: Cli, study_file: Path, stopped: Path, tmp_path: Path, quiet: Quiet
) -> None:
    database = stop_in_third_epoch(cli, study_file, stopped, tmp_path / "mine")
    newest, older = checkpoints_of(database)
    flip_bytes(newest)
    os.truncate(older, older.stat().st_size // 2)
    answer = cli(*command(study_file, database, epochs=3))
    assert answer.code == 0, answer.err
    assert answer.out.count("checkpoint not used") == 2
    (restart,) = expect_equal(database, quiet.study(3)).user_attrs["restarts"]
    assert (restart["epochs"], restart["steps"]) == (0, 0)
    assert restart["from"] == "the beginning: no checkpoint could be used"
