"""Training by a graph of the step gives what training call by call gives, to the last bit.

On the CPU the graph is the twin of CUDA's, which minds what that one could not do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from function_graph import FunctionGraph
from torch import Tensor

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.loader import place
from cifar_tune.data.search_data import SearchData
from cifar_tune.errors import NonFiniteLossError, TrainingStopped
from cifar_tune.models.full_map_conv import replace_whole_map_convolutions
from cifar_tune.models.resnet import initialise_model
from cifar_tune.training import step_graph
from cifar_tune.training.callbacks import TrainingCallbacks
from cifar_tune.training.cuda_graph import CudaGraph
from cifar_tune.training.objective import run_trial
from cifar_tune.training.records import TrialFiles, TrialResult
from cifar_tune.training.step_graph import GRAPHS_KEPT, StepGraphs, graphs_of_thread
from cifar_tune.training.trainer import Trainer

CPU = torch.device("cpu")
MakeConfig = Callable[..., TrialConfig]


@pytest.fixture(autouse=True)
def quick_and_exact(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sums in another order are other sums; the twin needs no warming up but to be tested."""
    monkeypatch.setattr(step_graph, "WARM_UP_STEPS", 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make(make_config: MakeConfig) -> MakeConfig:
    """Two epochs of two full batches and one of 6, augmented, with dropout."""

    def config(**settings: Any) -> TrialConfig:
        small = {"train_images": 22, "batch_size": 8, "validation_images": 10}
        plain = {key: settings.pop(key) for key in ("head", "freeze_depth") if key in settings}
        return replace(make_config(**{**small, **settings}), **plain)

    return config


def train(
    config: TrialConfig,
    data: SearchData,
    folder: Path,
    graphs: StepGraphs | None = None,
    steps: int | None = None,
    *,
    keeps_states: bool = False,
) -> tuple[TrialResult, bytes] | None:
    """Train a trial, at most so many steps and validation batches; None if it was cut short."""
    left = [steps]

    def should_stop() -> bool:
        if left[0] is not None:
            left[0] -= 1
        return left[0] == 0

    folder.mkdir(exist_ok=True)
    states = folder / "states" if keeps_states else None
    files = TrialFiles(weights=folder / "weights", checkpoints=states)
    try:
        callbacks = TrainingCallbacks(should_stop=should_stop)
        result = run_trial(config, data, None, CPU, callbacks, files, graphs).result
    except TrainingStopped:
        return None
    epochs = tuple(replace(epoch, seconds=0.0) for epoch in result.epochs)
    return replace(result, epochs=epochs), (folder / "weights").read_bytes()


def twins() -> StepGraphs:
    return StepGraphs(FunctionGraph)


FORMS = {
    "scratch": {},
    "layer1 frozen, batch": {"freeze_depth": 2, "frozen_batch_norm": "batch"},
    "layer1 frozen, running": {"freeze_depth": 2, "frozen_batch_norm": "running"},
    "other heads": {"head": "mlp", "mixup_alpha": 0.4, "cutmix_probability": 0.5},
    "decoupled decay": {
        "sam_radius": 0.1,
        "weight_decay": 0.1,
        "label_smoothing": 0.1,
        "flip_probability": 0.3,
    },
    "averages": {"ema_decay": 0.4, "weight_decay": 0.1, "freeze_depth": 1, "layer_decay": 0.7},
    "sgd": {"optimizer": "sgd", "weight_decay": 0.01, "crop_padding": 4, "warmup_epochs": 1},
    "changed images": {
        "auto_augment": 0.8,
        "erase_size": 0.4,
        "crop_padding": 2,
        "augmentation_off_epochs": 1,
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_a_graph_gives_what_single_calls_give(
    make: MakeConfig, bundled: SearchData, tmp_path: Path, form: str
) -> None:
    graphs = twins()
    first = make(**FORMS[form])
    expected = train(first, bundled, tmp_path / "plain")
    assert train(first, bundled, tmp_path / "graph", graphs) == expected
    # The second trial has the same graph, with other numbers in it.
    numbers = {"dropout_rate": 0.6, "learning_rate": 0.003, "augmentation_strength": 2.0}
    numbers |= {"auto_augment": 0.5, "augmentation_off_epochs": 0} if first.auto_augment else {}
    numbers |= {"ema_decay": 0.2, "layer_decay": 0.5} if first.ema_decay else {}
    numbers |= {"mixup_alpha": 1.0, "cutmix_probability": 0.2} if first.mixes else {}
    second = replace(first, **numbers, seed=8)
    expected = train(second, bundled, tmp_path / "plain")
    assert train(second, bundled, tmp_path / "graph", graphs) == expected
    assert graphs.captured == 1


def test_a_graph_with_no_dropout_no_augmentation_and_no_smaller_batch(
    make: MakeConfig, bundled: SearchData, tmp_path: Path
) -> None:
    graphs = twins()
    for number, settings in enumerate(({"dropout_rate": 0.3}, {"dropout_rate": 0.0})):
        config = make(train_images=16, augmentation_strength=0.0, **settings)
        expected = train(config, bundled, tmp_path / f"plain-{number}")
        assert train(config, bundled, tmp_path / f"graph-{number}", graphs) == expected
    linear = make(train_images=16, head="linear")
    expected = train(linear, bundled, tmp_path / "plain")
    assert train(linear, bundled, tmp_path / "graph", graphs) == expected
    assert graphs.captured == 2


@pytest.mark.parametrize(
    "pieces",
    [
        # 3 steps and 2 validation batches an epoch; a piece ends after so many.
        ("graph 1", "graph 6", "graph"),
        ("graph 3", "plain 1", "graph 3", "plain"),
        ("plain 2", "graph 5", "graph"),
        ("graph 2", "plain"),
    ],
    ids=" ".join,
)
def test_pieces_make_the_same_whole(
    make: MakeConfig, bundled: SearchData, tmp_path: Path, pieces: tuple[str, ...]
) -> None:
    config, graphs, result = make(), twins(), None
    expected = train(config, bundled, tmp_path / "whole")
    for piece in pieces:
        kind, _, steps = piece.partition(" ")
        given = graphs if kind == "graph" else None
        assert result is None
        most = int(steps) if steps else None
        result = train(config, bundled, tmp_path / "pieces", given, most, keeps_states=True)
    assert result == expected


def test_pieces_with_averages_of_mixed_images(
    make: MakeConfig, bundled: SearchData, tmp_path: Path
) -> None:
    config, graphs = make(ema_decay=0.3, mixup_alpha=0.4, epochs=3), twins()
    expected = train(config, bundled, tmp_path / "whole")
    for steps, given in ((2, graphs), (4, None), (3, graphs)):
        assert train(config, bundled, tmp_path / "all", given, steps, keeps_states=True) is None
    assert train(config, bundled, tmp_path / "all", None, keeps_states=True) == expected


def test_graphs_are_shared_by_the_form_of_the_step_alone(
    make: MakeConfig, bundled: SearchData
) -> None:
    graphs = twins()

    def captured_with(**settings: Any) -> int:
        config = make(**{"train_images": 4, "batch_size": 2, **settings})
        model = initialise_model(config, 10)
        split = place(bundled.split(config).train, config, CPU)
        with graphs.training(model, split, config) as graph:
            assert graph is not None
        return graphs.captured

    assert captured_with() == 1
    assert captured_with(seed=8, learning_rate=0.002, dropout_rate=0.0, epochs=3) == 1
    assert captured_with(augmentation_strength=0.0) == 2
    assert captured_with(freeze_depth=1) == 3
    assert captured_with(head="mlp") == 4
    assert captured_with(batch_size=4) == 5
    assert captured_with() == 5
    assert GRAPHS_KEPT == 6
    assert captured_with(freeze_depth=2) == 6
    assert captured_with(freeze_depth=3) == 7
    assert captured_with() == 7  # it was used since
    assert captured_with(augmentation_strength=0.0) == 8  # the oldest was let go
    assert captured_with(ema_decay=0.9) == 9
    assert captured_with(ema_decay=0.99) == 9
    assert captured_with(erase_size=0.4) == captured_with(erase_size=0.5) == 10
    assert captured_with(auto_augment=0.4) == captured_with(auto_augment=0.5) == 11
    assert captured_with(mixup_alpha=0.4) == 12
    assert captured_with(cutmix_probability=1.0) == 12


def test_with_fewer_images_than_a_batch_there_is_nothing_to_replay(
    make: MakeConfig, bundled: SearchData, tmp_path: Path
) -> None:
    graphs, config = twins(), make(train_images=6)
    expected = train(config, bundled, tmp_path / "plain")
    assert train(config, bundled, tmp_path / "graph", graphs) == expected
    assert graphs.captured == 0


def test_a_loss_that_is_not_finite_is_told_of_and_leaves_the_graph_usable(
    make: MakeConfig, bundled: SearchData, tmp_path: Path
) -> None:
    graphs, config = twins(), make()
    with pytest.raises(NonFiniteLossError) as caught:
        train(replace(config, learning_rate=1e38), bundled, tmp_path / "broken", graphs)
    assert (caught.value.epoch, caught.value.step) == (1, 2)
    expected = train(config, bundled, tmp_path / "plain")
    assert train(config, bundled, tmp_path / "graph", graphs) == expected
    assert graphs.captured == 1


def test_memory_that_is_short_lets_idle_graphs_go(
    make: MakeConfig, bundled: SearchData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle, tight, config = twins(), twins(), make(train_images=8, epochs=1)
    expected = train(config, bundled, tmp_path / "plain")
    for graphs in (idle, tight):
        assert train(config, bundled, tmp_path / "graph", graphs) == expected

    def fail(_self: FunctionGraph) -> None:
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patch:
        patch.setattr(FunctionGraph, "replay", fail)
        with pytest.raises(torch.OutOfMemoryError):
            train(config, bundled, tmp_path / "short", tight)
    assert train(config, bundled, tmp_path / "graph", tight) == expected
    assert train(config, bundled, tmp_path / "graph", idle) == expected
    assert (idle.captured, tight.captured) == (2, 2)


def test_only_cuda_has_graphs_of_itself() -> None:
    assert graphs_of_thread(CPU) is None
    assert graphs_of_thread(torch.device("mps")) is None


# --- the twin -----------------------------------------------------------------------------------


def captured(compute: Callable[[Tensor], object]) -> tuple[FunctionGraph, dict[str, Tensor]]:
    statics = {"x": torch.ones(3)}
    graph = FunctionGraph()

    def step() -> None:
        compute(statics["x"])

    graph.capture(step, lambda: statics)
    return graph, statics


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: x.sum().item(),
        lambda x: x.cpu(),
        lambda x: float(x[0]),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.add_(1) if x.any() else None,
        lambda x: torch.masked_select(x, x > 0),
        lambda x: torch.where(x > 0),
    ],
)
def test_the_twin_refuses_what_hands_values_to_the_host(compute: Callable[[Tensor], Any]) -> None:
    with pytest.raises(RuntimeError, match="hands a value to the host"):
        captured(compute)


def test_the_twin_refuses_tensors_that_were_replaced() -> None:
    graph, statics = captured(lambda x: x.mul_(2))
    graph.replay()
    assert statics["x"].tolist() == [4.0] * 3
    statics["x"] = torch.ones(3)
    with pytest.raises(RuntimeError, match="not where it was when it was captured: x"):
        graph.replay()


def test_the_twin_refuses_to_replay_nothing() -> None:
    with pytest.raises(RuntimeError, match="before it was captured"):
        FunctionGraph().replay()


# --- on a GPU -----------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("form", FORMS)
def test_a_cuda_graph_gives_what_single_calls_give(
    make: MakeConfig, bundled: SearchData, form: str
) -> None:
    device = torch.device("cuda", 0)
    graphs = {"cuda": StepGraphs(lambda: CudaGraph(device)), "twin": twins(), "none": None}
    for number, rate in enumerate((0.001, 0.003)):
        config = make(learning_rate=rate, dropout_rate=0.2 + number / 5, **FORMS[form])
        losses = {}
        for kind, given in graphs.items():
            model = initialise_model(config, 10).to(device)
            replace_whole_map_convolutions(model, config.input_size)
            split = bundled.split(config)
            images, validation = (
                place(part, config, device) for part in (split.train, split.validation)
            )
            lent = nullcontext() if given is None else given.training(model, images, config)
            with lent as graph:
                fitted = Trainer(model, config, graph=graph).fit(images, validation)
            losses[kind] = [one.train_loss for one in fitted.epochs]
        assert losses["cuda"] == pytest.approx(losses["twin"], rel=1e-3)
        assert losses["cuda"] == pytest.approx(losses["none"], rel=1e-3)
    assert graphs["cuda"] is not None
    assert graphs["cuda"].captured == 1
