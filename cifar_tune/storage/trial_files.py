"""The files beside the database that a study's trials make: who writes, names and removes them.

A worker writes under a name of its run's own; the runner gives the file its final name once the
trial is complete, and before the database says so. Checkpoints go when their trial has ended.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cifar_tune import paths
from cifar_tune.config.study_file import StudySpec
from cifar_tune.files import flush_folder
from cifar_tune.storage import artifacts
from cifar_tune.storage.kept_weights import Candidate, choose_kept
from cifar_tune.training.records import EpochMetrics, TrialFiles, TrialResult


@dataclass(frozen=True)
class Settled:
    """What became of a complete trial's weights: their SHA-256 if they are kept, else a note where
    a reader would expect them to be."""

    weights_sha256: str | None
    note: str | None


class StudyFiles:
    """The files of one study.

    Args:
        database: the SQLite file, or what stands for another kind of database.
        token: of the run.
        complete: trials with kept weights, by number: whether named, and validation accuracy.
    """

    def __init__(
        self,
        spec: StudySpec,
        database: Path,
        token: str,
        complete: Mapping[int, tuple[bool, float]],
    ) -> None:
        self._spec = spec
        self._database = database
        self._token = token
        self._fallen: set[int] = set()
        self._candidates = {
            number: Candidate(number, is_named, accuracy, self._weights(number).stat().st_size)
            for number, (is_named, accuracy) in complete.items()
            if self._weights(number).is_file()
        }

    @property
    def weights_folder(self) -> Path:
        """Where the final weights are kept."""
        return self._weights(0).parent

    def of_worker(self, number: int, *, weights: bool, predictions: bool) -> TrialFiles:
        """Where a worker writes what a trial makes."""
        return TrialFiles(
            self._staged(self._weights(number)) if weights else None,
            self._staged(self._predictions(number)) if predictions else None,
            self._checkpoints(number),
            self._staged_artifact(number, "learning_curves"),
            self._staged_artifact(number, "confusion_matrix"),
            self._staged_artifact(number, "activation_maps"),
            paths.features_folder(self._database),
        )

    def settle(self, number: int, name: str | None, result: TrialResult) -> Settled:
        """Give the files of a complete trial their names, or remove weights that are not kept."""
        predictions = self._predictions(number)
        if name is not None and self._staged(predictions).exists():
            self._staged(predictions).replace(predictions)
            flush_folder(predictions.parent)
        if result.kept_sha256 is None:
            return Settled(None, None)
        weights = self._weights(number)
        staged = self._staged(weights)
        size, is_named = staged.stat().st_size, name is not None
        self._candidates[number] = Candidate(number, is_named, result.val_accuracy, size)
        kept = choose_kept(self._spec, self._candidates.values())
        self._fallen |= self._candidates.keys() - kept - {number}
        self._candidates = {key: self._candidates[key] for key in kept}
        if number in kept:
            staged.replace(weights)
            flush_folder(weights.parent)
            return Settled(result.kept_sha256, None)
        staged.unlink()
        cap = self._spec.profile.keep_gigabytes
        is_wanted = is_named and self._spec.profile.keep_weights == "named"
        note = f"its weights are not kept: keep_gigabytes = {cap:g} is reached"
        return Settled(None, note if is_wanted else None)

    def write_metrics(self, number: int, history: Sequence[EpochMetrics]) -> None:
        """Write the table of a trial's epochs, to be published with what its worker drew."""
        if history:
            artifacts.write_metrics(history, self._staged_artifact(number, "metrics"))

    def publish(self, number: int, trial_id: int, *, is_best: bool) -> list[artifacts.Artifact]:
        """Move what there is of a trial's pictures and tables to the artifacts.

        Args:
            trial_id: in the database.
            is_best: whether no complete trial surpasses it; of others no maps are kept.

        Returns:
            What is to be recorded of them.

        Raises:
            StorageError: they cannot be moved.
        """
        kinds = [kind for kind in artifacts.FILE_NAMES if is_best or kind != "activation_maps"]
        places = {kind: self._staged_artifact(number, kind) for kind in kinds}
        staged = {kind: path for kind, path in places.items() if path.exists()}
        return artifacts.publish(staged, paths.artifacts_folder(self._database), trial_id)

    def remove_fallen(self) -> None:
        """Remove weights that better ones have taken the place of, once those are recorded."""
        for number in self._fallen:
            self._weights(number).unlink(missing_ok=True)
        self._fallen.clear()

    def clear(self, number: int) -> None:
        """Remove what a trial that has ended has no use for, once the disk has its record."""
        self._flush_database()
        shutil.rmtree(self._checkpoints(number), ignore_errors=True)
        if number not in self._candidates:
            # Of a run that died, or a database that fell behind its files, before a record said so.
            self._weights(number).unlink(missing_ok=True)

    def clean(self, begun: Collection[int]) -> None:
        """Remove what runs that died have left: files without a name, checkpoints of trials that
        have ended, and weights that better ones have taken the place of.

        Args:
            begun: trials that have not ended.
        """
        for folder in (self.weights_folder, self._predictions(0).parent):
            for path in folder.glob(paths.STAGED_PATTERN):
                path.unlink(missing_ok=True)
        wanted = {self._checkpoints(number).name for number in begun}
        for path in self._checkpoints(0).parent.glob("trial-*"):
            if path.name not in wanted:
                shutil.rmtree(path, ignore_errors=True)
            for pattern in (paths.UNFINISHED_PATTERN, paths.STAGED_PATTERN):
                for unfinished in path.glob(pattern):
                    unfinished.unlink(missing_ok=True)
        kept = choose_kept(self._spec, self._candidates.values())
        self._fallen |= self._candidates.keys() - kept
        self._candidates = {key: self._candidates[key] for key in kept}
        self.remove_fallen()

    def remove_empty_folders(self) -> None:
        """Leave no folder of checkpoints behind a study that is done."""
        folder = self._checkpoints(0).parent
        for path in (folder, folder.parent):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()

    def _flush_database(self) -> None:
        """Bring what is committed to the disk: SQLite's write-ahead log is flushed now and then."""
        log = self._database.with_name(f"{self._database.name}-wal")
        if log.exists():
            with log.open("rb") as file:
                os.fsync(file.fileno())

    def _weights(self, number: int) -> Path:
        return paths.kept_weights_file(self._database, self._spec.study_name, number)

    def _predictions(self, number: int) -> Path:
        return paths.predictions_file(self._database, self._spec.study_name, number, "validation")

    def _checkpoints(self, number: int) -> Path:
        return paths.checkpoints_folder(self._database, self._spec.study_name, number)

    def _staged_artifact(self, number: int, kind: str) -> Path:
        """Among the checkpoints, which go together with it when the trial has ended."""
        return self._staged(self._checkpoints(number) / artifacts.FILE_NAMES[kind])

    def _staged(self, path: Path) -> Path:
        return paths.staged(path, self._token)
