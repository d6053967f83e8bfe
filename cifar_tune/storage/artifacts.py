"""Pictures and tables of trials, kept so that optuna-dashboard shows them and Optuna finds them.

A file is first in its place and then in the database, in the form of ``optuna.artifacts``. That
takes no record once a trial has ended, so all of it is done while the trial still runs. A trial
that is ended twice, because its runner died in between, replaces its files: their names follow from
the trial. ``optuna.artifacts.upload_artifact`` draws a new name each time and records it before the
file is there, so a second try would leave two sets, and browsers would show them in any order.
"""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import optuna
from optuna.artifacts import ArtifactMeta

from cifar_tune.errors import StorageError
from cifar_tune.files import explain_disk, flush_folder, replacing
from cifar_tune.storage.optuna_private import ARTIFACT_KEY_PREFIX, get_trial_id
from cifar_tune.training.records import EpochMetrics

FILE_NAMES = {
    "learning_curves": "learning-curves.png",
    "confusion_matrix": "confusion-matrix.png",
    "activation_maps": "activation-maps.png",
    "metrics": "metrics.csv",
}
"""What each is called in a browser, in the order of their places there; all but the last are fields
of ``TrialFiles``."""

_TYPES = {".png": "image/png", ".csv": "text/csv"}
_NAMESPACE = uuid.UUID("4f6f0a1e-64a4-5a52-9d0c-6d0b0c6f2b57")


def describe_artifact(trial: str, kind: str) -> ArtifactMeta:
    """Return the record of a trial's artifact.

    Args:
        trial: What no other trial of any database is called.
        kind: A key of ``FILE_NAMES``.
    """
    name, place = FILE_NAMES[kind], list(FILE_NAMES).index(kind)
    artifact_id = str(uuid.uuid5(_NAMESPACE, f"{trial}/{name}"))
    # The database returns them by their ids, and a browser shows them as they come.
    artifact_id = f"{place:02x}{artifact_id[2:]}"
    return ArtifactMeta(artifact_id, name, _TYPES[Path(name).suffix], encoding=None)


def publish(staged: Mapping[str, Path], folder: Path, trial: str) -> list[ArtifactMeta]:
    """Move files of a trial, by key of ``FILE_NAMES``, into the folder of artifacts.

    Each is there whole or not at all. ``trial`` is as for ``describe_artifact``. Returns what is to
    be recorded of them.

    Raises:
        StorageError: They cannot be moved.
    """
    if not staged:
        return []
    artifacts = [describe_artifact(trial, kind) for kind in staged]
    with explain_disk(folder, StorageError):
        folder.mkdir(parents=True, exist_ok=True)
        for artifact, path in zip(artifacts, staged.values(), strict=True):
            path.replace(folder / artifact.artifact_id)
        flush_folder(folder)
    return artifacts


def record_artifacts(trial: optuna.Trial, artifacts: Iterable[ArtifactMeta]) -> None:
    """Store which files a trial has, once they are in their places and before it has ended."""
    for artifact in artifacts:
        key = f"{ARTIFACT_KEY_PREFIX}{artifact.artifact_id}"
        trial.storage.set_trial_system_attr(get_trial_id(trial), key, json.dumps(asdict(artifact)))


def write_metrics(history: Sequence[EpochMetrics], path: Path) -> None:
    """Write a table of the epochs as CSV: accuracies as fractions, losses in nats.

    Raises:
        StorageError: It cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(field.name for field in fields(EpochMetrics))
    table.writerows(asdict(epoch).values() for epoch in history)
    content = text.getvalue().encode()
    with replacing(path, len(content), StorageError) as temporary:
        temporary.write_bytes(content)
