"""A trial that was cut short and continued ends as one that never was, to the last bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cifar_tune.config.study_file import find_study_files, load_study_file, resolve
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.search_data import SearchData
from cifar_tune.errors import StorageError, TrainingStopped
from cifar_tune.models.weights import load_weights
from cifar_tune.training.callbacks import TrainingCallbacks
from cifar_tune.training.checkpoints import Position
from cifar_tune.training.objective import run_trial
from cifar_tune.training.records import EpochMetrics, TrialFiles, TrialResult

CPU = torch.device("cpu")
MakeConfig = Callable[..., TrialConfig]
TINY = {
    "train_images": 64,
    "validation_images": 40,
    "batch_size": 32,
    "epochs": 3,
    "cosine_t_max": 3,
}
"""Two training steps and two validation batches an epoch, with a rate that falls to nearly zero."""


def recipes() -> Iterator[tuple[str, TrialConfig]]:
    """Each recipe that a study file has: its named trials, and the corners of its space.

    Of those that differ in a rate alone, the first one stands for the others.
    """
    seen: set[tuple[object, ...]] = set()
    for name in find_study_files():
        loaded = load_study_file(name)
        ranges = loaded.content.space.ranges()
        tiny = {key: value for key, value in TINY.items() if key not in ranges}
        spec = resolve(loaded, "quick", tiny)
        corners = {
            end: spec.config({key: getattr(one, end) for key, one in ranges.items()}, seed=1)
            for end in ("low", "high")
        }
        named = {one.name: spec.named_config(one, seed=1) for one in spec.named}
        for label, config in {**named, **corners}.items():
            kind = (config.freeze_depth, config.frozen_batch_norm, config.head, config.weights)
            kind += (config.augments, config.dropout_rate > 0, config.weight_decay > 0)
            if kind not in seen and (spec.profile.trials or label in named):
                seen.add(kind)
                yield (label if label in named else f"{name}/{label}"), config


RECIPES = dict(recipes())
FOR_ALL = {"augmentation/none", "freeze-depth/5", "joint/high"}
"""Recipes of the assignment's studies that stand for the others where there is little time."""


def is_long(recipe: str) -> bool:
    """Return whether the resume of a recipe is left to long runs: those of the first studies."""
    is_of_searches = recipe.startswith(("beyond", "transfer"))
    return not (is_of_searches or recipe in FOR_ALL)


class Run:
    """One trial in a folder of its own, trained in as many pieces as is asked for."""

    def __init__(self, config: TrialConfig, data: SearchData, folder: Path) -> None:
        self._config = config
        self._data = data
        self._weights = load_weights({config.weights} - {"none"}, Path()).get(config.weights)
        self.files = TrialFiles(
            folder / "weights.safetensors", folder / "predictions.safetensors", folder / "states"
        )
        self.starts: list[tuple[int, int]] = []
        self.refusals: list[str] = []
        self.epochs: list[EpochMetrics] = []

    def go(self, steps: int | None = None, epochs: int | None = None) -> TrialResult | None:
        """Train on, at most so many steps and validation batches; None if it was cut short."""
        left = [steps]

        def should_stop() -> bool:
            if left[0] is not None:
                left[0] -= 1
            return left[0] == 0

        def on_epoch(metrics: EpochMetrics) -> bool:
            self.epochs.append(metrics)
            return metrics.epoch != epochs

        def on_start(position: Position, refusals: Sequence[str]) -> None:
            self.starts.append((position.epochs, position.steps))
            self.refusals = list(refusals)

        try:
            return run_trial(
                self._config,
                self._data,
                self._weights,
                CPU,
                TrainingCallbacks(on_start, on_epoch=on_epoch, should_stop=should_stop),
                self.files,
            ).result
        except TrainingStopped:
            return None

    def states(self) -> list[str]:
        """The names of the checkpoints, sorted."""
        folder = self.files.checkpoints
        assert folder is not None
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def figures(result: TrialResult | None) -> tuple[object, ...]:
    """All of a result but the time it took."""
    assert result is not None
    epochs = [replace(metrics, seconds=0.0) for metrics in result.epochs]
    return epochs, result.pruned, result.kept_sha256


def check_pieces(config: TrialConfig, data: SearchData, folder: Path) -> None:
    whole = Run(config, data, folder / "whole")
    expected = figures(whole.go())
    pieces = Run(config, data, folder / "pieces")
    # After a step of the first epoch; in its validation; after a step of the second.
    for steps in (1, 2, 3):
        assert pieces.go(steps) is None
    assert figures(pieces.go()) == expected
    assert pieces.starts == [(0, 0), (0, 1), (0, 2), (1, 1)]
    for part in ("weights", "predictions"):
        one, other = getattr(whole.files, part), getattr(pieces.files, part)
        assert one.read_bytes() == other.read_bytes()
    # Finished and not recorded: the last epoch is trained again, and all is as it was.
    assert figures(pieces.go()) == expected
    assert pieces.starts[-1] == (config.epochs - 1, 0)


@pytest.mark.parametrize(
    "recipe",
    [pytest.param(recipe, marks=pytest.mark.long if is_long(recipe) else ()) for recipe in RECIPES],
)
def test_pieces_make_the_same_whole(recipe: str, bundled: SearchData, tmp_path: Path) -> None:
    check_pieces(RECIPES[recipe], bundled, tmp_path)


def test_pieces_with_augmented_validation(
    make_config: MakeConfig, bundled: SearchData, tmp_path: Path
) -> None:
    config = replace(make_config(**TINY), augment_validation=True, dropout_rate=0.6)
    check_pieces(replace(config, augmentation_strength=2.0), bundled, tmp_path)


def test_pieces_with_sgd(make_config: MakeConfig, bundled: SearchData, tmp_path: Path) -> None:
    numbers = {"learning_rate": 0.02, "weight_decay": 0.01, "warmup_epochs": 1}
    config = replace(make_config(**TINY), optimizer="sgd", crop_padding=4, **numbers)
    check_pieces(config, bundled, tmp_path)


def test_the_recipes_cover_what_a_state_must_hold() -> None:
    configs = RECIPES.values()
    assert {config.freeze_depth for config in configs} >= {0, 2, 5}
    assert {config.frozen_batch_norm for config in configs} == {"batch", "running"}
    assert {config.head for config in configs} == {"linear", "dropout", "mlp"}
    assert min(config.augmentation_strength for config in configs) == 0
    assert max(config.augmentation_strength for config in configs) > 1
    assert max(config.dropout_rate for config in configs) > 0.5


def test_the_newest_two_states_are_kept_and_a_pruned_trial_keeps_nothing_else(
    make_config: MakeConfig, bundled: SearchData, tmp_path: Path
) -> None:
    run = Run(make_config(epochs=4), bundled, tmp_path)
    result = run.go(epochs=3)
    assert result is not None
    assert result.pruned
    assert run.states() == ["epoch-2-step-0.safetensors", "epoch-3-step-0.safetensors"]
    assert run.files.weights is not None
    assert not run.files.weights.exists()
    # The runner died before it heard of the end: the last epoch is asked about again.
    run.epochs.clear()
    again = run.go(epochs=3)
    assert again == result
    assert [metrics.epoch for metrics in run.epochs] == [1, 2, 3]


@pytest.fixture(scope="module")
def template(
    bundled: SearchData, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrialConfig, Path, tuple[object, ...]]:
    """A trial of three epochs; its folder, when it was cut short in the third; and what it gives
    when nothing happens."""
    spec = resolve(load_study_file("dropout"), "quick", TINY)
    config = replace(spec.named_config(spec.named[0], seed=1), dropout_rate=0.3)
    folder = tmp_path_factory.mktemp("resume")
    assert Run(config, bundled, folder / "cut").go(9) is None
    return config, folder / "cut", figures(Run(config, bundled, folder / "whole").go())


@pytest.fixture
def cut(template: tuple[TrialConfig, Path, object], bundled: SearchData, tmp_path: Path) -> Run:
    """The trial that was cut short, with two states."""
    config, folder, _ = template
    shutil.copytree(folder, tmp_path / "cut")
    run = Run(config, bundled, tmp_path / "cut")
    assert run.states() == ["epoch-2-step-0.safetensors", "epoch-2-step-1.safetensors"]
    return run


@pytest.fixture
def whole(template: tuple[object, object, tuple[object, ...]]) -> tuple[object, ...]:
    """What the same trial gives when nothing happens."""
    return template[2]


def spoil(path: Path, how: str, other: Path) -> None:
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "zeros":
        path.write_bytes(bytes(len(content)))
    elif how == "another trial's":
        shutil.copy(other, path)
    else:
        save_file(load_file(path), path)  # the tensors without what they are


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("flipped", "SHA-256"),
        ("cut", "is damaged"),
        ("empty", "is damaged"),
        ("zeros", "is damaged"),
        ("another trial's", "digest of the trial"),
        ("bare", "is damaged"),
    ],
)
def test_a_bad_state_is_refused_and_the_one_before_it_serves(
    cut: Run,
    whole: tuple[object, ...],
    how: str,
    reason: str,
    make_config: MakeConfig,
    bundled: SearchData,
    tmp_path: Path,
) -> None:
    other = Run(make_config(epochs=3, seed=8), bundled, tmp_path / "other")
    assert other.go(1) is None
    assert cut.files.checkpoints is not None
    assert other.files.checkpoints is not None
    newest = cut.files.checkpoints / "epoch-2-step-1.safetensors"
    spoil(newest, how, other.files.checkpoints / "epoch-0-step-1.safetensors")
    assert figures(cut.go()) == whole
    assert cut.starts == [(2, 0)]
    (refusal,) = cut.refusals
    assert str(newest) in refusal
    assert reason in refusal


def test_with_no_good_state_a_trial_begins_anew_and_says_why(
    cut: Run, whole: tuple[object, ...]
) -> None:
    assert cut.files.checkpoints is not None
    for path in cut.files.checkpoints.iterdir():
        path.write_bytes(b"nonsense")
    assert figures(cut.go()) == whole
    assert cut.starts == [(0, 0)]
    assert len(cut.refusals) == 2


Usage = type(shutil.disk_usage("/"))


class Death(BaseException):
    """The process is gone: no handler of an ``Exception`` hears of it."""


@pytest.mark.parametrize(
    ("where", "call"),
    [
        ("cifar_tune.files.os.fsync", 1),  # of the file: written, not flushed
        ("cifar_tune.files.os.fsync", 2),  # of the folder: renamed
        ("pathlib.Path.replace", 1),  # flushed, not renamed
        ("pathlib.Path.unlink", 1),  # three states, none removed
    ],
)
def test_death_between_the_steps_of_saving(
    cut: Run, whole: tuple[object, ...], where: str, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [0]

    def die(*_arguments: object, **_options: object) -> None:
        calls[0] += 1
        if calls[0] >= call:
            raise Death

    with monkeypatch.context() as patch:
        patch.setattr(where, die)
        with pytest.raises(Death):
            cut.go(1)
    assert calls[0] >= call
    assert figures(cut.go()) == whole
    assert cut.refusals == []
    assert min(cut.starts) >= (2, 1)


def test_a_state_that_cannot_be_written_is_said_and_those_before_it_stay(
    cut: Run, whole: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cut.states()
    with monkeypatch.context() as patch:
        patch.setattr("cifar_tune.files.shutil.disk_usage", lambda _: Usage(1, 1, 0))
        with pytest.raises(StorageError, match="0 MB are free on this disk"):
            cut.go(1)
    assert cut.states() == before
    assert figures(cut.go()) == whole
