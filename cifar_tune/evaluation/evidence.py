"""Reads all that the storage holds of one study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from optuna.trial import FrozenTrial

from cifar_tune import paths
from cifar_tune.errors import StorageError
from cifar_tune.evaluation.test_reads import TestRead, TestResult, read_ledger
from cifar_tune.storage import studies
from cifar_tune.storage.invocations import train_command
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.storage.origin import list_all_trials, read_own_attributes
from cifar_tune.storage.records import FOREIGN
from cifar_tune.storage.study_folders import StudyFolders, read_folders
from cifar_tune.storage.trials import summarize
from cifar_tune.training.predictions import Answers, load_predictions
from cifar_tune.training.records import EpochMetrics


@dataclass(frozen=True)
class TrialRecord:
    """A trial as it is stored.

    Attributes:
        name: The named trial with its replicate; empty for a sampled trial.
        model: The named trial without the replicate; empty for a sampled trial.
        replicate: Which replicate it is, such as ``seed=2``; empty for a sampled trial.
        test_reads: How often the test images were read for it.
        command: The command that trains it, or the whole study for a sampled trial.
        queued: Whether a person asked for it.
    """

    number: int
    name: str
    model: str
    replicate: str
    seed: int | None
    state: str
    params: dict[str, float]
    settings: dict[str, Any]
    config: dict[str, Any]
    epochs_planned: int | None
    history: tuple[EpochMetrics, ...]
    values: dict[str, float]
    test_reads: int
    device: str
    has_weights: bool
    failure: str
    command: str
    queued: bool = False

    @property
    def kind(self) -> str:
        """The name, or where the trial comes from: ``queued``, ``sampled`` or ``foreign``."""
        if self.state == FOREIGN:
            return FOREIGN
        return self.name or ("queued" if self.queued else "sampled")

    @property
    def val_accuracy(self) -> float | None:
        """The validation accuracy after the last epoch; None before the first."""
        return self.values.get("val_accuracy")

    @property
    def label(self) -> str:
        """The name, or the number of a trial without one."""
        return self.name or f"trial {self.number}"

    def to_rows(self) -> Iterator[dict[str, object]]:
        """Yield the trial's values and its epochs as rows of a report's CSV."""
        trial = {key: getattr(self, key) for key in ("model", "seed", "state")}
        trial["trial"] = self.number
        for key, value in {**self.params, **self.values}.items():
            yield {"part": "trial", **trial, "quantity": key, "value": value}
        for metrics in self.history:
            for key, value in asdict(metrics).items():
                if key != "epoch":
                    epoch = {"epoch": metrics.epoch, "quantity": key, "value": value}
                    yield {"part": "epoch", **trial, **epoch}


@dataclass(frozen=True)
class Evidence:
    """All that the storage holds of one study.

    Attributes:
        definition: The study's attributes, as they were stored when it was first run.
        test_reads: The reads of the test images for its trials, the oldest first.
        validation: The answers of trials on each validation image, by trial number, where they
            were kept.
        test: The same for the test images.
        stored: The trials as Optuna has them.
        software: The versions that trials were computed with, each set of them once.
    """

    study_name: str
    definition: dict[str, Any]
    trials: tuple[TrialRecord, ...]
    test_reads: tuple[TestRead, ...]
    validation: dict[int, Answers]
    test: dict[int, Answers]
    stored: tuple[FrozenTrial, ...]
    software: tuple[str, ...]

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices that trials ran on, each once."""
        return tuple(dict.fromkeys(trial.device for trial in self.trials if trial.device))

    @property
    def complete(self) -> list[TrialRecord]:
        """The complete trials, in order."""
        return [trial for trial in self.trials if trial.state == "complete"]

    @property
    def best(self) -> TrialRecord | None:
        """The complete trial with the highest validation accuracy, the first of equals."""
        return max(
            self.complete,
            key=lambda trial: (trial.values["val_accuracy"], -trial.number),
            default=None,
        )


def gather(location: StorageLocation, study_name: str, run_command: str) -> Evidence:
    """Read a stored study, whose trials ``run_command`` trains.

    Raises:
        InputError: The study is not stored.
        StorageError: The database or a file beside it cannot be read, or the two do not fit.
    """
    with explain_errors(location):
        storage, study = studies.open_study(location, study_name)
        stored = study.get_trials(deepcopy=False)
        reads = read_ledger(storage.engine, [study_name])
        everyone = list_all_trials(study)
        folders = read_folders(study, location)
    results = [read.result for read in reads]
    trials = tuple(_read_trial(trial, results, run_command) for trial in everyone)
    return Evidence(
        study_name=study_name,
        definition=dict(study.user_attrs),
        trials=trials,
        test_reads=tuple(reads),
        validation=_read_answers(folders, trials, "validation"),
        test=_read_answers(folders, trials, "test"),
        stored=tuple(stored),
        software=tuple(dict.fromkeys(filter(None, map(_software, stored)))),
    )


def _read_trial(trial: FrozenTrial, results: Sequence[TestResult], run_command: str) -> TrialRecord:
    attributes = read_own_attributes(trial)
    summary = summarize(trial)
    name = summary.name or ""
    model, _, replicate = name.rpartition("/")
    config = attributes.get("config", {})
    history = tuple(EpochMetrics(**epoch) for epoch in attributes.get("history", ()))
    sha256 = attributes.get("kept_weights_sha256")
    tests = [
        result
        for result in results
        if result.trial == trial.number and result.weights_sha256 == sha256
    ]
    return TrialRecord(
        number=trial.number,
        name=name,
        model=model,
        replicate=replicate,
        seed=summary.seed,
        state=summary.outcome,
        params=dict(summary.params),
        settings=dict(summary.settings),
        config=config,
        epochs_planned=config.get("epochs"),
        history=history,
        values=_values(history, tests),
        test_reads=len(tests),
        device=str(attributes.get("facts", {}).get("device", "")),
        has_weights=sha256 is not None,
        failure=str((summary.failure or {}).get("message", "")),
        command=train_command(run_command, model, replicate) if name else run_command,
        queued=summary.queued,
    )


def _values(history: Sequence[EpochMetrics], tests: Sequence[TestResult]) -> dict[str, float]:
    """Return the quantities that are known of a trial; of several test reads the first counts."""
    values: dict[str, float] = {}
    if history:
        values["train_accuracy"] = history[-1].train_accuracy
        values["val_accuracy"] = history[-1].val_accuracy
        values["seconds"] = sum(epoch.seconds for epoch in history)
    if tests:
        values["test_accuracy"] = tests[0].accuracy
        if tests[0].flip_accuracy is not None:
            values["test_flip_accuracy"] = tests[0].flip_accuracy
    return values


def _software(trial: FrozenTrial) -> str:
    versions = read_own_attributes(trial).get("facts", {}).get("software", {})
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _read_answers(
    folders: StudyFolders, trials: tuple[TrialRecord, ...], split: str
) -> dict[int, Answers]:
    """Return kept answers by trial number, checked against the recorded accuracies."""
    quantity = {"validation": "val_accuracy", "test": "test_accuracy"}[split]
    kept = {}
    for trial in trials:
        recorded = trial.values.get(quantity)
        if trial.state != "complete" or not trial.name or recorded is None:
            continue
        for folder in folders:
            path = paths.predictions_file(folder, trial.number, split)
            answers = load_predictions(path)
            if answers is None:
                continue
            if abs(answers.accuracy - recorded) <= 1e-9:
                kept[trial.number] = answers
                break
            if folder == folders.own:  # the others have files of other studies too
                raise StorageError(
                    f"{path}: does not belong to trial {trial.number}: its accuracy is "
                    f"{answers.accuracy:.4f}, {recorded:.4f} is recorded"
                )
    return kept
