"""Image sets of the user's own are imported under a name and used by a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from command_line import Cli
from PIL import Image

from cifar_tune.data.search_data import SearchData

RUN = ("study", "run", "final", "--seeds", "1", "--epochs", "1", "--set", "batch_size=16")
SMALL = ("--set", "train_images=48", "--set", "validation_images=12")


@pytest.fixture
def flowers(tmp_path: Path, bundled: SearchData) -> Path:
    """A folder of three classes, 20 images each to train on and 5 to validate, 48 x 40 pixels."""
    for split, first, count in (("train", 0, 20), ("validation", 20, 5)):
        for label, name in enumerate(("daisy", "rose", "tulip")):
            folder = tmp_path / "flowers" / split / name
            folder.mkdir(parents=True)
            rows = np.flatnonzero(bundled.train.labels == label)[first : first + count]
            for row in rows:
                picture = Image.fromarray(bundled.train.images[row].transpose(1, 2, 0))
                picture.resize((48, 40)).save(folder / f"{row}.png")
    return tmp_path / "flowers"


def stored_trial(name: str) -> optuna.trial.FrozenTrial:
    (trial,) = optuna.load_study(study_name=name, storage="sqlite:///storage/cifar-tune.db").trials
    return trial


def test_a_study_of_three_classes(cli: Cli, flowers: Path) -> None:
    answer = cli("data", "import", str(flowers), "--name", "flowers")
    assert answer.code == 0, answer.err
    assert "flowers: train 60, validation 15" in answer.out
    (row,) = cli("data", "status", "--json").record["imported"]
    assert (row["name"], row["classes"], row["size"]) == ("flowers", 3, 32)

    settings = ("--set", "data=flowers", *SMALL)
    fixed = cli(*RUN, *settings, "--set", "split=fixed", "--json").record
    plain = cli(*RUN, *settings, "--set", "split=stratified", "--json").record
    trials = [stored_trial(record["study_name"]) for record in (fixed, plain)]
    for trial in trials:
        assert trial.state.name == "COMPLETE"
        assert set(trial.user_attrs["facts"]["data_digests"]) == {
            f"{split} {kind}" for split in ("train", "validation") for kind in ("images", "labels")
        }
    digests = {trial.user_attrs["facts"]["split_sha256"] for trial in trials}
    assert len(digests) == 2


def test_images_of_another_size(cli: Cli, flowers: Path) -> None:
    assert cli("data", "import", str(flowers), "--name", "large", "--size", "40").code == 0
    settings: tuple[Any, ...] = ("--set", "data=large", "--set", "split=plain", *SMALL)
    answer = cli(*RUN, *settings)
    assert answer.code == 2
    assert "images large: input_size = 32: expected at least 40, their own size" in answer.err
    assert cli(*RUN, *settings, "--set", "input_size=40").code == 0


def test_too_few_images_are_named_before_anything_is_written(cli: Cli, flowers: Path) -> None:
    cli("data", "import", str(flowers), "--name", "flowers")
    answer = cli(*RUN, "--set", "data=flowers", "--set", "split=plain")
    assert answer.code == 2
    assert "train_images + validation_images = 6000: expected at most 60" in answer.err
    assert not Path("storage").exists()


def test_another_set_under_the_same_name_is_another_study(cli: Cli, flowers: Path) -> None:
    cli("data", "import", str(flowers), "--name", "flowers")
    run = (*RUN, "--set", "data=flowers", "--set", "split=fixed", *SMALL)
    assert cli(*run).code == 0
    next(flowers.rglob("train/rose/*.png")).unlink()
    cli("data", "import", str(flowers), "--name", "flowers")
    answer = cli(*run)
    assert answer.code == 2
    assert "data_digests.train images is" in answer.err


def test_a_name_that_was_not_imported(cli: Cli) -> None:
    answer = cli(*RUN, "--set", "data=roses", "--set", "split=plain")
    assert answer.code == 2
    assert "there are no images called roses" in answer.err
    assert "cifar-tune data import PATH --name roses" in answer.err
