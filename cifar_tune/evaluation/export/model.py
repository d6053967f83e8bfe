"""Takes the model of a configuration out of the storage: which replicate, what is known of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.loader import place
from cifar_tune.data.search_data import SearchData, load_search_data
from cifar_tune.errors import InputError, WeightsError
from cifar_tune.evaluation.best import BestRecord
from cifar_tune.evaluation.candidates import Candidate
from cifar_tune.evaluation.export.card import Described
from cifar_tune.evaluation.export.model_files import write_model
from cifar_tune.evaluation.export.temperature import fit_temperature
from cifar_tune.evaluation.fresh_runs import Rerun
from cifar_tune.evaluation.trial import TrialDossier, read_dossier
from cifar_tune.models.resnet import build_model
from cifar_tune.models.weight_files import load_model
from cifar_tune.storage.location import StorageLocation
from cifar_tune.training.trainer import evaluate
from cifar_tune.wording import format_duration


@dataclass(frozen=True)
class Export:
    """What was exported: files of a model, and the trial that it comes from."""

    folder: Path
    dossier: TrialDossier
    described: Described

    def to_dict(self) -> dict[str, Any]:
        """Return the export as a JSON object shows it."""
        described = self.described
        calibration = described.calibration
        return {
            "folder": str(self.folder),
            "files": sorted(path.name for path in self.folder.iterdir()),
            "study_name": self.dossier.study_name,
            "trial": self.dossier.number,
            "weights_sha256": described.weights_sha256,
            "val_accuracy": described.own_val_accuracy,
            "test_accuracy": described.own_test_accuracy,
            "calibration": None if calibration is None else dataclasses.asdict(calibration),
        }


def export(
    location: StorageLocation,
    record: BestRecord,
    candidate: Candidate,
    train_on: str,
    folder: Path,
    root: Path,
    title: str,
    command: str,
) -> Export:
    """Write the model of a configuration to a folder.

    Of its re-runs with kept weights it is the one with the highest validation accuracy, or the
    first where they were trained on the validation images too; without any, the configuration's own
    trial.

    Args:
        root: the folder of imported images.
        command: that makes this export, for the card.

    Raises:
        WeightsError: no replicate's weights are on the disk; the message says how to train it again
            and how long that takes.
        InputError: there is no such re-run.
        DataError: the images are no longer what they were.
    """
    dossier = _find_trial(location, record, candidate, train_on)
    config = TrialConfig(**dossier.config)
    data = load_search_data(config.data, root)
    image_size = data.train.images.shape[-1]
    assert dossier.weights_file is not None
    assert dossier.weights_sha256 is not None
    rerun = record.rerun_of(candidate, train_on)
    described = _describe(dossier, data, rerun, record, title, command)
    source = {
        "study_name": dossier.study_name,
        "number": dossier.number,
        "name": dossier.summary.name,
    }
    write_model(folder, dossier.weights_file, described, image_size, source)
    return Export(folder, dossier, described)


def _describe(
    dossier: TrialDossier,
    data: SearchData,
    rerun: Rerun | None,
    record: BestRecord,
    title: str,
    command: str,
) -> Described:
    config = TrialConfig(**dossier.config)
    assert dossier.weights_file is not None
    assert dossier.weights_sha256 is not None
    accuracy = calibration = None
    if config.train_on == "train":
        logits, labels = _validation_logits(dossier, data, config)
        accuracy = float((logits.argmax(axis=1) == labels).mean())
        calibration = fit_temperature(logits, labels)
    reads = [one.result.accuracy for one in dossier.test_reads]
    name = dossier.summary.name or f"trial {dossier.number}"
    return Described(
        title=title,
        source=f"study {dossier.study_name}, {name}",
        device=str(dossier.facts.get("device", "an unknown device")),
        software=dossier.facts.get("software", {}),
        config=config,
        classes=data.classes,
        weights_sha256=dossier.weights_sha256,
        val_accuracy=None if rerun is None else rerun.val_accuracy,
        test_accuracy=None if rerun is None else rerun.test_accuracy,
        own_val_accuracy=accuracy,
        own_test_accuracy=reads[-1] if reads else None,
        calibration=calibration,
        test_reads=record.test_use.reads,
        command=command,
    )


def _validation_logits(
    dossier: TrialDossier, data: SearchData, config: TrialConfig
) -> tuple[Any, Any]:
    """Logits float32 [N, classes] and labels int64 [N] on the validation images as they are: a
    model that is used sees no augmented ones."""
    model = build_model(config, len(data.classes))
    assert dossier.weights_file is not None
    load_model(model, dossier.weights_file, str(dossier.weights_sha256))
    plain = dataclasses.replace(config, augment_validation=False, precision="fp32")
    validation = data.split(config).validation
    split = place(validation, plain, torch.device("cpu"))
    found = evaluate(model, split, plain)
    labels = validation.pool.labels[validation.rows].astype(np.int64)
    return found.logits.float().numpy(), labels


def _find_trial(
    location: StorageLocation, record: BestRecord, candidate: Candidate, train_on: str
) -> TrialDossier:
    rerun = record.rerun_of(candidate, train_on)
    numbers: list[tuple[str, int, float]] = []
    if rerun is not None:
        name = rerun.study_name
        numbers += [(name, one["number"], one["val_accuracy"] or 0.0) for one in rerun.replicates]
        numbers.sort(key=lambda one: (-one[2], one[1]))
    if train_on == "train":
        own = zip(candidate.numbers, candidate.outcomes, strict=True)
        by_value = sorted(own, key=lambda one: (-one[1], one[0]))
        numbers += [(record.study_name, number, value) for number, value in by_value]
    for study_name, number, _ in numbers:
        dossier = read_dossier(location, study_name, str(number))
        if dossier.weights_file is not None:
            return dossier
    again = f"cifar-tune best rerun {record.study_name.partition(':')[0]} --seeds 1"
    again += f" --trial {candidate.numbers[0]}"
    if not numbers:
        raise InputError(
            f"{candidate.label}: was not trained on training and validation images; "
            f"`{again} --train-on train+val` does that"
        )
    dossier = read_dossier(location, record.study_name, str(candidate.numbers[0]))
    seconds = format_duration(sum(one.seconds for one in dossier.history))
    raise WeightsError(
        f"{candidate.label}: no weights of it are on the disk: they were not kept, or gave way to "
        f"others; `{again}` trains it again and keeps them, which took {seconds} last time"
    )
