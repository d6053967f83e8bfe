"""The commands ``cifar-tune best export`` and ``cifar-tune predict``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar_tune import paths
from cifar_tune.cli import best_tables
from cifar_tune.cli.commands.best import BestOptions, find
from cifar_tune.cli.console import command_line, make_console, print_json
from cifar_tune.config.trial import TrainOn
from cifar_tune.errors import InputError
from cifar_tune.wording import format_accuracy

if TYPE_CHECKING:
    from cifar_tune.evaluation.best import Choice
    from cifar_tune.evaluation.export.model import Export


def export_best(
    name: str,
    out: Path,
    trial: int | None,
    trial_name: str | None,
    train_on: TrainOn,
    options: BestOptions,
    *,
    onnx: bool,
    overwrite: bool,
) -> None:
    """Write the model of a configuration to a folder."""
    if trial is not None and trial_name is not None:
        raise InputError("--trial and --name: expected one of the two")
    found = find(name, options, None)

    from cifar_tune.evaluation.best import choose
    from cifar_tune.evaluation.export.model import export
    from cifar_tune.evaluation.export.model_files import check_folder
    from cifar_tune.evaluation.export.onnx import check_installed, export_onnx

    check_folder(out, overwrite=overwrite)
    if onnx:
        check_installed()
    choice = choose(found.record, trial, trial_name)
    root = paths.data_root(options.data_dir)
    made = export(
        found.location,
        found.record,
        choice.candidate,
        train_on,
        out,
        root,
        found.spec.title,
        command_line(),
    )
    difference = export_onnx(out, root) if onnx else None
    if options.as_json:
        print_json(_export_record(made, choice, difference))
    else:
        _print_export(made, choice, difference)


def _export_record(made: Export, choice: Choice, onnx_difference: float | None) -> dict[str, Any]:
    described = made.described
    calibration = described.calibration
    return {
        "folder": str(made.folder),
        "files": sorted(path.name for path in made.folder.iterdir()),
        "configuration": choice.candidate.label,
        "why": choice.why,
        "study_name": made.dossier.study_name,
        "trial": made.dossier.number,
        "weights_sha256": described.weights_sha256,
        "val_accuracy": described.own_val_accuracy,
        "test_accuracy": described.own_test_accuracy,
        "calibration": None if calibration is None else dataclasses.asdict(calibration),
        "onnx_difference": onnx_difference,
    }


def _print_export(made: Export, choice: Choice, onnx_difference: float | None) -> None:
    console, described = make_console(), made.described
    console.print(f"Configuration: {best_tables.describe(choice.candidate)}; {choice.why}.")
    console.print(
        f"{made.folder}: {described.source}, validation accuracy "
        f"{format_accuracy(described.own_val_accuracy)}, test accuracy "
        f"{format_accuracy(described.own_test_accuracy)}",
        soft_wrap=True,
    )
    one = described.calibration
    if one is not None:
        console.print(
            f"temperature {one.temperature:.3f}: expected calibration error "
            f"{one.error_before:.3f}, with it {one.error_after:.3f} (on {one.images:,} validation "
            "images)"
        )
    if onnx_difference is not None:
        console.print(
            f"model.onnx: logits differ from PyTorch's by {onnx_difference:.1g} at the most"
        )


def predict_images(
    model: Path, images: tuple[Path, ...], top: int, device: str | None, *, as_json: bool
) -> None:
    """Print what an exported model says of image files."""
    from cifar_tune.evaluation.export.model_files import open_model
    from cifar_tune.evaluation.export.predict import predict
    from cifar_tune.training.device import choose_device

    chosen = choose_device(device)
    exported = open_model(model, chosen)
    answers = predict(exported, images, chosen)
    calibration = exported.calibration
    if as_json:
        print_json(
            {
                "model": str(model),
                "calibration": None if calibration is None else dataclasses.asdict(calibration),
                "predictions": [
                    {
                        "image": one.path,
                        "class": exported.classes[int(one.probabilities.argmax())],
                        "probabilities": dict(
                            zip(exported.classes, map(float, one.probabilities), strict=True)
                        ),
                    }
                    for one in answers
                ],
            }
        )
        return
    console = make_console()
    for one in answers:
        order = one.probabilities.argsort()[::-1][:top]
        said = ", ".join(f"{exported.classes[k]} {100 * one.probabilities[k]:.1f} %" for k in order)
        console.print(f"{one.path}: {said}", soft_wrap=True)
    if calibration is None:
        console.print("The probabilities are not calibrated.")
    else:
        console.print(
            f"Calibrated by temperature {calibration.temperature:.3f}; expected calibration error "
            f"{calibration.error_after:.3f} on the {calibration.images:,} validation images that "
            "it was fitted on."
        )
