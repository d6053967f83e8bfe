"""The commands ``cifar-tune best export`` and ``cifar-tune predict``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cifar_tune.cli import best_tables
from cifar_tune.cli.console import (
    LOADING,
    command_line,
    make_console,
    print_json,
)
from cifar_tune.cli.help import command
from cifar_tune.cli.options import ChosenOptions, gather, number_option, options, study_options
from cifar_tune.wording import format_accuracy, printable

if TYPE_CHECKING:
    from cifar_tune.evaluation.best import Choice
    from cifar_tune.evaluation.export.model import ModelExport
    from cifar_tune.storage.selector import StudySelector


@command("export", epilog="Example: cifar-tune best export dropout --out resnet18-dropout")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Where to write it: a folder that is new or empty.",
)
@options("trial", "named", "train-on")
@click.option("--onnx", is_flag=True, help="Write model.onnx too; needs cifar-tune[onnx].")
@click.option("--overwrite", is_flag=True, help="Replace a model that was exported there.")
@study_options("profile", "epochs", "set", "data-dir", "storage", "json")
@gather("chosen", ChosenOptions)
def best_export(
    study: StudySelector,
    out: Path,
    chosen: ChosenOptions,
    root: Path,
    onnx: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the best model as a folder that torchvision loads.

    NAME is the name of a study file or its path. The folder has the weights as safetensors, the
    configuration with a fitted temperature, and a model card.
    """
    spec, location = study.find()

    from cifar_tune.evaluation.best import choose, compute_best
    from cifar_tune.evaluation.export.model import export
    from cifar_tune.evaluation.export.model_files import check_folder
    from cifar_tune.evaluation.export.onnx import export_onnx, import_runtime

    record = compute_best(location, spec)
    check_folder(out, overwrite=overwrite)
    if onnx:
        import_runtime()  # refused before anything is written
    choice = choose(record, chosen.trial, chosen.trial_name)
    exported = export(record, choice.candidate, chosen.train_on, out, root, command_line())
    onnx_difference = export_onnx(out, root) if onnx else None
    if as_json:
        configuration = {"configuration": choice.candidate.label, "why": choice.why}
        print_json({**exported.to_dict(), **configuration, "onnx_difference": onnx_difference})
    else:
        _print_export(exported, choice, onnx_difference)


def _print_export(exported: ModelExport, choice: Choice, onnx_difference: float | None) -> None:
    console, card = make_console(), exported.card
    best_tables.print_choice(console, choice)
    console.print(
        f"{exported.folder}: {card.source}, validation accuracy "
        f"{format_accuracy(card.own_val_accuracy)}, test accuracy "
        f"{format_accuracy(card.own_test_accuracy)}",
        soft_wrap=True,
    )
    calibration = card.calibration
    if calibration is not None:
        console.print(
            f"temperature {calibration.temperature:.3f}: expected calibration error "
            f"{calibration.error_before:.3f}, with it {calibration.error_after:.3f} (on "
            f"{calibration.images:,} validation images)"
        )
    if onnx_difference is not None:
        console.print(
            f"model.onnx: logits differ from PyTorch's by {onnx_difference:.1g} at the most"
        )


@command(
    "predict",
    waits_for=LOADING,
    epilog="Example: cifar-tune predict resnet18-dropout cat.png ship.jpg",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", type=click.Path(path_type=Path), nargs=-1, required=True)
@number_option("--top", "Classes shown.", default=3)
@options("device", "json")
def predict(
    model: Path, images: tuple[Path, ...], top: int, device: str | None, as_json: bool
) -> None:
    """Classify image files with an exported MODEL."""
    from cifar_tune.evaluation.export.model_files import classify, open_model
    from cifar_tune.training.device import choose_device

    chosen_device = choose_device(device)
    exported = open_model(model, chosen_device)
    classes, calibration = exported.classes, exported.calibration
    answers, notes = classify(exported, images, chosen_device)
    predictions = list(zip(map(printable, images), answers, strict=True))
    if as_json:
        records = [
            {
                "image": image,
                "class": classes[int(probabilities.argmax())],
                "probabilities": dict(zip(classes, map(float, probabilities), strict=True)),
            }
            for image, probabilities in predictions
        ]
        described = None if calibration is None else dataclasses.asdict(calibration)
        answer = {"model": str(model), "calibration": described, "predictions": records}
        print_json({**answer, "notes": notes})
        return
    console = make_console()
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True)
    for image, probabilities in predictions:
        order = probabilities.argsort()[::-1][:top]
        ranked = ", ".join(f"{classes[k]} {100 * probabilities[k]:.1f} %" for k in order)
        console.print(f"{image}: {ranked}", soft_wrap=True)
    if calibration is None:
        console.print("The probabilities are not calibrated.")
    else:
        console.print(
            f"Calibrated by temperature {calibration.temperature:.3f}; expected calibration error "
            f"{calibration.error_after:.3f} on the {calibration.images:,} validation images that "
            "it was fitted on."
        )
