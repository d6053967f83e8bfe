"""Opens studies in the database, records trials in them and reads them back."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event

from cifar_tune.errors import StorageError, StudyMismatchError
from cifar_tune.records import EpochMetrics, StoredStudy, TrialConfig, TrialResult, TrialSummary
from cifar_tune.storage_location import (
    LOCK_SECONDS,
    StorageLocation,
    check_readable,
    check_writable,
)
from cifar_tune.study_file import StudySpec

DEFAULT_SEED = 0
_GROWING = ("named", "weights_digests")
RETRIED = ("interrupted", "error")
"""Kinds of failure after which a trial is run again. A loss that is not finite is a result."""


@dataclass(frozen=True)
class Digests:
    """SHA-256 of what a study learns from: images by part, pretrained weights by name."""

    data: Mapping[str, str]
    weights: Mapping[str, str]


def open_to_write(location: StorageLocation) -> RDBStorage:
    """Open the database, making it first where there is none.

    Raises:
        StorageError: it cannot be opened or written, or is not Optuna's.
    """
    check_writable(location)
    if location.path is not None:
        location.path.parent.mkdir(parents=True, exist_ok=True)
    storage = _open(location)
    if location.path is not None:
        event.listen(storage.engine, "connect", _tune_sqlite)
        # Connections made before the listener do not have its settings.
        storage.remove_session()
        storage.engine.dispose()
    return storage


def open_to_read(location: StorageLocation) -> RDBStorage | None:
    """Open the database, or give None where there is none; makes nothing.

    Raises:
        StorageError: it cannot be opened, or is not Optuna's.
    """
    check_readable(location)
    return _open(location) if location.exists() else None


def _open(location: StorageLocation) -> RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", ExperimentalWarning)
    settings = {"connect_args": {"timeout": LOCK_SECONDS}} if location.path is not None else {}
    try:
        return RDBStorage(location.url, engine_kwargs=settings)
    except ImportError as error:
        raise StorageError(f"{location}: its database driver is not installed") from error
    except RuntimeError as error:  # Optuna's word for tables of another version
        raise StorageError(f"{location}: {error}") from error


def _tune_sqlite(connection: Any, _record: object) -> None:
    """Let the dashboard read while the runner writes (write-ahead log)."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


# --- studies ------------------------------------------------------------------------------------


def find_study(storage: RDBStorage | None, study_name: str) -> optuna.Study | None:
    """The stored study of that name, if there is one."""
    if storage is None or study_name not in optuna.get_all_study_names(storage=storage):
        return None
    return optuna.load_study(study_name=study_name, storage=storage)


def create_study(storage: RDBStorage, study_name: str) -> optuna.Study:
    """The study of that name, made where there is none."""
    return optuna.create_study(
        study_name=study_name, storage=storage, direction="maximize", load_if_exists=True
    )


def check_definition(
    study: optuna.Study | None,
    spec: StudySpec,
    seed: int | None,
    digests: Digests | None,
) -> int:
    """Check that a stored study, if any, was made with the same settings.

    Args:
        seed: the study's seed as asked for; None takes the stored one, else ``DEFAULT_SEED``.
        digests: of images and weights; None leaves them unchecked, for a plan that loads none.

    Returns:
        The study's seed.

    Raises:
        StudyMismatchError: it was not; the message names each difference.
    """
    if study is None or (not study.user_attrs and not study.get_trials(deepcopy=False)):
        return DEFAULT_SEED if seed is None else seed
    stored = study.user_attrs
    if "protocol" not in stored:
        raise StudyMismatchError(f"study {study.study_name} was made by another program")
    effective: int = stored["seed"] if seed is None else seed
    wanted = _definition(spec, effective, digests or Digests(stored["data_digests"], {}))
    differences = [
        line
        for key in ("seed", "protocol", "space", "data_digests")
        for line in _differences(key, stored.get(key), wanted[key])
    ]
    # A file may gain and lose named trials, and a run may leave some out together with the weights
    # that they start from; what stays must stay what it was.
    for key in _GROWING:
        for name, was in stored[key].items():
            differences += _differences(f"{key}.{name}", was, wanted[key].get(name, was))
    if differences:
        raise StudyMismatchError(
            f"study {study.study_name} is stored with other settings, and values of different "
            f"settings are never ranked together: {'; '.join(differences)}. Undo the change, "
            "give the study file another name, or use another --storage"
        )
    return effective


def write_definition(study: optuna.Study, spec: StudySpec, seed: int, digests: Digests) -> None:
    """Store what defines the study beside it; called by the holder of its lease."""
    definition = _definition(spec, seed, digests)
    # What a name once meant stays known, also when the file no longer has it.
    for key in _GROWING:
        definition[key] = {**study.user_attrs.get(key, {}), **definition[key]}
    for key, value in definition.items():
        if study.user_attrs.get(key) != value:
            study.set_user_attr(key, value)
    # A claim is worth something only if it was written down before the first result was seen.
    if not study.get_trials(deepcopy=False):
        study.set_user_attr("claims", {claim.name: claim.model_dump() for claim in spec.claims})
    if study.metric_names is None:
        study.set_metric_names(["val_accuracy"])


def _definition(spec: StudySpec, seed: int, digests: Digests) -> dict[str, Any]:
    ranges = spec.space.ranges()
    return {
        "title": spec.title,
        "study_file": spec.file_name,
        "profile": spec.profile_name,
        "overrides": dict(spec.overrides),
        "seed": seed,
        "protocol": spec.protocol.model_dump(),
        "space": {name: values.model_dump() for name, values in ranges.items()},
        "named": {
            named.name: {"params": named.params, "settings": named.settings.given()}
            for named in spec.named
        },
        "sampler": spec.sampler.model_dump(),
        "pruner": spec.pruner.model_dump(),
        "data_digests": dict(digests.data),
        "weights_digests": dict(digests.weights),
    }


def _differences(key: str, stored: object, wanted: object) -> Iterable[str]:
    if isinstance(stored, Mapping) and isinstance(wanted, Mapping):
        for part in {**stored, **wanted}:
            yield from _differences(f"{key}.{part}", stored.get(part), wanted.get(part))
    elif stored != wanted:
        yield f"{key} is {wanted!r}, stored {stored!r}"


# --- trials -------------------------------------------------------------------------------------


def queue_named(study: optuna.Study, spec: StudySpec, study_seed: int) -> bool:
    """Queue the next replicate of a named trial that was not run; False if there is none.

    One at a time, so that a run with other replicates finds no left-overs in the queue.
    """
    trials = study.get_trials(deepcopy=False)
    settled = {trial.user_attrs.get("name") for trial in trials if not is_to_be_retried(trial)}
    for name, (named, seed) in spec.replicates(study_seed).items():
        if name not in settled:
            settings = named.settings.given()
            attributes = {
                "name": name,
                "seed": seed,
                **({"settings": settings} if settings else {}),
            }
            study.enqueue_trial(dict(named.params), user_attrs=attributes)
            return True
    return False


def queue_retry(study: optuna.Study) -> bool:
    """Queue the next sampled trial that was cut short, with the parameters and the seed it had;
    False if there is none."""
    trials = study.get_trials(deepcopy=False)
    retried = {trial.user_attrs.get("retry_of") for trial in trials}
    for trial in trials:
        attributes = trial.user_attrs
        known = trial.params and "seed" in attributes and "name" not in attributes
        if known and is_to_be_retried(trial) and trial.number not in retried:
            again = {"retry_of": trial.number, "seed": attributes["seed"]}
            study.enqueue_trial(trial.params, user_attrs=again)
            return True
    return False


def is_to_be_retried(trial: FrozenTrial) -> bool:
    """Whether a trial failed for a reason that is not its configuration's."""
    failure = trial.user_attrs.get("failure") or {}
    return trial.state == TrialState.FAIL and failure.get("kind", "error") in RETRIED


def count_sampled(study: optuna.Study) -> int:
    """How many sampled trials are done; one that is to be run again is not."""
    return sum(
        "name" not in trial.user_attrs and trial.state.is_finished() and not is_to_be_retried(trial)
        for trial in study.get_trials(deepcopy=False)
    )


def record_start(trial: optuna.Trial, config: TrialConfig, facts: Mapping[str, Any]) -> None:
    """Store the full configuration of a trial and the facts that reproduce it.

    Under few keys: optuna-dashboard shows six attributes of a trial, and one must be its name.
    """
    trial.set_user_attr("seed", config.seed)
    trial.set_user_attr("config", dataclasses.asdict(config))
    trial.set_user_attr("facts", {"config_sha256": config.digest, **facts})


def record_epoch(trial: optuna.Trial, history: list[EpochMetrics]) -> None:
    """Store the epochs so far and report the last one's validation accuracy to Optuna."""
    trial.set_user_attr("history", [dataclasses.asdict(metrics) for metrics in history])
    trial.report(history[-1].val_accuracy, step=history[-1].epoch)


def record_result(study: optuna.Study, trial: optuna.Trial, result: TrialResult) -> None:
    """End a trial as complete or pruned, with the validation accuracy of its last epoch.

    Optuna takes no value for a pruned trial: it takes the last one that was reported.
    """
    if result.kept_sha256 is not None:
        trial.set_user_attr("kept_weights_sha256", result.kept_sha256)
    if result.pruned:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, result.val_accuracy)


def record_failure(study: optuna.Study, number: int, failure: Mapping[str, Any]) -> None:
    """End a trial as failed, with the reason."""
    trial = study.get_trials(deepcopy=False)[number]
    study._storage.set_trial_user_attr(trial._trial_id, "failure", dict(failure))
    study.tell(number, state=TrialState.FAIL)


def fail_abandoned(study: optuna.Study, message: str) -> None:
    """End trials that are marked as running; called by the holder of the lease, who runs none."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        record_failure(study, trial.number, {"kind": "interrupted", "message": message})


def summarize(trial: FrozenTrial) -> TrialSummary:
    """A stored trial as tables and JSON show it."""
    attributes, values = trial.user_attrs, trial.intermediate_values
    fixed = trial.system_attrs.get("fixed_params", {})
    seconds = trial.duration.total_seconds() if trial.duration is not None else None
    return TrialSummary(
        number=trial.number,
        name=attributes.get("name"),
        seed=attributes.get("seed"),
        state=trial.state.name.lower(),
        params=trial.params or fixed,
        settings=attributes.get("settings", {}),
        epochs=len(values),
        val_accuracy=values[max(values)] if values else None,
        seconds=round(seconds, 3) if seconds is not None else None,
        failure=attributes.get("failure"),
    )


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The complete trial with the highest validation accuracy; the first of equals."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


def read_study(study: optuna.Study) -> StoredStudy:
    """All trials of a study, and the best one."""
    best = best_trial(study)
    return StoredStudy(
        study.study_name,
        study.user_attrs.get("profile", ""),
        study.user_attrs.get("overrides", {}),
        tuple(map(summarize, study.get_trials(deepcopy=False))),
        summarize(best) if best is not None else None,
    )


def read_studies(location: StorageLocation, file_name: str) -> list[StoredStudy]:
    """The stored studies of a study file: one for each profile and set of overrides."""
    storage = open_to_read(location)
    if storage is None:
        return []
    names = optuna.get_all_study_names(storage=storage)
    return [
        read_study(optuna.load_study(study_name=name, storage=storage))
        for name in names
        if name.split(":")[0] == file_name
    ]
