"""What pictures of a trial show, and that to draw them changes no result."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.cifar10 import CLASSES, LabelledImages
from cifar_tune.data.search_data import SearchData, Subset
from cifar_tune.errors import StorageError
from cifar_tune.training.objective import TrainedTrial, run_trial
from cifar_tune.training.pictures import confusion_matrix, learning_curves
from cifar_tune.training.pictures.draw import choose_rows, draw_pictures
from cifar_tune.training.pictures.palette import SEQUENTIAL, TRAINING, VALIDATION
from cifar_tune.training.records import EpochMetrics, TrialFiles, TrialResult

Pixels = npt.NDArray[np.uint8]


def decode(png: bytes) -> Pixels:
    with Image.open(io.BytesIO(png)) as picture:
        assert not {"Software", "Creation Time", "date:create"} & picture.info.keys()
        return np.asarray(picture.convert("RGB"))


def near(pixels: Pixels, colour: str) -> npt.NDArray[np.bool_]:
    """Where a picture has a colour ``#rrggbb``."""
    wanted = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    found: npt.NDArray[np.bool_] = (np.abs(pixels.astype(int) - wanted) < 24).all(axis=-1)
    return found


def test_drawing_changes_no_result(
    make_config: Callable[..., TrialConfig], bundled: SearchData, tmp_path: Path
) -> None:
    def train(name: str, **pictures: Path) -> TrialResult:
        files = TrialFiles(weights=tmp_path / name, **pictures)
        trained = run_trial(make_config(epochs=1), bundled, None, torch.device("cpu"), files=files)
        result = replace(trained.result, note=draw_pictures(trained, name, files))
        return replace(result, epochs=tuple(replace(one, seconds=0.0) for one in result.epochs))

    fields = ("learning_curves", "confusion_matrix", "activation_maps")
    plain = train("plain")
    torch.manual_seed(5)
    before = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype()
    drawn = train("drawn", **{field: tmp_path / field for field in fields})
    assert all((tmp_path / field).stat().st_size > 10_000 for field in fields)
    assert drawn == plain
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.get_default_dtype()) == before[1:]
    assert torch.is_grad_enabled()


def test_drawing_disturbs_no_other_trial_of_the_process(
    make_config: Callable[..., TrialConfig], bundled: SearchData, tmp_path: Path
) -> None:
    """As in the slots of a GPU: a thread draws activation maps while another one trains."""
    cpu, config = torch.device("cpu"), make_config(epochs=1)
    files = TrialFiles(activation_maps=tmp_path / "maps")
    trained = run_trial(config, bundled, None, cpu)
    ended = threading.Event()

    def draw_again_and_again() -> None:
        while not ended.is_set():
            assert draw_pictures(trained, "a", files) is None

    with ThreadPoolExecutor(1) as pool:
        drawing = pool.submit(draw_again_and_again)
        try:
            again = run_trial(config, bundled, None, cpu)
        finally:
            ended.set()
        drawing.result()
    assert np.array_equal(again.logits, trained.logits)
    assert (tmp_path / "maps").stat().st_size > 10_000


# --- what is drawn ------------------------------------------------------------------------------


def epochs(count: int, **values: float) -> list[EpochMetrics]:
    figures = {"train_loss": 1.0, "train_accuracy": 0.2, "val_loss": 2.0, "val_accuracy": 0.8}
    return [EpochMetrics(one, seconds=1.0, **{**figures, **values}) for one in range(1, count + 1)]


@pytest.mark.parametrize("count", [1, 10, 100])
def test_learning_curves_tell_training_from_validation(count: int) -> None:
    pixels = decode(learning_curves.draw_learning_curves(epochs(count), "a", "b"))
    below = pixels[60:]  # the legend
    training, validation = (near(below, colour).nonzero() for colour in (TRAINING, VALIDATION))
    for side in (slice(0, 360), slice(360, 720)):
        heights = [
            np.mean([row for row, column in zip(*found, strict=True) if column in range(720)[side]])
            for found in (training, validation)
        ]
        # Validation is above in accuracy, on the left, and in loss too.
        assert heights[0] - heights[1] > 50


@pytest.mark.parametrize("loss", [math.nan, math.inf, 1e9, 0.0])
def test_learning_curves_of_losses_without_a_scale(loss: float) -> None:
    some = [*epochs(2), *epochs(3, val_loss=loss)[2:]]
    assert decode(learning_curves.draw_learning_curves(some, "$x$ & <b>" * 20, "")).shape[1] == 720


def test_confusion_matrix_has_true_classes_down_and_predicted_across() -> None:
    labels, said = np.array([0, 0, 0, 0, 1]), np.array([1, 1, 1, 1, 1])
    png = confusion_matrix.draw_confusion_matrix(labels, said, ("cat", "dog"), "a", "b")
    pixels = decode(png)[68 : 68 + 320, 122 : 122 + 510]
    dark = near(pixels, SEQUENTIAL[-1][1])
    shares = [[dark[row, column].mean() for column in (slice(0, 255), slice(255, 510))]
              for row in (slice(0, 160), slice(160, 320))]  # fmt: skip
    assert np.array(shares).round().tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("classes", [2, 25, 60, 256])
def test_confusion_matrix_of_any_number_of_classes(classes: int) -> None:
    labels = np.arange(classes)
    names = [f"a class with a long name {label}" for label in labels]
    png = confusion_matrix.draw_confusion_matrix(labels, labels, names, "a", "b")
    assert decode(png).shape == (480, 720, 3)


def test_images_that_are_shown_are_the_first_of_their_classes(
    make_config: Callable[..., TrialConfig], bundled: SearchData
) -> None:
    def choose(classes: tuple[str, ...], labels: list[int], rows: list[int]) -> list[int]:
        images = np.zeros((len(labels), 3, 4, 4), np.uint8)
        pool = LabelledImages(images, np.array(labels, np.uint8))
        return choose_rows(Subset(pool, np.array(rows)), classes)

    assert choose(CLASSES, [8, 3, 8, 3, 0], [4, 3, 2, 1]) == [2, 1]
    assert choose(CLASSES, [3, 0, 1, 0], [3, 2, 0]) == [0, 3]  # no ship
    assert choose(("b", "a"), [1, 1, 0, 0], [3, 2, 1]) == [2, 1]  # no such classes
    assert choose(("a", "b"), [1, 1], [0, 1]) == [0]
    split = bundled.split(make_config()).validation
    shown = choose_rows(split, CLASSES)
    assert [CLASSES[split.pool.labels[row]] for row in shown] == ["ship", "cat"]


def test_a_full_disk_is_not_an_error_of_drawing(
    make_config: Callable[..., TrialConfig], bundled: SearchData, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    split = bundled.split(make_config()).validation
    result = TrialResult(tuple(epochs(1)), False, None)
    logits = np.zeros((50, 10), np.float32)
    trained = TrainedTrial(result, make_config(), CLASSES, split, logits, torch.nn.Identity())
    files = TrialFiles(learning_curves=tmp_path / "file" / "curves")
    with pytest.raises(StorageError, match="cannot be written"):
        draw_pictures(trained, "a", files)
