"""The activation report as a page, as JSON and as CSV."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
from command_line import Compute, find_layer
from PIL import Image

from cifar_tune.data.bundle import read_bundled
from cifar_tune.evaluation.test_reads import read_ledger
from cifar_tune.reports.activation_page import draw_activations
from cifar_tune.reports.blocks import Page, Pictures, Table
from cifar_tune.reports.html import render_page
from cifar_tune.storage.location import StorageLocation
from cifar_tune.storage.studies import open_to_read
from cifar_tune.training.pictures.activation_pictures import (
    paint_grad_cam,
    paint_maps,
    shown_channels,
)


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
    assert "the 64 of 128 channels" in pictures(page)["maps-layer2.0.conv1"].caption
    assert "all are scaled together" in pictures(page)["maps-layer4"].caption


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
    again = draw_activations(compute(), "cifar-tune report activations transfer")
    assert render_page(page) == render_page(again)
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
    plain: dict[str, Any] = json.loads(json.dumps(record.to_dict()))
    assert plain["images"][0]["source"] == "test image 8"
    assert plain["images"][1]["layers"][2]["stats"]["channels"] == 64
    assert plain["grad_cam"]["layer"] == "layer2"
    assert "maps" not in plain["images"][0]["layers"][0]
    rows = record.to_rows()
    assert len(rows) == 2 * 3 * 7
    shares = [row["value"] for row in rows if row["quantity"] == "active_fraction"]
    assert shares == [
        layer.stats.active_fraction for image in record.images for layer in image.layers
    ]
    assert {row["measured_at"] for row in rows} == {"relu", "layer1.0.relu", "layer1.1.relu_1"}
