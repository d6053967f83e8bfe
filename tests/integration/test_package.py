"""A wheel works in an environment with no checkout near it: images and study files are inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from places import REPOSITORY

ROOT = REPOSITORY


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(folder), "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_wheel_holds_images_terms_and_studies(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    bundled = {"train.webp", "validation.webp", "test.webp", "manifest.json", "TERMS.md"}
    bundled.add("fingerprints.bin")
    assert {f"cifar_tune/data/bundled/{name}" for name in bundled} <= names
    weights = {"tiny-imagenet-32.safetensors", "TINY_IMAGENET_32.md"}
    assert {f"cifar_tune/models/bundled/{name}" for name in weights} <= names
    studies = {f"cifar_tune/studies/{path.name}" for path in (ROOT / "studies").glob("*.toml")}
    assert studies <= names
    assert not any(name.startswith(("tests/", "storage/")) for name in names)


def test_installed_wheel_runs_a_study_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    install = ["pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, "-m", *install], capture_output=True, check=True)
    command = ["study", "run", "dropout", "--trials", "0", "--epochs", "1", "--json"]
    tiny = ["train_images=32", "validation_images=10", "batch_size=16"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "cifar_tune",
            *command,
            *(part for setting in tiny for part in ("--set", setting)),
        ],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [trial["state"] for trial in json.loads(done.stdout)["trials"]] == ["complete"] * 4
    where = "import cifar_tune; print(cifar_tune.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(str(site))
