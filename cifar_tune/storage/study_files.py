"""The files beside the database that a study's trials make: who writes, names and removes them.

A worker writes under a name of its run's own; the runner gives the file its final name once the
trial is complete, and before the database says so. Checkpoints go when their trial has ended.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna.artifacts import ArtifactMeta
from optuna.trial import FrozenTrial, TrialState

from cifar_tune import paths
from cifar_tune.config.study_file import StudySpec
from cifar_tune.errors import StorageError
from cifar_tune.files import check_real_folder, flush_folder
from cifar_tune.storage import artifacts
from cifar_tune.storage.kept_weights import KeptCandidate, KeptWeights
from cifar_tune.training.records import EpochMetrics, TrialFiles, TrialResult


@dataclass(frozen=True)
class Settled:
    """What became of a complete trial's weights.

    Attributes:
        weights_sha256: Their SHA-256 if they are kept.
        note: Why they are not, where a reader would expect them to be.
    """

    weights_sha256: str | None = None
    note: str | None = None


class StudyFiles:
    """The files of one study, as one run sees them.

    ``database`` is the SQLite file, or what stands for another kind of database; ``folder`` is the
    study's alone.
    """

    def __init__(
        self,
        spec: StudySpec,
        database: Path,
        folder: paths.StudyFolder,
        trials: Iterable[FrozenTrial] = (),
    ) -> None:
        self._spec = spec
        self._database = database
        self.folder = folder
        self._token = uuid.uuid4().hex[:8]
        self._check_folders()
        self._kept = KeptWeights(spec, self._candidates(trials))

    @property
    def weights_folder(self) -> Path:
        """Where the final weights are kept."""
        return self._weights(0).parent

    def for_worker(self, number: int, *, weights: bool, predictions: bool) -> TrialFiles:
        """Return where a worker writes what a trial makes.

        Raises:
            StorageError: Something else is where a folder is to be.
        """
        self._check_folders(self._checkpoints(number))
        return TrialFiles(
            weights=self._staged(self._weights(number)) if weights else None,
            predictions=self._staged(self._predictions(number)) if predictions else None,
            checkpoints=self._checkpoints(number),
            learning_curves=self._staged_artifact(number, "learning_curves"),
            confusion_matrix=self._staged_artifact(number, "confusion_matrix"),
            activation_maps=self._staged_artifact(number, "activation_maps"),
            features=paths.features_folder(self._database),
        )

    def settle(self, number: int, name: str | None, result: TrialResult) -> Settled:
        """Give the files of a complete trial their names, or remove weights that are not kept."""
        if name is not None and self._staged(self._predictions(number)).exists():
            self._publish(self._predictions(number))
        if result.kept_sha256 is None:
            return Settled()
        weights, is_named = self._weights(number), name is not None
        size = self._staged(weights).stat().st_size
        if self._kept.add(KeptCandidate(number, is_named, result.val_accuracy, size)):
            self._publish(weights)
            return Settled(weights_sha256=result.kept_sha256)
        self._staged(weights).unlink()
        if not is_named or self._spec.profile.keep_weights != "named":
            return Settled()
        cap = self._spec.profile.keep_gigabytes
        return Settled(note=f"its weights are not kept: keep_gigabytes = {cap:g} is reached")

    def write_metrics(self, number: int, history: Sequence[EpochMetrics]) -> None:
        """Write the table of a trial's epochs, to be published with what its worker drew."""
        if history:
            artifacts.write_metrics(history, self._staged_artifact(number, "metrics"))

    def publish(self, number: int, *, is_best: bool) -> list[ArtifactMeta]:
        """Move a trial's pictures and tables to the artifacts, and return what is to be recorded.

        Activation maps are kept only of a trial that no complete one surpasses.

        Raises:
            StorageError: They cannot be moved.
        """
        kinds = [kind for kind in artifacts.FILE_NAMES if is_best or kind != "activation_maps"]
        places = {kind: self._staged_artifact(number, kind) for kind in kinds}
        staged = {kind: path for kind, path in places.items() if path.exists()}
        owner = f"{self.folder.name}/{number}"
        return artifacts.publish(staged, paths.artifacts_folder(self.folder.database), owner)

    # --- cleaning ---

    def remove_fallen(self) -> None:
        """Remove weights that better ones have taken the place of, once those are recorded."""
        for number in self._kept.pop_fallen():
            self._weights(number).unlink(missing_ok=True)

    def clear(self, number: int) -> None:
        """Remove what a trial that has ended has no use for, once the disk has its record."""
        self._check_folders()
        self._flush_database()
        shutil.rmtree(self._checkpoints(number), ignore_errors=True)
        if number not in self._kept:
            # Of a run that died, or a database that fell behind its files, before a record said so.
            self._weights(number).unlink(missing_ok=True)

    def clean(self, begun: Collection[int]) -> None:
        """Remove what runs that died have left.

        That is: files without a name, checkpoints of trials other than those that are ``begun``,
        and weights that better ones have taken the place of.
        """
        self._check_folders()
        for folder in (self.weights_folder, self._predictions(0).parent):
            _remove_files(folder, paths.STAGED_PATTERN)
        begun_folders = {self._checkpoints(number) for number in begun}
        for folder in self._checkpoints(0).parent.glob("trial-*"):
            if folder not in begun_folders:
                shutil.rmtree(folder, ignore_errors=True)
            _remove_files(folder, paths.UNFINISHED_PATTERN)
            _remove_files(folder, paths.STAGED_PATTERN)
        self.remove_fallen()

    def remove_empty_folders(self) -> None:
        """Leave no folder of checkpoints behind a study that is done."""
        folder = self._checkpoints(0).parent
        for path in (folder, folder.parent):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()

    def _check_folders(self, *others: Path) -> None:
        """Check that nothing is removed or written where a link leads to."""
        for kind in ("weights", "predictions", "checkpoints"):
            folder = self.folder.of_kind(kind)
            others += (folder.parent, folder)
        features = paths.features_folder(self._database)
        for path in (features, paths.artifacts_folder(self.folder.database), *others):
            check_real_folder(path, StorageError)

    def _flush_database(self) -> None:
        """Bring what is committed to the disk: SQLite's write-ahead log is flushed now and then."""
        log = self._database.with_name(f"{self._database.name}-wal")
        if log.exists():
            with log.open("rb") as file:
                os.fsync(file.fileno())

    # --- names ---

    def _candidates(self, trials: Iterable[FrozenTrial]) -> Iterator[KeptCandidate]:
        for trial in trials:
            weights = self._weights(trial.number)
            is_kept = "kept_weights_sha256" in trial.user_attrs and weights.is_file()
            if is_kept and trial.state == TrialState.COMPLETE:
                accuracy, size = float(trial.value or 0.0), weights.stat().st_size
                yield KeptCandidate(trial.number, "name" in trial.user_attrs, accuracy, size)

    def _weights(self, number: int) -> Path:
        return paths.kept_weights_file(self.folder, number)

    def _predictions(self, number: int) -> Path:
        return paths.predictions_file(self.folder, number, "validation")

    def _checkpoints(self, number: int) -> Path:
        return paths.checkpoints_folder(self.folder, number)

    def _staged_artifact(self, number: int, kind: str) -> Path:
        """Return a place among the checkpoints, which go when the trial has ended."""
        return self._staged(self._checkpoints(number) / artifacts.FILE_NAMES[kind])

    def _staged(self, path: Path) -> Path:
        return paths.staged(path, self._token)

    def _publish(self, path: Path) -> None:
        self._staged(path).replace(path)
        flush_folder(path.parent)


def _remove_files(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        path.unlink(missing_ok=True)
