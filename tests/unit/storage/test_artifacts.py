"""Artifacts of trials: Optuna reads them, and a second try after a kill leaves one set."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from optuna.storages import RDBStorage

from cifar_tune.errors import StorageError
from cifar_tune.storage.artifacts import (
    FILE_NAMES,
    describe_artifact,
    publish,
    record_artifacts,
    write_metrics,
)
from cifar_tune.storage.optuna_private import get_storage, get_trial_id
from cifar_tune.training.records import EpochMetrics


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(storage=RDBStorage(f"sqlite:///{tmp_path / 'trials.db'}"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


def stage(tmp_path: Path, content: str, kinds: Iterable[str] = FILE_NAMES) -> dict[str, Path]:
    """Write files as a worker does, before the runner gives them their names."""
    staged = {kind: tmp_path / f".{kind}.staged" for kind in kinds}
    for kind, path in staged.items():
        path.write_text(f"{content} {kind}")
    return staged


def read_as_optuna(study: optuna.Study, folder: Path) -> dict[str, str]:
    """Return what Optuna's own functions find of the first trial, by file name, in order."""
    store = FileSystemArtifactStore(folder)
    metas = get_all_artifact_meta(study.trials[0], storage=get_storage(study))
    contents = {}
    for meta in metas:
        with store.open_reader(meta.artifact_id) as file:
            contents[meta.filename] = file.read().decode()
    assert len(contents) == len(metas), "two of a kind"
    return contents


def test_optuna_reads_what_was_published(study: optuna.Study, folder: Path, tmp_path: Path) -> None:
    trial = study.ask()
    staged = stage(tmp_path, "first")
    record_artifacts(trial, publish(staged, folder, f"folder/{trial.number}"))
    expected = {name: f"first {kind}" for kind, name in FILE_NAMES.items()}
    assert list(read_as_optuna(study, folder).items()) == list(expected.items())
    assert not any(path.exists() for path in staged.values())
    assert publish({}, tmp_path / "nothing", "folder/1") == []
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("recorded", range(5))
@pytest.mark.parametrize("moved", ["all", "some"])
def test_a_second_try_after_a_kill_leaves_one_set(
    study: optuna.Study, folder: Path, tmp_path: Path, moved: str, recorded: int
) -> None:
    trial = study.ask()
    kinds = list(FILE_NAMES) if moved == "all" else list(FILE_NAMES)[:2]
    artifacts = publish(stage(tmp_path, "first", kinds), folder, f"folder/{trial.number}")
    record_artifacts(trial, artifacts[:recorded])  # and there the runner was killed
    artifacts = publish(stage(tmp_path, "second"), folder, f"folder/{trial.number}")
    record_artifacts(trial, artifacts)
    study.tell(trial, 0.5)
    expected = {name: f"second {kind}" for kind, name in FILE_NAMES.items()}
    assert list(read_as_optuna(study, folder).items()) == list(expected.items())
    assert len(list(folder.iterdir())) == len(FILE_NAMES)


def test_a_second_try_after_somebody_has_deleted_one(
    study: optuna.Study, folder: Path, tmp_path: Path
) -> None:
    trial = study.ask()
    (artifact,) = publish(stage(tmp_path, "first", ["metrics"]), folder, f"folder/{trial.number}")
    key = f"artifacts:{artifact.artifact_id}"
    # As optuna-dashboard deletes it.
    (folder / artifact.artifact_id).unlink()
    trial.storage.set_trial_system_attr(get_trial_id(trial), key, "null")
    record_artifacts(
        trial, publish(stage(tmp_path, "second", ["metrics"]), folder, f"folder/{trial.number}")
    )
    assert read_as_optuna(study, folder) == {"metrics.csv": "second metrics"}


def test_a_trial_s_artifact_is_always_called_the_same() -> None:
    artifact = describe_artifact("7", "metrics")
    assert artifact == describe_artifact("7", "metrics") != describe_artifact("8", "metrics")
    assert artifact.artifact_id == "0361d954-5569-50f2-a55a-370071440754"
    assert (artifact.filename, artifact.mimetype) == ("metrics.csv", "text/csv")
    assert artifact.encoding is None


def test_a_folder_that_cannot_be_made(folder: Path, tmp_path: Path) -> None:
    folder.write_text("in the way")
    with pytest.raises(StorageError, match="artifacts: cannot be written: File exists"):
        publish(stage(tmp_path, "first"), folder, "folder/1")


def test_metrics_are_a_table_of_the_epochs(tmp_path: Path) -> None:
    write_metrics([EpochMetrics(1, 2.5, 0.25, 2.0, 0.5, 1.5)], tmp_path / "metrics.csv")
    assert (tmp_path / "metrics.csv").read_text() == (
        "epoch,train_loss,train_accuracy,val_loss,val_accuracy,seconds\n1,2.5,0.25,2.0,0.5,1.5\n"
    )
