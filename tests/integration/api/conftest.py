"""Studies of tiny trials of real images."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from processes import write_study
from told import SMALL

import cifar_tune as ct
from cifar_tune.config.schema import GP, PercentilePruner
from cifar_tune.search import costs
from cifar_tune.workers import train_task


@pytest.fixture(autouse=True)
def quick(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # noqa: ARG001
    """A folder with one study file of tiny trials; nothing of it measures or draws."""
    monkeypatch.setattr(train_task, "draw_pictures", lambda *_: None)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    Path("studies").mkdir()
    write_study(Path("studies/tiny.toml"), trials=2, names=("tiny/p=0.3",), keep_best=1)
    yield
    optuna.logging.set_verbosity(verbosity)


@pytest.fixture
def spec() -> ct.StudySpec:
    return ct.load_study_file("tiny", profile="quick", overrides=SMALL, seeds=1)


@pytest.fixture
def pruned_spec() -> ct.StudySpec:
    """Two epochs, four searched hyperparameters, a Gaussian process and a pruner."""
    spec = ct.load_study_file("joint", profile="quick", overrides={**SMALL, "epochs": 2})
    pruner = PercentilePruner(name="percentile", percentile=50, startup_trials=1, warmup_epochs=0)
    return spec.with_profile(sampler=GP(name="gp", startup_trials=2), pruner=pruner)


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with a named trial and two sampled ones."""
    folder = tmp_path_factory.mktemp("stored")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(costs, "MEASURE_SECONDS", 0.1)
        patch.setattr(costs, "STEP_SECONDS_MOST", 0.1)
        patch.setattr(train_task, "draw_pictures", lambda *_: None)
        write_study(Path("tiny.toml"), trials=2, names=("tiny/p=0.3",), keep_best=1)
        small = ct.load_study_file("tiny.toml", profile="quick", overrides=SMALL, seeds=1)
        assert ct.run_study(small, workers="inline").is_done
    return folder / "storage"


@pytest.fixture
def trained(spec: ct.StudySpec, stored: Path) -> ct.StudySpec:
    shutil.copytree(stored, "storage")
    return spec
