"""The commands of ``cifar-tune data``: which images are here, and how others come in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cifar_tune import paths
from cifar_tune.cli.console import make_console, print_json
from cifar_tune.errors import DataError

if TYPE_CHECKING:
    from cifar_tune.data.importing.imports import ImportReport


def show_data(data_dir: Path | None, *, as_json: bool) -> None:
    """Print which images are here."""
    from cifar_tune.data.bundle import RULE, read_bundled, read_manifest
    from cifar_tune.data.importing.imports import list_image_sets

    root = paths.data_root(data_dir)
    bundled = {split: len(read_bundled(split)) for split in RULE}
    imported = list_image_sets(root)
    if as_json:
        print_json({"folder": str(root), "bundled": bundled, "imported": imported})
        return
    console = make_console()
    for split, count in bundled.items():
        console.print(f"bundled {split}: {count:,} images, digests match")
    console.print(f"source: {read_manifest()['source']}")
    for one in imported:
        counts = ", ".join(f"{split} {count:,}" for split, count in one["images"].items())
        console.print(
            f"{one['name']}: {counts}; {one['classes']} classes; {one['size']} px; "
            f"from {one['source']}; {one['file']}",
            soft_wrap=True,
        )
    if not any(one["name"] == "cifar10" for one in imported):
        console.print(
            f"full CIFAR-10: not in {root}; `cifar-tune data fetch` downloads it, "
            "`cifar-tune data import PATH` takes a copy",
            soft_wrap=True,
        )


def import_data(path: Path, name: str | None, size: int, data_dir: Path | None) -> None:
    """Import the full CIFAR-10 or images of the user's own, and print where they went."""
    from cifar_tune.data.importing.imports import import_cifar10, import_images

    root = paths.data_root(data_dir)
    if name is None:
        _print_import(import_cifar10(path, root))
    else:
        _print_import(import_images(path, name, root, size))


def fetch_data(data_dir: Path | None) -> None:
    """Download the full CIFAR-10 and print where it went."""
    from cifar_tune.data.importing.imports import fetch_cifar10

    _print_import(fetch_cifar10(paths.data_root(data_dir)))


def verify_data(name: str, data_dir: Path | None) -> int:
    """Hash imported images again and print which parts are what they were; the exit code."""
    from cifar_tune.data.importing.imports import verify_image_set

    found = verify_image_set(name, paths.data_root(data_dir))
    for part, holds in found.items():
        make_console().print(f"{name} {part}: {'digest matches' if holds else 'DAMAGED'}")
    if not all(found.values()):
        raise DataError(f"{name}: is not what was imported; import it again")
    return 0


def _print_import(report: ImportReport) -> None:
    images = report.image_set
    for note in report.notes:
        make_console().print(f"note: {note}", soft_wrap=True)
    counts = ", ".join(f"{split} {len(part):,}" for split, part in images.splits.items())
    make_console().print(f"{images.name}: {counts}, from {images.source}; digests:")
    for part, digest in images.digests.items():
        make_console().print(f"  {part} {digest}", soft_wrap=True)
    make_console().print(f"kept in {report.path}", soft_wrap=True)
