"""Activations of a model of a person's own images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from command_line import Cli
from PIL import Image

from cifar_tune.data.bundle import read_bundled
from cifar_tune.evaluation.activations import compute_activations
from cifar_tune.storage.location import locate_storage


def test_own_images_of_other_classes(cli: Cli, tmp_path: Path) -> None:
    for split, count in (("train", 20), ("validation", 5), ("test", 3)):
        part = read_bundled(split)
        for label, name in enumerate(("oak", "pine", "yew")):
            folder = tmp_path / "trees" / split / name
            folder.mkdir(parents=True)
            for row in np.flatnonzero(part.labels == label)[:count]:
                picture = Image.fromarray(part.images[row].transpose(1, 2, 0))
                picture.resize((40, 40)).save(folder / f"{row:05}.png")
    assert cli("data", "import", "trees", "--name", "trees", "--size", "40").code == 0
    own = ("data=trees", "input_size=40", "train_images=60", "validation_images=15")
    # The weights in the package were made for 32 pixels.
    settings = [part for one in (*own, "weights=none") for part in ("--set", one)]
    scratch = ("--only", "transfer/scratch", "--epochs", "1")
    ran = cli("study", "run", "transfer", *scratch, *settings, "--json")
    assert ran.code == 0, ran.err
    place = (locate_storage(None), ran.record["study_name"], None)
    file = next((tmp_path / "trees" / "train" / "yew").iterdir())
    record = compute_activations(*place, (), (), tmp_path / "no-data")
    assert [one.label for one in record.images] == ["oak", "pine"]
    by_path = compute_activations(*place, (str(file),), (), tmp_path / "no-data").images[0]
    assert by_path.pixels.shape == (40, 40, 3)
    assert {name for name, _ in by_path.top} == {"oak", "pine", "yew"}
