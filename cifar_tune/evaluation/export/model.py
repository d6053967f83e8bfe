"""Takes the model of a configuration out of the storage: which replicate, what is known of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
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
from cifar_tune.evaluation.export.temperature import Calibration, fit_temperature
from cifar_tune.evaluation.trial import TrialDossier, read_dossier
from cifar_tune.models.resnet import build_model
from cifar_tune.models.weight_files import load_model
from cifar_tune.storage.invocations import study_arguments
from cifar_tune.training.trainer import evaluate
from cifar_tune.wording import format_duration


@dataclass(frozen=True)
class ModelExport:
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
            "calibration": card.calibration and asdict(card.calibration),
        }


def export(
    record: BestRecord,
    candidate: Candidate,
    train_on: str,
    folder: Path,
    root: Path,
    command: str,
) -> ModelExport:
    """Write the model of a configuration to a folder.

    Of its re-runs that were trained on the images ``train_on`` and have kept weights it is the one
    with the highest validation accuracy, or the first where they were trained on the validation
    images too; without any, the configuration's own trial. Imported images are in ``root``; the
    card states the ``command`` that makes this export.

    Raises:
        WeightsError: No replicate's weights are on the disk; the message says how to train it again
            and how long that takes.
        InputError: There is no such re-run.
        DataError: The images are no longer what they were.
    """
    dossier, weights = _find_trial(record, candidate, train_on)
    config = TrialConfig(**dossier.config)
    data = load_search_data(config.data, root)
    name = dossier.summary.name
    accuracy = calibration = None
    if config.train_on == "train":
        accuracy, calibration = _evaluate(weights, str(dossier.weights_sha256), data, config)
    rerun = record.rerun_of(candidate, train_on)
    card = ModelCard(
        title=record.spec.title,
        source=f"study {dossier.study_name}, {name or f'trial {dossier.number}'}",
        device=str(dossier.facts.get("device", "an unknown device")),
        software=dossier.facts.get("software", {}),
        config=config,
        classes=data.classes,
        weights_sha256=str(dossier.weights_sha256),
        val_accuracy=rerun.val_accuracy if rerun else None,
        test_accuracy=rerun.test_accuracy if rerun else None,
        own_val_accuracy=accuracy,
        own_test_accuracy=dossier.test_reads[-1].result.accuracy if dossier.test_reads else None,
        calibration=calibration,
        test_reads=record.test_use.reads,
        command=command,
    )
    trial = {"study_name": dossier.study_name, "number": dossier.number, "name": name}
    write_model(folder, weights, card, data.train.images.shape[-1], trial)
    return ModelExport(folder, dossier, card)


def _evaluate(
    weights: Path, sha256: str, data: SearchData, config: TrialConfig
) -> tuple[float, Calibration]:
    """Return the accuracy and a temperature on the validation images as they are.

    A model that is used sees no augmented ones.
    """
    model = build_model(config, len(data.classes))
    load_model(model, weights, sha256)
    plain = replace(config, augment_validation=False, precision="fp32")
    validation = data.split(config).validation
    split = place(validation, plain, torch.device("cpu"))
    logits = evaluate(model, split, plain).logits.float().numpy()
    labels = validation.pool.labels[validation.rows].astype(np.int64)
    return float((logits.argmax(axis=1) == labels).mean()), fit_temperature(logits, labels)


def _find_trial(
    record: BestRecord, candidate: Candidate, train_on: str
) -> tuple[TrialDossier, Path]:
    location, own_study = record.location, record.spec.study_name
    trials = _trials_by_preference(record, candidate, train_on)
    for study_name, number in trials:
        dossier = read_dossier(location, study_name, str(number))
        if dossier.weights_file is not None:
            return dossier, Path(dossier.weights_file)
    arguments = study_arguments(record.spec, location)
    again = f"cifar-tune best rerun {arguments} --seeds 1"
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
        f"others (keep_weights and keep_best in the study file); `{again}` trains it again, which "
        f"took {seconds} last time, keeps them, and reads the test images once"
    )


def _trials_by_preference(
    record: BestRecord, candidate: Candidate, train_on: str
) -> list[tuple[str, int]]:
    """Return re-runs, then the configuration's own trials, as (study, number), the best first."""
    trials = []
    rerun = record.rerun_of(candidate, train_on)
    if rerun is not None:
        again = sorted((-(run["val_accuracy"] or 0.0), run["number"]) for run in rerun.replicates)
        trials += [(rerun.study_name, number) for _, number in again]
    if train_on == "train":
        own = zip(candidate.outcomes, candidate.numbers, strict=True)
        first = sorted((-outcome, number) for outcome, number in own)
        trials += [(record.spec.study_name, number) for _, number in first]
    return trials
