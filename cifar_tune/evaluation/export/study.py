"""A study as one JSON file: all that the database has of it, to be imported on another machine.

The file has the study's definition, each trial with configuration, metrics, versions and digests,
the studies that were derived from it, what their trials say of each image, and the rows of the
ledger of test reads that belong to them. Weights and pictures stay where they are.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from cifar_tune import __version__
from cifar_tune.config.derived import family
from cifar_tune.config.trial import digest_of
from cifar_tune.errors import InputError, StorageError
from cifar_tune.evaluation.export.study_predictions import (
    describe_answers,
    keep_answers,
    read_answers,
)
from cifar_tune.evaluation.test_reads import TestRead, TestResult, add_test_reads, read_ledger
from cifar_tune.files import replacing
from cifar_tune.storage import studies as stored
from cifar_tune.storage.lease import hold_lease
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.storage.optuna_private import add_trial, get_study_id
from cifar_tune.storage.origin import is_foreign, list_all_trials

FORMAT = 2
"""Of the file; the first one had no answers."""


@dataclass(frozen=True)
class Imported:
    """What an import added: names of studies with their new trials, and rows of the ledger."""

    trials: Mapping[str, int]
    test_reads: int


def export_study(location: StorageLocation, study_name: str) -> dict[str, Any]:
    """A stored study, and those derived from it, as a JSON object with its own digest.

    Raises:
        InputError: it is not stored, or trials of it still run or wait.
    """
    with explain_errors(location):
        storage = stored.open_to_read(location)
        names = family(study_name)
        studies = [study for name in names if (study := stored.find_study(storage, name))]
        if storage is None or not studies:
            raise InputError(f"study {study_name}: is not stored in {location}")
        described = [_describe_study(study) for study in studies]
        content = {
            "format": FORMAT,
            "cifar_tune": __version__,
            "studies": described,
            "answers": describe_answers(location, described),
            "test_reads": [
                asdict(one) for one in read_ledger(storage.engine) if one.result.study_name in names
            ],
        }
    return {**content, "sha256": digest_of(content)}


def write_export(content: Mapping[str, Any], path: Path) -> None:
    """Write an export to a file that appears whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    with replacing(path, len(text.encode()), StorageError) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_export(path: Path) -> dict[str, Any]:
    """Read a file that ``write_export`` wrote.

    Raises:
        InputError: it cannot be read, is of a newer version, or was altered.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}") from error
    has_format = isinstance(content, dict) and isinstance(content.get("format"), int)
    keys = {"format", "cifar_tune", "studies", "test_reads", "sha256"}
    if has_format and content["format"] > 1:
        keys.add("answers")
    if not has_format or (content["format"] <= FORMAT and content.keys() != keys):
        raise InputError(f"{path}: is no export of a study; `cifar-tune study export` makes one")
    if content["format"] > FORMAT:
        raise InputError(
            f"{path}: format {content['format']} is of a newer cifar-tune; this one reads up to "
            f"{FORMAT}: pip install --upgrade cifar-tune"
        )
    given = content.pop("sha256")
    found = digest_of(content)
    if given != found:
        raise InputError(f"{path}: was altered: sha256 is {given}, expected {found}")
    return content


def import_study(content: Mapping[str, Any], location: StorageLocation) -> Imported:
    """Add what an export has and the database does not have yet.

    An import that was cut off is completed by another one; one more changes nothing.

    Args:
        content: as ``read_export`` gives it.

    Raises:
        InputError: a study of that name is stored with other content, or what a trial says of
            each image does not fit its accuracy.
        StudyBusyError: a process runs it.
        StorageError: the database cannot be opened or written.
    """
    answers = read_answers(content["answers"], _recorded(content)) if "answers" in content else {}
    with explain_errors(location):
        reading = stored.open_to_read(location)
        for wanted in content["studies"]:
            _check_fits(stored.find_study(reading, wanted["study_name"]), wanted, location)
        storage = stored.open_to_write(location)
        # Answers first: a trial that is stored has them.
        keep_answers(location, answers)
        trials = {one["study_name"]: _add_study(storage, one) for one in content["studies"]}
        reads = [
            TestRead(one["time"], one["command"], TestResult(**one["result"]))
            for one in content["test_reads"]
        ]
        return Imported(trials, add_test_reads(storage.engine, reads))


def _recorded(content: Mapping[str, Any]) -> dict[tuple[str, int, str], float]:
    """The accuracies that an export has by study, number of the trial and split."""
    found = {
        (study["study_name"], trial["number"], "validation"): trial["value"]
        for study in content["studies"]
        for trial in study["trials"]
    }
    for one in content["test_reads"]:
        read = one["result"]
        # As reports do, the first read counts.
        found.setdefault((read["study_name"], read["trial"], "test"), read["accuracy"])
    return found


def _describe_study(study: optuna.Study) -> dict[str, Any]:
    trials = list(map(_without_content, list_all_trials(study)))
    unfinished = [trial.number for trial in trials if not trial.state.is_finished()]
    if unfinished:
        numbers = ", ".join(map(str, unfinished))
        raise InputError(
            f"study {study.study_name}: trials {numbers} are not at their end; "
            "`cifar-tune study run` goes on with them, `cifar-tune trial drop` ends them"
        )
    return {
        "study_name": study.study_name,
        "attributes": dict(sorted(study.user_attrs.items())),
        "trials": [_describe_trial(trial) for trial in trials],
    }


def _without_content(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial that another program made as one that only has a number."""
    if not is_foreign(trial):
        return trial
    empty = create_trial(state=TrialState.FAIL)
    empty.number, empty.datetime_start, empty.datetime_complete = trial.number, None, None
    return empty


def _describe_trial(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value,
        "params": trial.params,
        "distributions": {
            name: json.loads(distribution_to_json(one)) for name, one in trial.distributions.items()
        },
        "attributes": dict(sorted(trial.user_attrs.items())),
        "val_accuracy": {str(step): value for step, value in trial.intermediate_values.items()},
        "begun": _as_utc(trial.datetime_start),
        "ended": _as_utc(trial.datetime_complete),
    }


def _as_utc(moment: datetime.datetime | None) -> str | None:
    """Optuna's local time without a zone, as ISO 8601 in UTC."""
    return None if moment is None else moment.astimezone(datetime.UTC).isoformat()


def _as_local(moment: str | None) -> datetime.datetime | None:
    if moment is None:
        return None
    return datetime.datetime.fromisoformat(moment).astimezone().replace(tzinfo=None)


def _check_fits(
    study: optuna.Study | None, wanted: Mapping[str, Any], location: StorageLocation
) -> None:
    """Refuse a stored study that is not the wanted one, or its beginning."""
    if study is None:
        return
    known = _describe_study(study)
    differing = next(_differences(known, wanted), None)
    if differing is not None:
        raise InputError(
            f"study {study.study_name}: is stored in {location} with another content: {differing}; "
            "import into another --storage"
        )


def _differences(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    for key, value in known["attributes"].items():
        if wanted["attributes"].get(key) != value:
            yield f"its {key}"
    if len(known["trials"]) > len(wanted["trials"]):
        yield f"{len(known['trials'])} trials, the file has {len(wanted['trials'])}"
    for mine, theirs in zip(known["trials"], wanted["trials"], strict=False):
        if mine != theirs:
            yield f"trial {mine['number']}"


def _add_study(storage: RDBStorage, wanted: Mapping[str, Any]) -> int:
    """Add what is missing of a study; how many trials that were."""
    study = stored.create_study(storage, wanted["study_name"])
    with hold_lease(storage.engine, get_study_id(study), study.study_name, lambda _reason: None):
        for key, value in wanted["attributes"].items():
            if study.user_attrs.get(key) != value:
                study.set_user_attr(key, value)
        if study.metric_names is None:
            study.set_metric_names(["val_accuracy"])
        missing = wanted["trials"][len(list_all_trials(study)) :]
        for one in missing:
            add_trial(study, _make_trial(one))
    return len(missing)


def _make_trial(one: Mapping[str, Any]) -> FrozenTrial:
    trial = create_trial(
        state=TrialState[one["state"].upper()],
        value=one["value"],
        params=one["params"],
        distributions={
            name: json_to_distribution(json.dumps(value))
            for name, value in one["distributions"].items()
        },
        user_attrs=one["attributes"],
        intermediate_values={int(step): value for step, value in one["val_accuracy"].items()},
    )
    trial.datetime_start, trial.datetime_complete = _as_local(one["begun"]), _as_local(one["ended"])
    return trial
