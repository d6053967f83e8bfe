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
from cifar_tune.evaluation.export.card import ModelCard
from cifar_tune.evaluation.export.model_files import write_model
from cifar_tune.evaluation.export.temperature import fit_temperature
from cifar_tune.evaluation.trial import TrialDossier, read_dossier
from cifar_tune.models.resnet import build_model
from cifar_tune.models.weight_files import load_model
from cifar_tune.training.trainer import evaluate
from cifar_tune.wording import format_duration


@dataclass(frozen=True)
class Export:
    """What was exported: files of a model, and the trial that it comes from."""

    folder: Path
    dossier: TrialDossier
    card: ModelCard

    def to_dict(self) -> dict[str, Any]:
        """Return the export as a JSON object shows it."""
        card = self.card
        return {
            "folder": str(self.folder),
            "files": sorted(path.name for path in self.folder.iterdir()),
            "study_name": self.dossier.study_name,
            "trial": self.dossier.number,
            "weights_sha256": card.weights_sha256,
            "val_accuracy": card.own_val_accuracy,
            "test_accuracy": card.own_test_accuracy,
            "calibration": card.calibration and dataclasses.asdict(card.calibration),
        }


def export(
    record: BestRecord,
    candidate: Candidate,
    train_on: str,
    folder: Path,
    root: Path,
    command: str,
) -> Export:
    """Write the model of a configuration to a folder.

    Of its re-runs with kept weights it is the one with the highest validation accuracy, or the
    first where they were trained on the validation images too; without any, the configuration's own
    trial.

    Args:
        record: The configurations of the study.
        candidate: The configuration.
        train_on: Which images it was trained on, as in ``TrialConfig``.
        folder: The folder to write to.
        root: The folder of imported images.
        command: The command that makes this export, for the card.

    Raises:
        WeightsError: No replicate's weights are on the disk; the message says how to train it again
            and how long that takes.
        InputError: There is no such re-run.
        DataError: The images are no longer what they were.
    """
    dossier, weights = _find_trial(record, candidate, train_on)
    config = TrialConfig(**dossier.config)
    data = load_search_data(config.data, root)
    reads = [read.result.accuracy for read in dossier.test_reads]
    name = dossier.summary.name or f"trial {dossier.number}"
    accuracy = calibration = None
    if config.train_on == "train":
        logits, labels = _validation_logits(weights, str(dossier.weights_sha256), data, config)
        accuracy = float((logits.argmax(axis=1) == labels).mean())
        calibration = fit_temperature(logits, labels)
    rerun = record.rerun_of(candidate, train_on)
    card = ModelCard(
        title=record.spec.title,
        source=f"study {dossier.study_name}, {name}",
        device=str(dossier.facts.get("device", "an unknown device")),
        software=dossier.facts.get("software", {}),
        config=config,
        classes=data.classes,
        weights_sha256=str(dossier.weights_sha256),
        val_accuracy=None if rerun is None else rerun.val_accuracy,
        test_accuracy=None if rerun is None else rerun.test_accuracy,
        own_val_accuracy=accuracy,
        own_test_accuracy=reads[-1] if reads else None,
        calibration=calibration,
        test_reads=record.test_use.reads,
        command=command,
    )
    trial = {key: getattr(dossier, key) for key in ("study_name", "number")}
    image_size = data.train.images.shape[-1]
    write_model(folder, weights, card, image_size, {**trial, "name": dossier.summary.name})
    return Export(folder, dossier, card)


def _validation_logits(
    weights: Path, sha256: str, data: SearchData, config: TrialConfig
) -> tuple[Any, Any]:
    """Return logits float32 [N, classes] and labels int64 [N] on the validation images as they are.

    A model that is used sees no augmented ones.
    """
    model = build_model(config, len(data.classes))
    load_model(model, weights, sha256)
    plain = dataclasses.replace(config, augment_validation=False, precision="fp32")
    validation = data.split(config).validation
    split = place(validation, plain, torch.device("cpu"))
    evaluation = evaluate(model, split, plain)
    labels = validation.pool.labels[validation.rows].astype(np.int64)
    return evaluation.logits.float().numpy(), labels


def _find_trial(
    record: BestRecord, candidate: Candidate, train_on: str
) -> tuple[TrialDossier, Path]:
    """Return the trial to export, and the file of its kept weights."""
    location, own_study = record.location, record.spec.study_name
    trials = _trials_by_preference(record, candidate, train_on)
    for study_name, number in trials:
        dossier = read_dossier(location, study_name, str(number))
        if dossier.weights_file is not None:
            return dossier, dossier.weights_file
    again = f"cifar-tune best rerun {record.spec.file_name} --seeds 1"
    again += f" --trial {candidate.numbers[0]}"
    if not trials:
        raise InputError(
            f"{candidate.label}: was not trained on training and validation images; "
            f"`{again} --train-on train+val` does that"
        )
    dossier = read_dossier(location, own_study, str(candidate.numbers[0]))
    seconds = format_duration(sum(epoch.seconds for epoch in dossier.history))
    raise WeightsError(
        f"{candidate.label}: no weights of it are on the disk: they were not kept, or gave way to "
        f"others; `{again}` trains it again and keeps them, which took {seconds} last time"
    )


def _trials_by_preference(
    record: BestRecord, candidate: Candidate, train_on: str
) -> list[tuple[str, int]]:
    """Return re-runs, then the configuration's own trials, as (study, number), the best first."""
    rerun = record.rerun_of(candidate, train_on)
    replicates = () if rerun is None else rerun.replicates
    again = sorted((-(trial["val_accuracy"] or 0.0), trial["number"]) for trial in replicates)
    trials = [(rerun.study_name, number) for _, number in again] if rerun is not None else []
    if train_on == "train":
        own = zip(candidate.outcomes, candidate.numbers, strict=True)
        first = sorted((-outcome, number) for outcome, number in own)
        trials += [(record.spec.study_name, number) for _, number in first]
    return trials
