"""One tiny trial that tests do things to, and what it gives when it is left alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import invariants
import optuna
import psutil
import pytest
from command_line import Answer, Cli
from processes import write_study

from cifar_tune.cli.app import main
from cifar_tune.search import costs
from cifar_tune.search.progress import PlainLines

SMALL = ("--set", "train_images=64", "--set", "validation_images=20", "--set", "batch_size=16")


def write_study_file(folder: Path) -> Path:
    """Write a study of a named trial, and two sampled ones whose weights are not kept."""
    path = folder / "kills.toml"
    write_study(path, trials=2, names=("kill/p=0.3",), keep_best=0)
    return path


def command(study_file: Path, database: Path, epochs: int = 1, seeds: int = 1) -> list[str]:
    """The arguments that run the named trial alone.

    Args:
        seeds: its replicates.
    """
    run = ["study", "run", str(study_file), "--storage", str(database)]
    return [*run, "--only", "kill/p=0.3", "--seeds", str(seeds), *SMALL, "--epochs", str(epochs)]


class Quiet:
    """The trial, undisturbed.

    Args:
        folder: for its storage.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = write_study_file(folder)

    def study(self, epochs: int) -> optuna.Study:
        """Its study, with so many epochs."""
        database = self._folder / f"{epochs}.db"
        if not database.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("CIFAR_TUNE_WORKERS", "inline")
                patch.setattr(costs, "MEASURE_SECONDS", 0.1)
                patch.setattr(costs, "STEP_SECONDS_MOST", 0.1)
                with pytest.raises(SystemExit) as end:
                    main(command(self._file, database, epochs))
            assert end.value.code == 0
        return invariants.read_study(str(database))


def said_in_one_line(answer: Answer) -> str:
    """The error of a run that could not go on, after checking its form."""
    assert answer.code == 2, answer.err
    assert "Traceback" not in answer.err + answer.out
    (line,) = answer.err.splitlines()
    assert line.startswith("error: ")
    return line


def expect_equal(database: Path, whole: optuna.Study) -> optuna.FrozenTrial:
    """Check that the one trial is complete as if nothing had happened, and give it."""
    study = invariants.read_study(str(database))
    assert invariants.differences(study, whole) == []
    assert invariants.duplicates(study) == []
    assert invariants.weights_faults(study, database.parent) == []
    assert invariants.weights_differences(study, whole) == []
    assert invariants.leftovers(database.parent) == []
    (trial,) = study.get_trials(deepcopy=False)
    return trial


@contextmanager
def process_that_ends() -> Iterator[None]:
    """Let a run in this process hold its lease as another process would, which is gone after."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psutil, "boot_time", lambda: 0.0)
        yield


def interrupt(cli: Cli, run: list[str], epoch: int) -> None:
    """Run, and press Ctrl-C when so many epochs of a trial have ended."""
    real = PlainLines.epoch_ended

    def epoch_ended(self: PlainLines, number: int, metrics: Any) -> None:
        real(self, number, metrics)
        if metrics.epoch == epoch:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PlainLines, "epoch_ended", epoch_ended)
        answer = cli(*run)
    assert answer.code == 130, answer.err
