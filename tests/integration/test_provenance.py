"""The commit that a trial's record names, as the package is run from a checkout or installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import REPOSITORY

SCRIPT = "from cifar_tune.training.provenance import git_commit; print(git_commit())"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit of this package."""
    folder = tmp_path / "checkout"
    shutil.copytree(
        REPOSITORY / "cifar_tune",
        folder / "cifar_tune",
        ignore=shutil.ignore_patterns("__pycache__", "*.webp", "*.safetensors"),
    )
    (folder / "pyproject.toml").write_text("")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "all")
    return folder


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def named_commit(folder: Path) -> str:
    """What the package in a folder says, in a process whose only ``cifar-tune`` it is."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def install(checkout: Path, site: Path, origin: str) -> None:
    """Put a copy of the package where pip would, with pip's record of where it is from."""
    shutil.copytree(checkout / "cifar_tune", site / "cifar_tune")
    record = site / "cifar_tune-0.1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: cifar-tune\nVersion: 0.1.0\n")
    (record / "direct_url.json").write_text(origin)


def test_a_checkout_names_its_commit(checkout: Path) -> None:
    assert named_commit(checkout) == git(checkout, "rev-parse", "HEAD")


def test_a_copy_that_pip_installed_names_the_commit_of_its_checkout(
    checkout: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    install(checkout, site, f'{{"dir_info": {{}}, "url": "{checkout.as_uri()}"}}')
    commit = git(checkout, "rev-parse", "HEAD")
    assert named_commit(site) == commit
    with (checkout / "cifar_tune" / "paths.py").open("a") as file:
        file.write("# changed since\n")
    assert named_commit(site) == "None"
    shutil.copy(checkout / "cifar_tune" / "paths.py", site / "cifar_tune")
    assert named_commit(site) == f"{commit}-dirty"


def test_what_pip_took_from_a_repository_names_the_commit_that_it_took(
    checkout: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    install(
        checkout, site, '{"vcs_info": {"vcs": "git", "commit_id": "abc"}, "url": "https://x/y"}'
    )
    assert named_commit(site) == "abc"
