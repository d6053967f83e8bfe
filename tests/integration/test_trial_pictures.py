"""Pictures and tables of the trials of a study, as optuna-dashboard and Optuna's API have them."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
import pytest
from command_line import TINY, Cli
from one_trial import command, interrupt, said_in_one_line, write_study_file
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard.artifact._backend import list_trial_artifacts
from PIL import Image

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.bundle import read_bundled
from cifar_tune.data.cifar10 import CLASSES
from cifar_tune.data.search_data import SearchData
from cifar_tune.search import pruners
from cifar_tune.storage import trials
from cifar_tune.storage.studies import best_trial
from cifar_tune.training.pictures import activation_maps, learning_curves
from cifar_tune.training.records import EpochMetrics

CURVES, MATRIX, MAPS, TABLE = (
    "learning-curves.png", "confusion-matrix.png", "activation-maps.png", "metrics.csv",
)  # fmt: skip
SIZES = {CURVES: (720, 400), MATRIX: (720, 480), MAPS: (1008, 456)}
BROKEN = "joint/model-b/seed=1"
"""The trial whose learning curves cannot be drawn in the first test."""
Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def draws_pictures() -> bool:
    """Here they are what is tested."""
    return True


def load(database: str) -> optuna.Study:
    url = f"sqlite:///{database}"
    (name,) = optuna.get_all_study_names(url)
    return optuna.load_study(study_name=name, storage=url)


def contents(study: optuna.Study, trial: FrozenTrial, folder: str) -> dict[str, bytes]:
    """The artifacts of a trial by the names that a browser shows, in its order."""
    store = FileSystemArtifactStore(folder)
    found = {}
    for meta in get_all_artifact_meta(trial, storage=study._storage):
        assert meta.filename not in found, "two of a kind"
        assert meta.mimetype == ("text/csv" if meta.filename == TABLE else "image/png")
        with store.open_reader(meta.artifact_id) as file:
            found[meta.filename] = file.read()
    return found


def decode(png: bytes) -> Pixels:
    with Image.open(io.BytesIO(png)) as picture:
        assert not {"Software", "Creation Time", "date:create"} & picture.info.keys()
        return np.asarray(picture.convert("RGB"))


def test_every_trial_of_a_study_has_its_pictures_and_table(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, bundled: SearchData
) -> None:
    monkeypatch.setattr(
        pruners.CompleteTrials, "should_prune", lambda _self, trial: trial.number == 2
    )
    draw = learning_curves.draw_learning_curves

    def broken(epochs: Any, title: str, remark: str) -> bytes:
        if title == BROKEN:
            raise RuntimeError("no such font\nand more")
        return draw(epochs, title, remark)

    monkeypatch.setattr(learning_curves, "draw_learning_curves", broken)
    run = ["study", "run", "joint", "--storage", "s.db", "--trials", "2", "--epochs", "2", *TINY]
    answer = cli(*run)
    assert answer.code == 0
    said = "trial 1: its learning curves could not be drawn: RuntimeError: no such font"
    assert said in (answer.out + answer.err).splitlines()
    study = load("s.db")
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "COMPLETE", "PRUNED", "COMPLETE"]
    best, count = best_trial(study), 0
    assert best is not None
    best_before = -1.0
    for trial in study.trials:
        found = contents(study, trial, "s-artifacts")
        count += len(found)
        # Of the trials one after another, each that was the best when it ended has maps.
        had_maps = trial.state == TrialState.COMPLETE and (trial.value or 0.0) > best_before
        best_before = max(best_before, trial.value or 0.0) if had_maps else best_before
        is_broken = trial.user_attrs.get("name") == BROKEN
        assert list(found) == [*[CURVES] * (not is_broken), MATRIX, *[MAPS] * had_maps, TABLE]
        for name, size in SIZES.items():
            if name in found:
                pixels = decode(found[name])
                assert (pixels.shape[1], pixels.shape[0]) == size
                assert 0.02 < (pixels.min(axis=-1) < 200).mean() < 0.9  # neither empty nor full
        history = trial.user_attrs["history"]
        rows = list(csv.DictReader(io.StringIO(found[TABLE].decode())))
        assert [{key: float(value) for key, value in row.items()} for row in rows] == history
        assert found[TABLE].startswith(
            b"epoch,train_loss,train_accuracy,val_loss,val_accuracy,seconds\n1,"
        )
        shown = list_trial_artifacts({}, trial.system_attrs, trial)
        assert [one["filename"] for one in shown] == list(found)
    assert len(list(Path("s-artifacts").iterdir())) == count
    assert not Path("s-checkpoints").exists()

    # The two images in the maps are a ship and a cat of those that validated, and no test images.
    pixels = decode(contents(study, best, "s-artifacts")[MAPS])
    split = bundled.split(TrialConfig(**best.user_attrs["config"])).validation.copy()
    tests = read_bundled("test").images
    for row, name in enumerate(("ship", "cat")):
        image = shown_image(pixels, row)
        (place,) = [at for at, one in enumerate(split.images) if np.array_equal(one, image)]
        assert CLASSES[split.labels[place]] == name
        assert not (tests == image).all(axis=(1, 2, 3)).any()


def shown_image(pixels: Pixels, row: int) -> Pixels:
    """The image uint8 [3, 32, 32] in a row of the activation maps."""
    side = activation_maps.CELL
    top = activation_maps.TOP + row * (side + activation_maps.CAPTION)
    left = activation_maps.LEFT
    return pixels[top : top + side : 4, left : left + side : 4].transpose(2, 0, 1)


@pytest.mark.long
def test_a_trial_that_is_continued_has_one_set_with_all_epochs(cli: Cli, tmp_path: Path) -> None:
    file = write_study_file(tmp_path)
    assert cli(*command(file, tmp_path / "whole.db", epochs=2)).code == 0
    interrupt(cli, command(file, tmp_path / "cut.db", epochs=2), epoch=1)
    assert load("cut.db").trials[0].state == TrialState.WAITING
    assert cli(*command(file, tmp_path / "cut.db", epochs=2)).code == 0
    whole, cut = load("whole.db"), load("cut.db")
    expected = contents(whole, whole.trials[0], "whole-artifacts")
    found = contents(cut, cut.trials[0], "cut-artifacts")
    assert found[TABLE].count(b"\n") == 3
    del expected[TABLE], found[TABLE]  # which has seconds
    assert list(expected) == [CURVES, MATRIX, MAPS]
    assert found == expected  # to the byte


def test_a_run_that_ends_before_the_record_leaves_no_second_set(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = command(write_study_file(tmp_path), tmp_path / "s.db")
    folder = tmp_path / "s-artifacts"
    folder.write_text("in the way")
    line = said_in_one_line(cli(*run))
    assert "s-artifacts: is a file, expected a folder or nothing" in line
    assert load("s.db").trials == []
    folder.unlink()

    def end(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trials, "record_complete", end)
        assert cli(*run).code == 130
    assert len(list(folder.iterdir())) == 4
    assert cli(*run).code == 0
    study = load("s.db")
    assert list(contents(study, study.trials[0], "s-artifacts")) == [CURVES, MATRIX, MAPS, TABLE]
    assert len(list(folder.iterdir())) == 4


# --- what is drawn ------------------------------------------------------------------------------


def epochs(count: int, **values: float) -> list[EpochMetrics]:
    figures = {"train_loss": 1.0, "train_accuracy": 0.2, "val_loss": 2.0, "val_accuracy": 0.8}
    return [EpochMetrics(one, seconds=1.0, **{**figures, **values}) for one in range(1, count + 1)]
