"""A storage of studies with made-up outcomes, the same on every machine, to keep reports by."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from optuna.trial import TrialState, create_trial

from cifar_tune import paths
from cifar_tune.config.study_file import StudySpec, load_study_file, resolve
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.bundle import read_bundled
from cifar_tune.data.cifar10 import CLASSES, LabelledImages
from cifar_tune.evaluation.test_reads import TestResult, record_test_read
from cifar_tune.models.resnet import build_model
from cifar_tune.models.weight_files import save_model
from cifar_tune.models.weights import load_weights
from cifar_tune.search.samplers import distributions
from cifar_tune.storage import studies
from cifar_tune.storage.definition import Digests, write_definition
from cifar_tune.storage.location import locate_storage
from cifar_tune.training.predictions import make_predictions, save_predictions
from cifar_tune.training.records import EpochMetrics

DEVICE = "CPU (made up, 2 threads)"
SECONDS = {
    "transfer/scratch": 40.0,
    "transfer/finetune": 41.0,
    "transfer/model-a": 33.0,
    "transfer/model-b": 12.0,
}
ACCURACIES = {
    "transfer/scratch": 0.45,
    "transfer/finetune": 0.72,
    "transfer/model-a": 0.72,
    "transfer/model-b": 0.60,
    "dropout/p=0.1": 0.50,
    "dropout/p=0.2": 0.51,
    "dropout/p=0.3": 0.53,
    "dropout/p=0.4": 0.49,
    "final/p=0.3": 0.66,
}


class MadeUp:
    """Fills a study: each trial is stored as the runner stores it, with outcomes by seed."""

    def __init__(self, database: Path, name: str, profile: str, **overrides: Any) -> None:
        self._open(database, resolve(load_study_file(name), profile, overrides))

    @classmethod
    def of(cls, database: Path, spec: StudySpec) -> MadeUp:
        """The study of a spec, such as one derived from another."""
        made = cls.__new__(cls)
        made._open(database, spec)
        return made

    def _open(self, database: Path, spec: StudySpec) -> None:
        self.database = database
        self.spec = spec
        self.folder = paths.old_study_folder(database, self.spec.study_name)
        self.opened = studies.open_to_write(locate_storage(str(database)))
        self.study = studies.create_study(self.opened, self.spec.study_name)
        write_definition(self.study, self.spec, 0, Digests({}, {}))
        self.parts = {split: read_bundled(split) for split in ("validation", "test")}
        random = np.random.default_rng(7)
        self.ease = {split: random.normal(size=len(part)) for split, part in self.parts.items()}

    def add_named(self, *, is_read: bool = True, keeps_answers: bool = True) -> None:
        """Every replicate of every named trial that has an accuracy above."""
        for name, (named, seed) in self.spec.replicates(0).items():
            if named.name not in ACCURACIES:
                continue
            config = self.spec.named_config(named, seed)
            number, sha256 = len(self.study.trials), f"{len(self.study.trials):064x}"
            answers = {split: self._answers(split, name, seed) for split in self.parts}
            reached = {
                split: _accuracy(self.parts[split], logits) for split, logits in answers.items()
            }
            attributes = {
                "name": name,
                "settings": named.settings.given(),
                "kept_weights_sha256": sha256,
            }
            self._add(config, named.params, reached["validation"], attributes)
            for split, logits in answers.items():
                if keeps_answers and (is_read or split == "validation"):
                    self._keep(number, split, logits)
            if is_read:
                parts = (number, name, config.seed, sha256, "0" * 64, 1000, reached["test"], 1.0)
                result = TestResult(self.spec.study_name, *parts)
                record_test_read(self.opened.engine, result, "cifar-tune trial test")

    def add_with_weights(self, name: str) -> None:
        """The first replicate of a named trial, with pretrained weights under an untrained head."""
        named, seed = self.spec.replicates(0)[f"{name}/seed=1"]
        config = self.spec.named_config(named, seed)
        (pretrained,) = load_weights([config.weights], Path()).values()
        torch.manual_seed(0)
        model = build_model(config, len(CLASSES), pretrained.tensors)
        number = len(self.study.trials)
        path = paths.kept_weights_file(self.folder, number)
        attributes = {"name": f"{name}/seed=1", "kept_weights_sha256": save_model(model, path)}
        self._add(config, named.params, ACCURACIES[name], attributes)

    def add_sampled(self, count: int) -> None:
        """Trials of a search, every second one pruned after its second epoch."""
        random = np.random.default_rng(11)
        for index in range(count):
            params = {
                key: float(random.uniform(one.low, one.high))
                for key, one in self.spec.space.ranges().items()
            }
            accuracy = 0.5 - 0.3 * abs(params.get("dropout_rate", 0.0) - 0.25)
            config = self.spec.config(params, seed=1000 + index)
            self._add(config, params, accuracy, {}, epochs=2 if index % 2 else None)

    def _add(
        self,
        config: TrialConfig,
        params: Mapping[str, float],
        accuracy: float,
        attributes: Mapping[str, Any],
        epochs: int | None = None,
    ) -> None:
        random = np.random.default_rng(config.seed)
        pace = SECONDS.get(attributes.get("name", "").rpartition("/")[0], 20.0)
        last = epochs or config.epochs
        history = []
        for epoch in range(1, last + 1):
            reached = round(accuracy * (1 - 0.5**epoch) / (1 - 0.5**last), 6)
            seconds = round(pace * (1 + 0.02 * float(random.normal())), 3)
            train = min(1.3 * reached, 0.99)
            parts = (epoch, 2.3 * (1 - train), train, 2.5 * (1 - reached), reached, seconds)
            history.append(dataclasses.asdict(EpochMetrics(*parts)))
        history[-1]["val_accuracy"] = accuracy
        software = {"cifar-tune": "made up"}
        self.study.add_trial(
            create_trial(
                state=TrialState.PRUNED if epochs else TrialState.COMPLETE,
                value=accuracy,
                params=dict(params),
                distributions=dict(distributions(self.spec.space)) if params else {},
                intermediate_values={one["epoch"]: one["val_accuracy"] for one in history},
                user_attrs={
                    **attributes,
                    "seed": config.seed,
                    "config": dataclasses.asdict(config),
                    "facts": {"data_digests": {}, "device": DEVICE, "software": software},
                    "history": history,
                },
            )
        )

    def _answers(self, split: str, name: str, seed: int) -> npt.NDArray[np.float32]:
        """Logits that are right for the easiest images, with a little luck by seed."""
        part, accuracy = self.parts[split], ACCURACIES[name.rpartition("/")[0]]
        random = np.random.default_rng([seed, *name.encode(), *split.encode()])
        ease = self.ease[split] + 0.7 * random.normal(size=len(part))
        right = ease >= np.quantile(ease, 1 - accuracy - 0.004 * float(random.normal()))
        wrong = (part.labels + 1 + random.integers(0, 9, len(part))) % 10
        logits = random.normal(size=(len(part), 10)).astype(np.float32)
        logits[np.arange(len(part)), np.where(right, part.labels, wrong)] += 6
        return logits

    def _keep(self, number: int, split: str, logits: npt.NDArray[np.float32]) -> None:
        part = self.parts[split]
        rows = np.arange(len(part))
        path = paths.predictions_file(self.folder, number, split)
        save_predictions(make_predictions(CLASSES, part, rows, logits), path)


def _accuracy(part: LabelledImages, logits: npt.NDArray[np.float32]) -> float:
    return int((logits.argmax(axis=1) == part.labels).sum()) / len(part)
