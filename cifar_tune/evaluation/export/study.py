"""A study as one JSON file: all that the database has of it, to be imported on another machine.

The file has the study's definition, each trial with configuration, metrics, versions and digests,
the studies that were derived from it, what their trials say of each image, and the rows of the
ledger of test reads that belong to them. Weights and pictures stay where they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage

from cifar_tune import __version__
from cifar_tune.config.derived import family
from cifar_tune.config.faults import read_record
from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.trial import digest_of
from cifar_tune.errors import InputError, StorageError
from cifar_tune.evaluation.export.study_predictions import (
    AnswersKey,
    describe_answers,
    keep_answers,
    read_answers,
)
from cifar_tune.evaluation.export.study_records import ExportedStudy, StudyExport
from cifar_tune.evaluation.test_reads import add_test_reads, make_ledger, read_ledger
from cifar_tune.files import parse_json, read_text, replacing
from cifar_tune.storage import studies as stored
from cifar_tune.storage.definition import name_metric
from cifar_tune.storage.invocations import study_arguments
from cifar_tune.storage.lease import hold_lease
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.storage.optuna_private import add_trial, get_study_id, in_one_transaction
from cifar_tune.storage.origin import list_all_trials
from cifar_tune.storage.study_folders import ATTRIBUTE as FOLDERS
from cifar_tune.storage.study_folders import claim_folder, read_folders
from cifar_tune.training.predictions import Answers

FORMAT = 2
"""The format of the file; the first one had no answers."""
MOST_BYTES = 512 << 20
"""No export is larger: a study of thousands of trials with their answers has a tenth of that."""


@dataclass(frozen=True)
class Imported:
    """What an import added: names of studies with their new trials, and rows of the ledger."""

    trials: Mapping[str, int]
    test_reads: int


def export_study(location: StorageLocation, spec: StudySpec, path: Path) -> dict[str, Any]:
    """Write a stored study, and those derived from it, to a file; return its JSON object.

    The file appears whole or not at all, and has its own digest.

    Raises:
        InputError: It is not stored, or trials of it still run or wait.
        StorageError: It cannot be written.
    """
    with explain_errors(location):
        storage = stored.open_to_read(location)
        names = family(spec.study_name)
        studies = [study for name in names if (study := stored.find_study(storage, name))]
        if storage is None or not studies:
            raise InputError(f"study {spec.study_name}: is not stored in {location}")
        drop = f"cifar-tune trial drop {study_arguments(spec, location)}"
        advice = f"; the next run goes on with them, `{drop}` ends them"
        described = [ExportedStudy.of(study, advice).model_dump() for study in studies]
        reads = read_ledger(storage.engine, names)
        content: dict[str, Any] = {
            "format": FORMAT,
            "cifar_tune": __version__,
            "studies": described,
            "answers": describe_answers(
                {study.study_name: read_folders(study, location) for study in studies}, described
            ),
            "test_reads": [asdict(read) for read in reads],
        }
    content["sha256"] = digest_of(content)
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    with replacing(path, len(text.encode()), StorageError) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return content


def read_export(path: Path) -> StudyExport:
    """Read a file that ``export_study`` wrote, and check all that it says.

    Raises:
        InputError: It cannot be read, is of a newer version, was altered, or says what no export
            does.
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
    recorded = content.get("sha256") if isinstance(content, dict) else None
    if isinstance(recorded, str):
        digest = digest_of({key: value for key, value in content.items() if key != "sha256"})
        if recorded != digest:
            raise InputError(f"{path}: was altered: sha256 is {recorded!r}, expected {digest}")
    where = f"{path}: is no export of a study, as the command study export makes one"
    return read_record(StudyExport, content, where, InputError)


def import_studies(exports: Sequence[StudyExport], location: StorageLocation) -> list[Imported]:
    """Add what exports have and the database does not have yet: all of it, or nothing.

    An import that was cut off is completed by another one; one more changes nothing.

    Raises:
        InputError: A study of that name is stored with other content, or what a trial says of
            each image does not fit its accuracy.
        StudyBusyError: A process runs it.
        StorageError: The database cannot be opened or written.
    """
    answers: dict[AnswersKey, Answers] = {}
    for export in exports:
        if export.answers is not None:
            answers |= read_answers(export.answers, _accuracies(export))
    studies = [study for export in exports for study in export.studies]
    with explain_errors(location):
        reading = stored.open_to_read(location)
        for study in studies:  # before anything is written
            _check_fits(reading, study, location)
        storage = stored.open_to_write(location)
        make_ledger(storage.engine)
        with (
            _held(storage, studies),
            ExitStack() as files,
            in_one_transaction(storage) as connection,
        ):
            addition = _Addition(storage, location, answers, files)
            return [
                Imported(
                    {study.study_name: addition.add(study) for study in export.studies},
                    add_test_reads(connection, export.test_reads),
                )
                for export in exports
            ]


@contextmanager
def _held(storage: RDBStorage, studies: Iterable[ExportedStudy]) -> Iterator[None]:
    """Hold the leases of those studies that are stored; the others have none."""
    with ExitStack() as leases:
        for name in dict.fromkeys(study.study_name for study in studies):
            study = stored.find_study(storage, name)
            if study is not None:
                lease = hold_lease(storage.engine, get_study_id(study), name, lambda _reason: None)
                leases.enter_context(lease)
        yield


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
    storage: RDBStorage | None, wanted: ExportedStudy, location: StorageLocation
) -> None:
    """Refuse a stored study that is not the wanted one, or its beginning."""
    study = stored.find_study(storage, wanted.study_name)
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


@dataclass(frozen=True)
class _Addition:
    """What adds studies within a transaction; ``files`` undoes what it wrote beside it."""

    storage: RDBStorage
    location: StorageLocation
    answers: Mapping[AnswersKey, Answers]
    files: ExitStack

    def add(self, wanted: ExportedStudy) -> int:
        """Add what is missing of a study, and return how many trials that were."""
        _check_fits(self.storage, wanted, self.location)  # another file may have brought it
        # Optuna finds out by an error that a study is there, which would undo the transaction.
        study = stored.find_study(self.storage, wanted.study_name)
        study = study or stored.create_study(self.storage, wanted.study_name)
        for key, value in wanted.attributes.items():
            if key != FOLDERS and study.user_attrs.get(key) != value:
                study.set_user_attr(key, value)
        name_metric(study)
        # Answers first: a trial that is stored has them.
        folder = claim_folder(study, self.location)
        self.files.enter_context(keep_answers(folder, wanted.study_name, self.answers))
        missing = wanted.trials[len(list_all_trials(study)) :]
        for trial in missing:
            add_trial(study, trial.to_frozen())
        return len(missing)
