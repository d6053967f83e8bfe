"""The activation report: maps, Grad-CAM and what they are said of, against plain torchvision."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import FINETUNE, Compute, find_layer
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import resnet18

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.bundle import read_bundled
from cifar_tune.data.cifar10 import CLASSES
from cifar_tune.errors import InputError, WeightsError
from cifar_tune.evaluation.activations import DEFAULT_LAYERS, compute_activations
from cifar_tune.models.resnet import build_model
from cifar_tune.reports.activation_page import draw_activations
from cifar_tune.reports.blocks import Pictures
from cifar_tune.storage.location import StorageLocation, locate_storage
from cifar_tune.training.pictures.feature_maps import look_into

MODEL_B = "transfer/model-b/seed=1"
ROOT = Path("no-data")


def plain_model(trained: tuple[StorageLocation, str], number: int) -> nn.Module:
    """torchvision's own network with the kept file's tensors."""
    path = trained[0].path
    assert path is not None
    (file,) = path.parent.rglob(f"trial-{number}.safetensors")
    state = load_file(file)
    model: nn.Module = resnet18()
    head = nn.Sequential(
        nn.Linear(512, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, len(CLASSES))
    )
    model.fc = nn.Linear(512, len(CLASSES)) if "fc.weight" in state else head
    model.load_state_dict(state)
    return model.eval()


def as_input(index: int) -> Tensor:
    """A test image as the quick profile normalises it, [1, 3, 32, 32]."""
    image = torch.from_numpy(read_bundled("test").images[index].copy())[None]
    return (image.float() / 255 - 0.5) / 0.5


def record_outputs(model: nn.Module, names: tuple[str, ...], image: Tensor) -> dict[str, Tensor]:
    """What the modules gave, copied before anything could write over it."""
    found = {}
    for name in names:
        model.get_submodule(name).register_forward_hook(
            lambda _module, _input, output, name=name: found.update({name: output.clone()})
        )
    with torch.no_grad():
        found["logits"] = model(image)
    return {name: value[0] for name, value in found.items()}


def test_maps_and_probabilities_are_those_of_a_plain_resnet(
    trained: tuple[StorageLocation, str], compute: Compute
) -> None:
    # The network writes over the output of a batch norm, by ReLU and by the shortcut's addition.
    asked = ("bn1", "layer1.0.bn2", "layer2.0.downsample.0", "layer4")
    record = compute(images=("8",), layers=(*asked, "conv1"))
    assert record.layers == (*DEFAULT_LAYERS, *asked)
    names = (*record.layers, "layer1.0.bn1", "layer1.0")
    found = record_outputs(plain_model(trained, 0), names, as_input(8))
    for layer in record.layers:
        expected = found[layer].numpy()
        np.testing.assert_allclose(find_layer(record, layer).maps, expected, atol=2e-4)
    order = found["logits"].softmax(dim=0).sort(descending=True)
    top = record.images[0].top
    assert [name for name, _ in top] == [CLASSES[label] for label in order.indices[:3]]
    assert [value for _, value in top] == pytest.approx(order.values[:3].tolist(), rel=2e-3)


def test_active_share_is_measured_after_the_next_relu(
    trained: tuple[StorageLocation, str], compute: Compute
) -> None:
    layers = ("layer1.0.bn2", "layer1.0", "maxpool")
    record = compute(images=("8",), layers=layers)
    inside = ("bn1", "layer1.0.bn1", "layer1", "layer1.0", "maxpool")
    found = record_outputs(plain_model(trained, 0), inside, as_input(8))
    measured_at = {
        "conv1": ("bn1", ("bn1", "relu")),
        "layer1.0.conv1": ("layer1.0.bn1", ("layer1.0.bn1", "layer1.0.relu")),
        "layer1.1.conv2": ("layer1", ("layer1.1.bn2", "layer1.1.add", "layer1.1.relu_1")),
        "layer1.0.bn2": ("layer1.0", ("layer1.0.add", "layer1.0.relu_1")),
        "layer1.0": ("layer1.0", ()),
        "maxpool": ("maxpool", ()),
    }
    for layer, (module, passed) in measured_at.items():
        values, stats = found[module].relu(), find_layer(record, layer).stats
        assert stats.passed == passed
        assert (stats.channels, stats.height, stats.width) == tuple(values.shape)
        assert stats.active_fraction == pytest.approx(float((values > 0).float().mean()), abs=1e-3)
        assert stats.mean_active == pytest.approx(float(values[values > 0].mean()), rel=2e-3)
        assert stats.maximum == pytest.approx(float(values.max()), rel=2e-3)
        assert stats.silent_channels == int((values.amax(dim=(1, 2)) == 0).sum())


@pytest.mark.parametrize("number", [0, 1], ids=["nothing frozen", "all but the head frozen"])
def test_grad_cam_is_the_published_formula(
    trained: tuple[StorageLocation, str], compute: Compute, number: int
) -> None:
    record = compute(str(number), ("8",))
    assert record.name == (FINETUNE, MODEL_B)[number]
    assert (record.grad_cam.layer, record.grad_cam.size) == ("layer2", 4)
    model = plain_model(trained, number)
    kept: dict[str, Tensor] = {}
    model.layer2.register_forward_hook(lambda *call: kept.update(maps=call[2]))  # type: ignore[union-attr]
    logits = model(as_input(8))[0]
    (slopes,) = torch.autograd.grad(logits.max(), kept["maps"])
    weights = slopes.mean(dim=(2, 3), keepdim=True)
    expected = (weights * kept["maps"]).sum(dim=1)[0].relu().detach().numpy()
    assert expected.any()
    np.testing.assert_allclose(record.images[0].grad_cam, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "layer", "sides"),
    [(224, "layer4", (56, 28, 14, 7)), (64, "layer3", (16, 8, 4, 2)), (8, "layer1", (2, 1, 1, 1))],
)
def test_grad_cam_is_of_the_deepest_layer_that_can_tell_places_apart(
    make_config: Callable[..., TrialConfig], size: int, layer: str, sides: tuple[int, ...]
) -> None:
    config = make_config(input_size=max(size, 32))
    if size < 32:
        config = TrialConfig(**{**vars(config), "input_size": size})
    chosen = look_into(build_model(config, 10), (), config).grad_cam
    assert (chosen.layer, chosen.sizes) == (layer, sides)


def test_unless_told_the_first_ship_and_cat_are_shown_to_the_best_trial(
    trained: tuple[StorageLocation, str], compute: Compute
) -> None:
    record = compute(None)
    labels = read_bundled("test").labels
    firsts = [int(np.flatnonzero(labels == CLASSES.index(name))[0]) for name in ("ship", "cat")]
    assert [one.test_index for one in record.images] == firsts
    assert [one.label for one in record.images] == ["ship", "cat"]
    with closing(sqlite3.connect(str(trained[0].path))) as database:
        values = dict(database.execute("SELECT trial_id - 1, value FROM trial_values"))
    assert record.trial == max(values, key=lambda number: (values[number], -number))
    assert record.val_accuracy == max(values.values())


def test_an_image_by_path_gives_what_it_gives_by_index(compute: Compute, tmp_path: Path) -> None:
    pixels = read_bundled("test").images[8].transpose(1, 2, 0)
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    Image.fromarray(pixels).resize((96, 64), Image.Resampling.NEAREST).save(tmp_path / "large.gif")
    mine, large = str(tmp_path / "mine.png"), str(tmp_path / "large.gif")
    record = compute(images=(mine, "8", "008", large, "8"))
    by_path, by_index, resized = record.images
    assert (by_path.source, by_path.label, by_path.test_index) == (mine, None, None)
    assert (by_path.pixels == by_index.pixels).all()
    assert by_path.top == by_index.top
    assert (by_path.grad_cam == by_index.grad_cam).all()
    assert (by_path.layers[0].maps == by_index.layers[0].maps).all()
    assert resized.pixels.shape == (32, 32, 3)
    assert resized.note == "made RGB, resized and cropped to 32 x 32"
    page = draw_activations(record, "again")
    (inputs,) = (
        block for block in page.blocks if isinstance(block, Pictures) and block.id == "inputs"
    )
    assert inputs.tiles[0].title == mine
    assert len(inputs.tiles) == 2 * len(record.images)


def test_what_cannot_be_shown(compute: Compute, tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    for images, layers, said in (
        (("1000",), (), "test image 1000: images bundled have no such; expected 0 to 999"),
        (("9" * 30,), (), "9: there is no such file; a test image is named by its index"),
        (("missing.png",), (), "missing.png: there is no such file"),
        ((str(text),), (), "text.png: cannot be read as an image"),
        ((str(tmp_path),), (), "is not a file"),
        ((), ("layer1.2.conv1",), "did you mean layer1.1.conv1 or"),
        ((), ("nothing",), "its convolutions are conv1, layer1.0.conv1, layer1.0.conv2"),
        ((), ("layer1.*",), "is not in the network"),
        ((), ("",), "layer '': is not in the network"),
        ((), ("fc",), "layer fc: gives no map"),
        ((), ("flatten",), "layer flatten: gives no map"),
    ):
        with pytest.raises(InputError, match=re.escape(said)) as raised:
            compute(images=images, layers=layers)
        assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="has no complete trial 'transfer/scratch/seed=1'"):
        compute("transfer/scratch/seed=1")


def test_a_trial_whose_weights_were_not_kept(
    trained: tuple[StorageLocation, str], tmp_path: Path
) -> None:
    source, study = trained
    assert source.path is not None
    folder = shutil.copytree(source.path.parent, tmp_path / "copy")
    there = locate_storage(str(folder / "s.db"))

    def forget(number: int) -> None:
        with closing(sqlite3.connect(folder / "s.db")) as database, database:
            database.execute(
                "DELETE FROM trial_user_attributes WHERE key = 'kept_weights_sha256' AND trial_id ="
                " (SELECT trial_id FROM trials WHERE number = ?)",
                (number,),
            )

    forget(0)
    assert compute_activations(there, study, None, (), (), ROOT).trial == 1
    with pytest.raises(WeightsError, match=f"keep_weights .* kept are those of: {MODEL_B}"):
        compute_activations(there, study, FINETUNE, (), (), ROOT)
    forget(1)
    with pytest.raises(WeightsError, match=r'no complete trial .* keep_weights = "named"'):
        compute_activations(there, study, None, (), (), ROOT)
    with pytest.raises(InputError, match="study other is not stored"):
        compute_activations(there, "other", None, (), (), ROOT)


def test_what_freezing_keeps_fixed(compute: Compute) -> None:
    model = resnet18(num_classes=10)
    record = compute(MODEL_B, ("8",), ("layer3.0.conv1", "maxpool", "avgpool"))
    stages = [model.conv1, model.bn1, model.layer1, model.layer2, model.layer3, model.layer4]
    sizes = [sum(one.numel() for one in stage.parameters()) for stage in stages]
    fixed = {1: sum(sizes[:2]), 2: sum(sizes[:3]), 4: sum(sizes[:5]), 5: sum(sizes)}
    facts = {one.layer: one for one in record.freezes}
    depths = {layer: one.depth for layer, one in facts.items()}
    assert depths == {
        "conv1": 1,
        "layer1.0.conv1": 2,
        "layer1.1.conv2": 2,
        "layer3.0.conv1": 4,
        "maxpool": 1,
        "avgpool": 5,
    }
    for one in record.freezes:
        assert one.is_frozen
        assert one.fixed_parameters == fixed[one.depth]
        assert one.fixed_share == pytest.approx(fixed[one.depth] / record.parameters, rel=1e-3)
        assert one.batch_norms == {1: 1, 2: 5, 4: 15, 5: 20}[one.depth]
    assert facts["conv1"].parameters == 64 * 3 * 7 * 7
    assert facts["maxpool"].parameters == 0
    assert record.parameters == sum(sizes) + 512 * 256 + 256 + 256 * 10 + 10
    assert not any(one.is_frozen for one in compute(FINETUNE, ("8",)).freezes)
