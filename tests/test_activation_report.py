"""The activation report: maps, Grad-CAM and what they are said of, against plain torchvision."""

from __future__ import annotations

import io
import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Cli
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import resnet18

from cifar_tune import bench
from cifar_tune.cli import main
from cifar_tune.data.bundle import read_bundled
from cifar_tune.data.cifar10 import CLASSES
from cifar_tune.errors import InputError, WeightsError
from cifar_tune.ledger import read_ledger
from cifar_tune.model import build_model
from cifar_tune.records import TrialConfig
from cifar_tune.reports.activation_page import csv_rows, draw_activations, record_json
from cifar_tune.reports.activation_pictures import paint_grad_cam, paint_maps, shown_channels
from cifar_tune.reports.activation_record import ActivationRecord, LayerView
from cifar_tune.reports.activations import DEFAULT_LAYERS, compute_activations
from cifar_tune.reports.blocks import Page, Pictures, Table
from cifar_tune.reports.feature_maps import look_into
from cifar_tune.storage import open_to_read
from cifar_tune.storage_location import StorageLocation, locate_storage

FINETUNE, MODEL_B = "transfer/finetune/seed=1", "transfer/model-b/seed=1"
ONLY = ("--only", "transfer/finetune", "--only", "transfer/model-b")
ROOT = Path("no-data")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[StorageLocation, str]:
    """Two tiny trials with kept weights: where they are stored, and their study."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(bench, "MEASURE_SECONDS", 0.1)
        patch.setattr(bench, "STEP_SECONDS_MOST", 0.1)
        command = ["study", "run", "transfer", "--storage", "s.db", *ONLY, "--epochs", "1", *TINY]
        with pytest.raises(SystemExit) as end:
            main(command)
    assert end.value.code == 0
    (weights,) = (folder / "s-weights").iterdir()
    with closing(sqlite3.connect(folder / "s.db")) as database:
        ((name,),) = database.execute("SELECT study_name FROM studies")
    assert len(list(weights.iterdir())) == 2
    return locate_storage(str(folder / "s.db")), name


Compute = Callable[..., ActivationRecord]


@pytest.fixture
def compute(trained: tuple[StorageLocation, str]) -> Compute:
    def run(
        trial: str | None = FINETUNE, images: tuple[str, ...] = (), layers: tuple[str, ...] = ()
    ) -> ActivationRecord:
        return compute_activations(*trained, trial, images, layers, ROOT)

    return run


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


def find_layer(record: ActivationRecord, layer: str, image: int = 0) -> LayerView:
    return next(one for one in record.images[image].layers if one.layer == layer)


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
    assert resized.note == "resized and cropped to 32 x 32 pixels, made RGB"
    page = draw_activations(record, "again")
    assert mine in [section.title for section in page.sections]


def test_what_cannot_be_shown(compute: Compute, tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    for images, layers, said in (
        (("1000",), (), "test image 1000: images bundled have no such; expected 0 to 999"),
        (("9" * 30,), (), "9: cannot be read as an image: it is not there"),
        (("missing.png",), (), "missing.png: cannot be read as an image: it is not there"),
        ((str(text),), (), "text.png: cannot be read as an image"),
        ((str(tmp_path),), (), "cannot be read as an image"),
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


def pictures(page: Page) -> dict[str, Pictures]:
    blocks = [block for section in page.sections for block in section.blocks]
    return {block.id: block for block in blocks if isinstance(block, Pictures)}


def pixels_of(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_a_mosaic_has_every_map_from_dark_to_light(compute: Compute) -> None:
    record = compute(images=("8",), layers=("layer2.0.conv1", "layer4"))
    for layer, channels in (("conv1", 64), ("layer2.0.conv1", 128)):
        view = find_layer(record, layer)
        png, width = paint_maps(view)
        mosaic = pixels_of(png)
        assert mosaic.shape == (width, width, 3) == (8 * 34 + 2, 274, 3)
        assert (mosaic[::34] == 128).all()
        shown = shown_channels(view)
        assert len(shown) == 64
        for place, channel in enumerate(shown):
            top, left = 2 + place // 8 * 34, 2 + place % 8 * 34
            cell = mosaic[top : top + 32, left : left + 32]
            one, step = view.maps[channel], 32 // view.stats.height
            darkest, lightest = (
                np.multiply(np.unravel_index(at, one.shape), step)
                for at in (one.argmin(), one.argmax())
            )
            assert tuple(cell[tuple(darkest)]) == (68, 1, 84)
            assert tuple(cell[tuple(lightest)]) == (253, 231, 37)
        left_out = set(range(channels)) - set(shown)
        assert all(view.activity[one] <= view.activity[list(shown)].min() for one in left_out)
    page = draw_activations(record, "again")
    assert "the 64 of 128 channels" in pictures(page)["image-1-layer2.0.conv1"].caption
    assert "all are scaled together" in pictures(page)["image-1-layer4"].caption


def test_grad_cam_colours_only_where_something_speaks_for_the_class() -> None:
    pixels = read_bundled("test").images[8].transpose(1, 2, 0)
    grey = pixels_of(paint_grad_cam(pixels, np.zeros((4, 4), np.float32)))
    assert grey.shape == (256, 256, 3)
    assert (grey[..., 0] == grey[..., 2]).all()
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 3
    drawn = pixels_of(paint_grad_cam(pixels, heat)).astype(int)
    assert (drawn[128:, 128:] == grey[128:, 128:]).all()
    # Yellow at its strongest: much more red than blue.
    assert drawn[0, 0, 0] - drawn[0, 0, 2] > 100


def test_the_page_says_what_was_done_and_is_the_same_each_time(
    trained: tuple[StorageLocation, str], compute: Compute
) -> None:
    record = compute()
    page = draw_activations(record, "cifar-tune report activations transfer")
    assert page == draw_activations(compute(), "cifar-tune report activations transfer")
    text = repr([section for section in page.sections if section.id != "active"])
    assert "Two test images are shown, no accuracy was measured on them" in text
    assert "conv1_conv, conv2_block1_1_conv and conv2_block2_3_conv" in text
    assert "layer1 8 x 8, layer2 4 x 4, layer3 2 x 2, layer4 1 x 1" in text
    assert "running averages, which are no parameters, go on moving" in text
    assert "this is a quick run: 64 training images, 1 epoch." in page.warning
    tables = [one for part in page.sections for one in part.blocks if isinstance(one, Table)]
    rows = {row.id for table in tables for row in table.rows}
    links = {cell.link for table in tables for row in table.rows for cell in row.cells}
    assert links - {""} <= rows
    one = find_layer(record, "layer1.1.conv2").stats
    cells = [cell.text for cell in tables[0].rows[2].cells]
    assert cells[1:4] == ["64 of 8 x 8", "bn2, shortcut added, ReLU", cells[3]]
    assert cells[3] == f"{one.active_fraction * 100:.1f}\u00a0%"

    # Looking is not measuring: the ledger stays empty.
    storage = open_to_read(trained[0])
    assert storage is not None
    assert read_ledger(storage.engine) == []


def test_the_record_as_json_and_csv(compute: Compute) -> None:
    record = compute(images=("8", "0"))
    plain: dict[str, Any] = json.loads(json.dumps(record_json(record)))
    assert plain["images"][0]["source"] == "test image 8"
    assert plain["images"][1]["layers"][2]["stats"]["channels"] == 64
    assert plain["grad_cam"]["layer"] == "layer2"
    assert "maps" not in plain["images"][0]["layers"][0]
    rows = csv_rows(record)
    assert len(rows) == 2 * 3 * 7
    shares = [row["value"] for row in rows if row["quantity"] == "active_fraction"]
    assert shares == [
        layer.stats.active_fraction for image in record.images for layer in image.layers
    ]
    assert {row["measured_at"] for row in rows} == {"relu", "layer1.0.relu", "layer1.1.relu_1"}
