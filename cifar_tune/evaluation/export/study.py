"""A study as one JSON file: all that the database has of it, to be imported on another machine.

The file has the study's definition, each trial with configuration, metrics, versions and digests,
the studies that were derived from it, what their trials say of each image, and the rows of the
ledger of test reads that belong to them. Weights and pictures stay where they are.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import BaseModel, ValidationError, model_validator

from cifar_tune import __version__
from cifar_tune.config.derived import family
from cifar_tune.config.trial import digest_of
from cifar_tune.errors import InputError, StorageError
from cifar_tune.evaluation.export.study_predictions import (
    AnswersKey,
    ExportedAnswers,
    describe_answers,
    keep_answers,
    read_answers,
)
from cifar_tune.evaluation.test_reads import TestRead, add_test_reads, read_ledger
from cifar_tune.files import parse_json, read_text, replacing
from cifar_tune.storage import studies as stored
from cifar_tune.storage.lease import hold_lease
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.storage.optuna_private import add_trial, get_study_id
from cifar_tune.storage.origin import is_foreign, list_all_trials
from cifar_tune.storage.study_folders import ATTRIBUTE as FOLDERS
from cifar_tune.storage.study_folders import claim_folder, read_folders
from cifar_tune.training.predictions import Answers

FORMAT = 2
"""The format of the file; the first one had no answers."""
MOST_BYTES = 512 << 20
"""No export is larger: a study of thousands of trials with their answers has a tenth of that."""


class ExportedTrial(BaseModel):
    """A trial that is at its end."""

    number: int
    state: Literal["complete", "pruned", "fail"]
    value: float | None
    params: dict[str, Any]
    distributions: dict[str, Any]
    attributes: dict[str, Any]
    val_accuracy: dict[str, float]
    begun: str | None
    ended: str | None

    @classmethod
    def of(cls, trial: FrozenTrial) -> ExportedTrial:
        """Return a stored trial as an export has it."""
        accuracies = trial.intermediate_values.items()
        return cls(
            number=trial.number,
            state=trial.state.name.lower(),  # type: ignore[arg-type]
            value=trial.value,
            params=trial.params,
            distributions={
                name: json.loads(distribution_to_json(distribution))
                for name, distribution in trial.distributions.items()
            },
            attributes=dict(sorted(trial.user_attrs.items())),
            val_accuracy={str(step): value for step, value in accuracies},
            begun=_as_utc(trial.datetime_start),
            ended=_as_utc(trial.datetime_complete),
        )

    def to_frozen(self) -> FrozenTrial:
        """Return the trial as Optuna stores it."""
        frozen = create_trial(
            state=TrialState[self.state.upper()],
            value=self.value,
            params=self.params,
            distributions={
                name: json_to_distribution(json.dumps(distribution))
                for name, distribution in self.distributions.items()
            },
            user_attrs=self.attributes,
            intermediate_values={int(step): value for step, value in self.val_accuracy.items()},
        )
        frozen.datetime_start = _as_local(self.begun)
        frozen.datetime_complete = _as_local(self.ended)
        return frozen


def _as_utc(moment: datetime.datetime | None) -> str | None:
    """Return Optuna's local time without a zone as ISO 8601 in UTC."""
    return None if moment is None else moment.astimezone(datetime.UTC).isoformat()


def _as_local(moment: str | None) -> datetime.datetime | None:
    if moment is None:
        return None
    return datetime.datetime.fromisoformat(moment).astimezone().replace(tzinfo=None)


def _without_content(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial that another program made as one that only has a number."""
    if not is_foreign(trial):
        return trial
    empty = create_trial(state=TrialState.FAIL)
    empty.number, empty.datetime_start, empty.datetime_complete = trial.number, None, None
    return empty


class ExportedStudy(BaseModel):
    """A study whose trials are at their end."""

    study_name: str
    attributes: dict[str, Any]
    trials: list[ExportedTrial]

    @classmethod
    def of(cls, study: optuna.Study) -> ExportedStudy:
        """Return a stored study as an export has it.

        Raises:
            InputError: Trials of it still run or wait.
        """
        trials = list(map(_without_content, list_all_trials(study)))
        unfinished = [trial.number for trial in trials if not trial.state.is_finished()]
        if unfinished:
            numbers = ", ".join(map(str, unfinished))
            raise InputError(
                f"study {study.study_name}: trials {numbers} are not at their end; "
                "`cifar-tune study run` goes on with them, `cifar-tune trial drop` ends them"
            )
        return cls(
            study_name=study.study_name,
            attributes={
                key: study.user_attrs[key] for key in sorted(study.user_attrs.keys() - {FOLDERS})
            },
            trials=list(map(ExportedTrial.of, trials)),
        )


class StudyExport(BaseModel, extra="forbid"):
    """A study, and those derived from it; ``answers`` is None in a file of format 1."""

    format: int
    cifar_tune: str
    studies: list[ExportedStudy]
    answers: ExportedAnswers | None = None
    test_reads: list[TestRead]
    sha256: str

    @model_validator(mode="after")
    def _has_answers(self) -> StudyExport:
        if self.format > 1 and self.answers is None:
            raise ValueError("answers are missing")
        return self


@dataclass(frozen=True)
class Imported:
    """What an import added: names of studies with their new trials, and rows of the ledger."""

    trials: Mapping[str, int]
    test_reads: int


def export_study(location: StorageLocation, study_name: str, path: Path) -> dict[str, Any]:
    """Write a stored study, and those derived from it, to a file; return its JSON object.

    The file appears whole or not at all, and has its own digest.

    Raises:
        InputError: It is not stored, or trials of it still run or wait.
        StorageError: It cannot be written.
    """
    with explain_errors(location):
        storage = stored.open_to_read(location)
        names = family(study_name)
        studies = [study for name in names if (study := stored.find_study(storage, name))]
        if storage is None or not studies:
            raise InputError(f"study {study_name}: is not stored in {location}")
        described = [ExportedStudy.of(study).model_dump() for study in studies]
        reads = read_ledger(storage.engine)
        content: dict[str, Any] = {
            "format": FORMAT,
            "cifar_tune": __version__,
            "studies": described,
            "answers": describe_answers(
                {study.study_name: read_folders(study, location) for study in studies}, described
            ),
            "test_reads": [asdict(read) for read in reads if read.result.study_name in names],
        }
    content["sha256"] = digest_of(content)
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    with replacing(path, len(text.encode()), StorageError) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return content


def read_export(path: Path) -> StudyExport:
    """Read a file that ``export_study`` wrote.

    Raises:
        InputError: It cannot be read, is of a newer version, or was altered.
    """
    try:
        content = parse_json(read_text(path, MOST_BYTES))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}") from error
    version = content.get("format") if isinstance(content, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise InputError(
            f"{path}: format {version} is of a newer cifar-tune; this one reads up to {FORMAT}: "
            "pip install --upgrade cifar-tune"
        )
    try:
        export = StudyExport.model_validate(content)
    except ValidationError as error:
        raise InputError(
            f"{path}: is no export of a study; `cifar-tune study export` makes one"
        ) from error
    recorded = content.pop("sha256")
    digest = digest_of(content)
    if recorded != digest:
        raise InputError(f"{path}: was altered: sha256 is {recorded}, expected {digest}")
    return export


def import_study(export: StudyExport, location: StorageLocation) -> Imported:
    """Add what an export has and the database does not have yet.

    An import that was cut off is completed by another one; one more changes nothing.

    Raises:
        InputError: A study of that name is stored with other content, or what a trial says of
            each image does not fit its accuracy.
        StudyBusyError: A process runs it.
        StorageError: The database cannot be opened or written.
    """
    answers = read_answers(export.answers, _accuracies(export)) if export.answers else {}
    with explain_errors(location):
        reading = stored.open_to_read(location)
        for study in export.studies:
            _check_fits(stored.find_study(reading, study.study_name), study, location)
        storage = stored.open_to_write(location)
        trials = {
            study.study_name: _add_study(storage, location, study, answers)
            for study in export.studies
        }
        return Imported(trials, add_test_reads(storage.engine, export.test_reads))


def _accuracies(export: StudyExport) -> dict[AnswersKey, float | None]:
    accuracies = {
        AnswersKey(study.study_name, trial.number, "validation"): trial.value
        for study in export.studies
        for trial in study.trials
    }
    for result in (read.result for read in export.test_reads):
        # As reports do, the first read counts.
        key = AnswersKey(result.study_name, result.trial, "test")
        accuracies.setdefault(key, result.accuracy)
    return accuracies


def _check_fits(
    study: optuna.Study | None, wanted: ExportedStudy, location: StorageLocation
) -> None:
    """Refuse a stored study that is not the wanted one, or its beginning."""
    if study is None:
        return
    known = ExportedStudy.of(study)
    differences = [
        f"its {key}"
        for key, value in known.attributes.items()
        if wanted.attributes.get(key) != value
    ]
    if len(known.trials) > len(wanted.trials):
        differences.append(f"{len(known.trials)} trials, the file has {len(wanted.trials)}")
    pairs = zip(known.trials, wanted.trials, strict=False)
    differences += [f"trial {ours.number}" for ours, theirs in pairs if ours != theirs]
    if differences:
        raise InputError(
            f"study {study.study_name}: is stored in {location} with another content: "
            f"{differences[0]}; import into another --storage"
        )


def _add_study(
    storage: RDBStorage,
    location: StorageLocation,
    wanted: ExportedStudy,
    answers: Mapping[AnswersKey, Answers],
) -> int:
    """Add what is missing of a study, and return how many trials that were."""
    study = stored.create_study(storage, wanted.study_name)
    with hold_lease(storage.engine, get_study_id(study), study.study_name, lambda _reason: None):
        for key, value in wanted.attributes.items():
            if key != FOLDERS and study.user_attrs.get(key) != value:
                study.set_user_attr(key, value)
        if study.metric_names is None:
            study.set_metric_names(["val_accuracy"])
        # Answers first: a trial that is stored has them.
        keep_answers(claim_folder(study, location), wanted.study_name, answers)
        missing = wanted.trials[len(list_all_trials(study)) :]
        for trial in missing:
            add_trial(study, trial.to_frozen())
    return len(missing)
