"""A study that is run once for all tests of this folder, and the model that is exported of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import TINY, Cli


def in_folder(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "cifar_tune", *arguments]
    environment = {**os.environ, "CIFAR_TUNE_WORKERS": "inline"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where a study with four named and two sampled trials of an epoch is stored."""
    folder = tmp_path_factory.mktemp("best")
    in_folder(folder, "study", "run", "dropout", *TINY, "--epochs", "1", "--trials", "2")
    return folder


@pytest.fixture(scope="session")
def once_exported(once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder, once trial 1 was run again on two seeds and exported to ``model``."""
    folder = tmp_path_factory.mktemp("exported") / "all"
    shutil.copytree(once, folder)
    in_folder(folder, "best", "rerun", "dropout", "--trial", "1", "--seeds", "2")
    in_folder(folder, "best", "export", "dropout", "--trial", "1", "--out", "model")
    return folder


@pytest.fixture
def study(cli: Cli, once: Path, tmp_path: Path) -> Cli:
    """The command line, in a folder with that study."""
    shutil.copytree(once, tmp_path, dirs_exist_ok=True)
    return cli


@pytest.fixture
def exported(cli: Cli, once_exported: Path, tmp_path: Path) -> Cli:
    """The command line, in a folder with the exported model too."""
    shutil.copytree(once_exported, tmp_path, dirs_exist_ok=True)
    return cli
