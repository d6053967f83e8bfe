"""`cifar-tune study delete`: a study goes with its files, and with nothing else."""

from __future__ import annotations

import io
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from command_line import Cli
from made_up import MadeUp
from optuna.artifacts import ArtifactMeta

from cifar_tune import paths
from cifar_tune.cli import confirmation
from cifar_tune.storage.artifacts import record_artifacts
from cifar_tune.storage.lease import hold_lease
from cifar_tune.storage.location import locate_storage
from cifar_tune.storage.optuna_private import get_study_id
from cifar_tune.storage.study_folders import claim_folder

HERE = Path("storage/cifar-tune.db")
URL = f"sqlite:///{HERE}"
DELETE = ("study", "delete", "dropout")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    """A study with every kind of files, beside another study with files of its own."""
    monkeypatch.chdir(tmp_path)
    other = MadeUp(HERE.absolute(), "final", "quick")
    other.add_named(is_read=False)
    made = MadeUp(HERE.absolute(), "dropout", "quick")
    made.add_named()
    made.add_sampled(1)
    for name in ("dropout/confirm:quick", "dropout/rerun:quick", "dropout:quick:epochs=2"):
        optuna.create_study(study_name=name, storage=URL, direction="maximize")
    folder = made.folder.of_kind("weights")
    folder.mkdir(parents=True)
    (folder / "trial-0.safetensors").write_bytes(bytes(1000))
    state = paths.checkpoints_folder(made.folder, 5) / "epoch-1.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(bytes(500))
    for study_name in ("dropout:quick", "final:quick"):
        logs = paths.worker_logs(HERE, study_name)
        logs.mkdir(parents=True)
        (logs / "worker-0.log").write_text("log")
    artifacts = paths.artifacts_folder(HERE)
    artifacts.mkdir()
    trial = made.study.ask()
    for name in ("mine", "../mine"):
        record_artifacts(trial, [ArtifactMeta(name, "a.png", "image/png", None)])
    made.study.tell(trial, state=optuna.trial.TrialState.FAIL)
    (artifacts / "mine").write_text("picture")
    (artifacts / "another").write_text("picture")
    (HERE.parent / "mine").write_text("no artifact")
    (HERE.parent / "reports").mkdir()
    (HERE.parent / "reports" / "dropout_quick.html").write_text("report")
    return made


def list_files() -> set[str]:
    """All files, without those that SQLite keeps beside an open database."""
    return {str(path) for path in Path().rglob("*") if path.is_file() and "db-" not in path.name}


def list_studies() -> set[str]:
    return set(optuna.get_all_study_names(URL))


@pytest.mark.usefixtures("made")
def test_a_study_goes_with_its_files_and_what_is_derived_from_it(cli: Cli) -> None:
    before, reads = list_files(), cli("test-reads", "--json").record["test_reads"]
    assert len(reads) == 4
    record = cli(*DELETE, "--profile", "quick", "--yes", "--json").record
    names = [deleted["study_name"] for deleted in record["deleted"]]
    assert names == ["dropout:quick", "dropout/confirm:quick", "dropout/rerun:quick"]
    assert record["deleted"][0]["trials"] == 6
    assert record["deleted"][0]["bytes"] > 1500
    assert list_studies() == {"final:quick", "dropout:quick:epochs=2"}
    gone = before - list_files()
    assert {Path(path).parts[1] for path in gone} == {
        f"cifar-tune-{kind}"
        for kind in ("weights", "checkpoints", "predictions", "logs", "artifacts")
    }
    assert all("dropout" in path or path.endswith("artifacts/mine") for path in gone)
    assert not Path("storage/cifar-tune-weights").exists()  # it would be empty
    assert "storage/cifar-tune-artifacts/another" in list_files()
    assert {"storage/mine", "storage/reports/dropout_quick.html"} <= list_files()
    assert cli("test-reads", "--json").record["test_reads"] == reads
    assert "is not stored" in cli(*DELETE, "--yes").err
    assert cli("trial", "list", "final").code == 0


@pytest.mark.usefixtures("made")
def test_it_shows_what_goes_and_asks(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    before = list_files()
    no_terminal = cli(*DELETE, "--profile", "quick")
    assert (no_terminal.code, no_terminal.out) == (2, "")
    assert no_terminal.err == (
        "error: study delete: asks first, and there is no terminal; --yes confirms it\n"
    )
    monkeypatch.setattr(confirmation, "has_terminal", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    refused = cli(*DELETE, "--profile", "quick")
    assert (refused.code, refused.out) == (1, "")
    for said in (
        "In storage/cifar-tune.db:",
        "  dropout:quick: 6 trials, ",
        "    storage/cifar-tune-weights/dropout_quick",
        "    1 artifact",
        "  dropout/confirm:quick: 0 trials, 0.0 MB of files",
        "The study file, reports and the ledger of test reads stay.",
        "Delete this? [y/N]",
        "Nothing was done.",
    ):
        assert said in refused.err, said
    assert list_files() == before
    assert len(list_studies()) == 5
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    answer = cli("study", "delete", "dropout:quick")
    assert answer.out == "Deleted dropout:quick from storage/cifar-tune.db.\n"
    assert len(list_studies()) == 2


@pytest.mark.parametrize("name", ["dropout:quick", "dropout/confirm:quick"])
def test_a_study_that_runs_is_not_deleted(cli: Cli, made: MadeUp, name: str) -> None:
    before = list_files()
    study = optuna.load_study(study_name=name, storage=URL)
    with hold_lease(made.opened.engine, get_study_id(study), name, print):
        answer = cli(*DELETE, "--profile", "quick", "--yes")
    assert answer.code == 2
    assert f"error: study {name} is being run by process {os.getpid()}" in answer.err
    assert list_files() == before
    assert len(list_studies()) == 5
    assert cli(*DELETE, "--profile", "quick", "--yes").code == 0  # the leases were given back


def test_links_are_not_followed(cli: Cli, made: MadeUp, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("keep")
    folder = made.folder.of_kind("weights")
    (folder / "link").symlink_to(outside)
    (paths.artifacts_folder(HERE) / "mine").unlink()
    (paths.artifacts_folder(HERE) / "mine").symlink_to(outside / "file")
    predictions = made.folder.of_kind("predictions")
    predictions.rename(outside / "predictions")
    predictions.symlink_to(outside / "predictions")
    kept, before = set(outside.rglob("*")), list_files()
    answer = cli(*DELETE, "--profile", "quick", "--yes")
    assert answer.code == 2
    assert answer.err.endswith("is a symbolic link, expected a folder or nothing\n")
    assert list_files() == before
    predictions.unlink()
    assert cli(*DELETE, "--profile", "quick", "--yes").code == 0
    assert set(outside.rglob("*")) == kept
    assert not os.path.lexists(folder)
    assert not os.path.lexists(paths.artifacts_folder(HERE) / "mine")


@pytest.mark.usefixtures("made")
def test_files_that_a_copy_of_the_study_reads_stay(cli: Cli) -> None:
    optuna.copy_study(
        from_study_name="dropout:quick", from_storage=URL, to_storage=URL, to_study_name="copy:mine"
    )
    before = list_files()
    answer = cli("study", "delete", "dropout:quick", "--yes")
    assert "its files stay, since they belong to a copy of it too: copy:mine" in answer.err
    assert "copy:mine" in list_studies()
    assert {Path(path).parts[1] for path in before - list_files()} == {"cifar-tune-logs"}


def test_files_that_a_copy_of_the_database_reads_stay(cli: Cli) -> None:
    made = MadeUp(HERE.absolute(), "dropout", "quick")
    made.add_sampled(1)
    folder = claim_folder(made.study, locate_storage(str(HERE)))
    folder.of_kind("weights").mkdir(parents=True)
    with closing(sqlite3.connect(HERE)) as database:
        database.execute("VACUUM INTO 'storage/copy.db'")
    answer = cli("study", "delete", "dropout:quick", "--yes")
    assert "belong to a copy of it too: " in answer.err
    assert "storage/copy.db" in answer.err
    assert folder.of_kind("weights").is_dir()


@pytest.mark.usefixtures("made")
def test_a_study_without_a_study_file(cli: Cli) -> None:
    optuna.copy_study(
        from_study_name="final:quick", from_storage=URL, to_storage=URL, to_study_name="gone:x"
    )
    assert "unknown study 'gone'" in cli("study", "delete", "gone", "--yes").err
    answer = cli("study", "delete", "gone:x", "--yes")
    assert answer.code == 0
    assert "  gone:x: 3 trials, " in answer.err
    assert "gone:x" not in list_studies()
    assert cli("study", "delete", "dropout/confirm:quick", "--yes").code == 0
    assert {"dropout:quick", "dropout/rerun:quick"} <= list_studies()


@pytest.mark.usefixtures("made")
def test_a_deletion_that_fails_can_be_done_again(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", fail)
        answer = cli("study", "delete", "dropout:quick", "--yes")
    assert answer.code == 2
    assert answer.err.splitlines()[-1].endswith("cannot be deleted: Permission denied")
    assert "dropout:quick" in list_studies()
    assert cli("study", "delete", "dropout:quick", "--yes").code == 0
    assert not any("dropout" in path for path in list_files() if "reports" not in path)
