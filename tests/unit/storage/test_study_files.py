"""Files of trials get their names when the trial is complete, and go when they are of no use."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from keeping import make_spec
from optuna.trial import FrozenTrial, TrialState, create_trial

from cifar_tune import paths
from cifar_tune.config.study_file import StudySpec
from cifar_tune.errors import StorageError
from cifar_tune.storage.artifacts import FILE_NAMES
from cifar_tune.storage.study_files import Settled, StudyFiles
from cifar_tune.training.records import EpochMetrics, TrialFiles, TrialResult


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "s.db"
    path.touch()
    return path


def make_result(accuracy: float, kept_sha256: str | None = "abc") -> TrialResult:
    return TrialResult((EpochMetrics(1, 1.0, 0.5, 1.0, accuracy, 1.0),), False, kept_sha256)


def train(files: StudyFiles, number: int, content: str = "weights") -> TrialFiles:
    """Write what a worker writes of a trial."""
    places = files.for_worker(number, weights=True, predictions=True)
    assert places.checkpoints is not None
    places.checkpoints.mkdir(parents=True)
    (places.checkpoints / "epoch-1-step-0.safetensors").write_text("state")
    for path in places.made.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return places


def stored_trial(number: int, value: float, **attributes: Any) -> FrozenTrial:
    trial = create_trial(value=value, user_attrs={"kept_weights_sha256": "abc", **attributes})
    trial.number = number
    return trial


def names(database: Path) -> list[str]:
    """Return the files beside the database, each with the kind of its folder."""
    files = [path for path in database.parent.rglob("*") if path.is_file() and path != database]
    return sorted(f"{path.relative_to(database.parent).parts[0]}/{path.name}" for path in files)


def open_files(spec: StudySpec, database: Path, trials: Iterable[FrozenTrial] = ()) -> StudyFiles:
    return StudyFiles(spec, database, folder_of(database), trials)


def folder_of(database: Path) -> paths.StudyFolder:
    return paths.new_study_folder(database, "dropout:quick", "0f")


def weights_of(database: Path, number: int) -> Path:
    return paths.kept_weights_file(folder_of(database), number)


def test_what_a_worker_writes_has_no_final_name(database: Path) -> None:
    files = open_files(make_spec(), database)
    places = files.for_worker(3, weights=True, predictions=False)
    assert places.predictions is None
    assert len(places.made) == 4
    assert all(path.match(paths.STAGED_PATTERN) for path in places.made.values())
    another_run = open_files(make_spec(), database).for_worker(3, weights=True, predictions=False)
    assert not set(places.made.values()) & set(another_run.made.values())
    assert another_run.checkpoints == places.checkpoints
    assert places.features == paths.features_folder(database)


def test_a_named_trial_gets_its_files(database: Path) -> None:
    files = open_files(make_spec(keep_weights="named"), database)
    train(files, 0)
    assert files.settle(0, "p=0.1/seed=1", make_result(0.5)) == Settled(weights_sha256="abc")
    assert weights_of(database, 0).read_text() == "weights"
    files.clear(0)
    assert "s-weights/trial-0.safetensors" in names(database)
    assert "s-predictions/trial-0-validation.safetensors" in names(database)
    assert len(names(database)) == 2
    files.remove_empty_folders()
    assert not database.with_name("s-checkpoints").exists()


def test_a_trial_that_wrote_no_weights_and_one_that_is_not_named(database: Path) -> None:
    files = open_files(make_spec(keep_best=1), database)
    train(files, 0)
    assert files.settle(0, None, make_result(0.5, kept_sha256=None)) == Settled()
    assert not any(path.startswith("s-weights/trial") for path in names(database))
    assert not any(path.startswith("s-predictions/trial") for path in names(database))


def test_better_weights_take_the_place_of_others_after_the_record(database: Path) -> None:
    files = open_files(make_spec(keep_best=1), database)
    settled = []
    for number, accuracy in enumerate((0.5, 0.4, 0.6)):
        train(files, number, content=f"weights {number}")
        settled.append(files.settle(number, None, make_result(accuracy)))
    assert settled == [Settled("abc"), Settled(), Settled("abc")]
    assert [weights_of(database, number).exists() for number in range(3)] == [
        True, False, True
    ]  # fmt: skip
    files.remove_fallen()
    assert [path.read_text() for path in files.weights_folder.glob("trial-*")] == ["weights 2"]


def test_a_named_trial_beyond_the_cap_is_told_of(database: Path) -> None:
    spec = make_spec(keep_weights="named", keep_gigabytes=1e-8)  # ten bytes: one file of seven
    files = open_files(spec, database)
    for number in (0, 1):
        train(files, number)
    assert files.settle(0, "p=0.1/seed=1", make_result(0.5)).note is None
    settled = files.settle(1, "p=0.1/seed=2", make_result(0.9))
    assert settled == Settled(note="its weights are not kept: keep_gigabytes = 1e-08 is reached")
    assert not weights_of(database, 1).exists()


def test_a_second_run_knows_which_weights_are_kept(database: Path) -> None:
    files = open_files(spec := make_spec(keep_best=2), database)
    for number in (0, 1):
        train(files, number)
        files.settle(number, None, make_result(0.5 + number / 10))
    gone = stored_trial(9, 0.9)  # somebody removed its file
    failed = stored_trial(0, 0.5)
    failed.state = TrialState.FAIL
    files = open_files(
        spec.with_profile(keep_best=1), database, [gone, failed, stored_trial(1, 0.6)]
    )
    train(files, 2)
    assert files.settle(2, None, make_result(0.55)) == Settled()
    files.clean(begun=())
    files.clear(0)  # of which no record is kept
    assert [path.name for path in files.weights_folder.iterdir()] == ["trial-1.safetensors"]


def test_what_a_run_that_died_has_left_is_removed(database: Path) -> None:
    files = open_files(spec := make_spec(keep_best=1), database)
    for number in (0, 1, 2):
        train(files, number)
    files.settle(0, None, make_result(0.5))
    checkpoints = paths.checkpoints_folder(folder_of(database), 1)
    (checkpoints / ".epoch-2.safetensors.1-ab.part").touch()
    open_files(spec, database, [stored_trial(0, 0.5)]).clean(begun={1})
    assert names(database) == [
        "s-checkpoints/epoch-1-step-0.safetensors",
        "s-weights/trial-0.safetensors",
    ]
    assert [path.name for path in checkpoints.iterdir()] == ["epoch-1-step-0.safetensors"]


def test_maps_are_published_of_the_best_alone(database: Path) -> None:
    files = open_files(make_spec(), database)
    published = []
    for number, is_best in enumerate((True, False)):
        train(files, number)
        files.write_metrics(number, make_result(0.5).epochs)
        artifacts = files.publish(number, is_best=is_best)
        published.append([artifact.filename for artifact in artifacts])
        files.clear(number)
    rest = [name for kind, name in FILE_NAMES.items() if kind != "activation_maps"]
    assert published == [list(FILE_NAMES.values()), rest]
    assert len(list(paths.artifacts_folder(database).iterdir())) == 7
    assert files.publish(2, is_best=True) == []
    files.write_metrics(2, [])
    assert files.publish(2, is_best=True) == []


@pytest.mark.parametrize("kind", ["checkpoints", "weights", "predictions"])
@pytest.mark.parametrize("is_inner", [True, False])
def test_nothing_is_removed_where_a_link_leads_to(
    database: Path, tmp_path: Path, kind: str, is_inner: bool
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "trial-7").mkdir(parents=True)
    for name in ("trial-7/epoch-1-step-0.safetensors", ".x.staged", "trial-7.safetensors"):
        (elsewhere / name).touch()
    before = sorted(elsewhere.rglob("*"))
    opened = open_files(make_spec(), database)
    folder = folder_of(database).of_kind(kind)
    link = folder if is_inner else folder.parent
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere)
    for act in (
        lambda: open_files(make_spec(), database),
        lambda: opened.clean(begun=()),
        lambda: opened.clear(7),
        lambda: opened.for_worker(7, weights=True, predictions=True),
    ):
        with pytest.raises(StorageError, match="is a symbolic link, expected a folder or nothing"):
            act()
    assert sorted(elsewhere.rglob("*")) == before


def test_no_checkpoint_is_written_where_a_link_leads_to(database: Path, tmp_path: Path) -> None:
    checkpoints = paths.checkpoints_folder(folder_of(database), 3)
    checkpoints.parent.mkdir(parents=True)
    checkpoints.symlink_to(tmp_path)
    with pytest.raises(StorageError, match="trial-3: is a symbolic link"):
        open_files(make_spec(), database).for_worker(3, weights=True, predictions=False)
