"""Pictures and tables of trials, kept so that optuna-dashboard shows them and Optuna finds them.

A file is first in its place and then in the database, in the form of ``optuna.artifacts``. That
takes no record once a trial has ended, so all of it is done while the trial still runs. A trial
that is ended twice, because its runner died in between, replaces its files: their names follow from
the trial.
"""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from cifar_tune.errors import StorageError
from cifar_tune.files import explain_disk, flush_folder, replacing
from cifar_tune.training.records import EpochMetrics

KEY_PREFIX = "artifacts:"
"""Of the attribute that has an artifact's record."""

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


@dataclass(frozen=True)
class Artifact:
    """A file of a trial, as Optuna records it.

    Attributes:
        artifact_id: also the name of the file in the folder of artifacts.
        filename: what it is called where it is shown.
        encoding: of the content; None for as it is.
    """

    artifact_id: str
    filename: str
    mimetype: str
    encoding: None = None

    @property
    def attribute(self) -> tuple[str, str]:
        """Key and value of the trial's attribute that records it."""
        return f"{KEY_PREFIX}{self.artifact_id}", json.dumps(asdict(self))


def make_artifact(trial_id: int, kind: str) -> Artifact:
    """The artifact of a trial, whose id in the database is given, by a key of ``FILE_NAMES``."""
    name, place = FILE_NAMES[kind], list(FILE_NAMES).index(kind)
    identity = str(uuid.uuid5(_NAMESPACE, f"{trial_id}/{name}"))
    # The database gives them by their ids, and a browser shows them as they come.
    return Artifact(f"{place:02x}{identity[2:]}", name, _TYPES[Path(name).suffix])


def publish(staged: Mapping[str, Path], folder: Path, trial_id: int) -> list[Artifact]:
    """Move files of a trial into the folder of artifacts, each whole or not at all.

    Args:
        staged: what there is, by key of ``FILE_NAMES``.

    Returns:
        What is to be recorded of them.

    Raises:
        StorageError: they cannot be moved.
    """
    artifacts = [make_artifact(trial_id, kind) for kind in staged]
    if not artifacts:
        return []
    with explain_disk(folder, StorageError):
        folder.mkdir(parents=True, exist_ok=True)
        for artifact, path in zip(artifacts, staged.values(), strict=True):
            path.replace(folder / artifact.artifact_id)
        flush_folder(folder)
    return artifacts


def write_metrics(history: Sequence[EpochMetrics], path: Path) -> None:
    """Write a table of the epochs as CSV: accuracies as fractions, losses in nats.

    Raises:
        StorageError: it cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(one.name for one in fields(EpochMetrics))
    table.writerows(asdict(epoch).values() for epoch in history)
    content = text.getvalue().encode()
    with replacing(path, len(content), StorageError) as temporary:
        temporary.write_bytes(content)
