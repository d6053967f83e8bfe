"""The command line of ``cifar-tune best`` and ``cifar-tune predict``; see ``cli``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifar_tune.cli.options import Command, options

if TYPE_CHECKING:
    from cifar_tune.config.trial import TrainOn

_TRAINING = ("device", "workers", "per-gpu", "slots", "data-dir", "timeout")
_top = click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="N",
    help="Length of the short list; by default 3, and all whose interval overlaps the first's.",
)


_train_on = click.option(
    "--train-on",
    type=click.Choice(["train", "train+val"]),
    default="train",
    show_default=True,
    help="The training images, or the validation images too.",
)


def _chosen(command: Command) -> Command:
    """Attach the options that say which configuration is meant."""
    for attach in (
        click.option("--name", "trial_name", metavar="NAMED", help="Not the best: this one."),
        click.option(
            "--trial", type=click.IntRange(min=0), metavar="NUMBER", help="Not the best: this one."
        ),
    ):
        command = attach(command)
    return command


@click.group(epilog="Example: cifar-tune best confirm dropout --seeds 3")
def best() -> None:
    """The best configuration of a study: which it is, and what it is worth."""


@best.command("show", epilog="Example: cifar-tune best show dropout")
@click.argument("name")
@_top
@options("profile", "epochs", "set", "storage", "json")
def best_show(name: str, top: int | None, **given: Any) -> None:
    """Say which configuration is the best so far, and how much of its lead is probably luck.

    NAME is the name of a study file or its path.
    """
    from cifar_tune.cli.commands import best as best_commands

    best_commands.show_best(name, top, best_commands.BestOptions(**given))


@best.command("confirm", epilog="Example: cifar-tune best confirm dropout --seeds 3")
@click.argument("name")
@click.option(
    "--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Fresh ones, each."
)
@_top
@options("profile", "epochs", "set", *_TRAINING, "storage", "json")
def best_confirm(name: str, seeds: int, top: int | None, **given: Any) -> None:
    """Train the short list again on fresh seeds, in pairs, and choose by the mean.

    NAME is the name of a study file or its path. The runs are a study of their own, which the
    search never sees. Run again to continue, or with more --seeds.
    """
    from cifar_tune.cli.commands import best as best_commands

    sys.exit(best_commands.confirm_best(name, seeds, top, best_commands.BestOptions(**given)))


@best.command("rerun", epilog="Example: cifar-tune best rerun dropout --seeds 5 --json")
@click.argument("name")
@click.option(
    "--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Fresh ones."
)
@_chosen
@_train_on
@options("profile", "epochs", "set", *_TRAINING, "storage", "json")
def best_rerun(
    name: str,
    seeds: int,
    trial: int | None,
    trial_name: str | None,
    train_on: TrainOn,
    **given: Any,
) -> None:
    """Train the best configuration again, and read it on the test images, once for each seed.

    NAME is the name of a study file or its path. Without --trial or --name it is the confirmed
    best, else the likely best. Every read is written to the ledger before the figure is shown.
    """
    from cifar_tune.cli.commands import best as best_commands

    options_ = best_commands.BestOptions(**given)
    sys.exit(best_commands.rerun_best(name, seeds, trial, trial_name, train_on, options_))


@best.command("ablate", epilog="Example: cifar-tune best ablate beyond-scratch --only crop_padding")
@click.argument("name")
@click.option(
    "--against",
    metavar="NAMED",
    help="Put back the values of this named trial; by default those of the file's first.",
)
@click.option(
    "--only",
    "groups",
    multiple=True,
    metavar="KEY[,KEY]",
    help="Put back this hyperparameter alone, or several together; by default each that differs "
    "by itself. May be repeated.",
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Fresh ones, each."
)
@_chosen
@options("profile", "epochs", "set", *_TRAINING, "storage", "json")
def best_ablate(
    name: str,
    against: str | None,
    groups: tuple[str, ...],
    seeds: int,
    trial: int | None,
    trial_name: str | None,
    **given: Any,
) -> None:
    """Train the best configuration without each of its hyperparameters: which made the difference?

    NAME is the name of a study file or its path. Each is put back to what a named trial has, the
    others stay. The runs stand beside those of `best rerun`, on the same seeds, and are compared on
    the validation images; the search never sees them.
    """
    from cifar_tune.cli.commands import ablate
    from cifar_tune.cli.commands.best import BestOptions

    options_ = BestOptions(**given)
    sys.exit(ablate.ablate_best(name, against, groups, seeds, trial, trial_name, options_))


@best.command("export", epilog="Example: cifar-tune best export dropout --out resnet18-dropout")
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Where to write it: a folder that is new or empty.",
)
@_chosen
@_train_on
@click.option("--onnx", is_flag=True, help="Write model.onnx too; needs cifar-tune[onnx].")
@click.option("--overwrite", is_flag=True, help="Replace a model that was exported there.")
@options("profile", "epochs", "set", "data-dir", "storage", "json")
def best_export(
    name: str,
    out: Path,
    trial: int | None,
    trial_name: str | None,
    train_on: TrainOn,
    onnx: bool,
    overwrite: bool,
    **given: Any,
) -> None:
    """Write the best configuration's model as a folder that plain torchvision loads.

    NAME is the name of a study file or its path. The folder has the weights as safetensors, the
    configuration with a fitted temperature, and a model card.
    """
    from cifar_tune.cli import export
    from cifar_tune.cli.commands.best import BestOptions

    options_ = BestOptions(**given)
    export.export_best(
        name, out, trial, trial_name, train_on, onnx=onnx, overwrite=overwrite, options=options_
    )


@click.command("predict", epilog="Example: cifar-tune predict resnet18-dropout cat.png ship.jpg")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--top", type=click.IntRange(min=1), default=3, show_default=True, help="Classes shown."
)
@options("device", "json")
def predict(
    model: Path, images: tuple[Path, ...], top: int, device: str | None, as_json: bool
) -> None:
    """Say what an exported MODEL makes of image files, as calibrated probabilities."""
    from cifar_tune.cli import export

    export.predict_images(model, images, top, device, as_json=as_json)
