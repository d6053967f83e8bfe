"""No two studies or databases share a file, and those that are renamed keep theirs."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from command_line import TINY, Cli, run_dropout
from dashboard_client import serving
from places import STUDY_FILES

from cifar_tune.evaluation.evidence import gather
from cifar_tune.evaluation.trial import read_dossier
from cifar_tune.paths import old_study_folder
from cifar_tune.search.trial_recorder import TrialRecorder
from cifar_tune.storage.location import locate_storage

QUICK = ":quick:batch_size=32,epochs=1,train_images=64,validation_images=50"

RunStudy = Callable[..., None]


@pytest.fixture
def run_study(cli: Cli) -> RunStudy:
    """Run one trial of the transfer study under another name, with weights of its own."""

    def run(name: str, *arguments: str, storage: str = "s.db", seed: int = 0) -> None:
        file = Path(f"{name}.toml")
        text = (STUDY_FILES / "transfer.toml").read_text(encoding="utf-8")
        file.write_text(text, encoding="utf-8")
        command = ("study", "run", str(file), "--storage", storage, *TINY, "--epochs", "1")
        only = ("--only", "transfer/model-b", "--seeds", "1", "--seed", str(seed))
        answer = cli(*command, *only, *arguments)
        assert answer.code == 0, answer.err

    return run


def check_files(study_name: str, storage: str = "s.db") -> Path:
    """Check that a study's first trial has its own weights and answers; return the weights."""
    location = locate_storage(storage)
    dossier = read_dossier(location, study_name, "0")
    assert dossier.weights_file is not None
    content = Path(dossier.weights_file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == dossier.weights_sha256
    evidence = gather(location, study_name, "any")
    assert evidence.validation[0].accuracy == pytest.approx(evidence.trials[0].val_accuracy)
    return Path(dossier.weights_file)


def copy_to(database: str, copy: str) -> None:
    """Copy a database with what is still in its write-ahead log."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("VACUUM INTO ?", (copy,))


def rename_in_browser(database: str, old: str, new: str) -> None:
    with serving(Path(database)) as live:
        (study,) = [
            one
            for one in live.ask("api/studies").json()["study_summaries"]
            if one["study_name"] == old
        ]
        place = f"api/studies/{study['study_id']}/rename"
        assert live.ask(place, "POST", json={"study_name": new}).status_code == 201


@pytest.mark.parametrize("names", [("猫", "犬"), ("lr+wd", "lr_wd"), ("a" * 240, "a" * 239)])
def test_studies_share_no_files(run_study: RunStudy, names: tuple[str, str]) -> None:
    for seed, name in enumerate(names):
        run_study(name, seed=seed)
    assert len({check_files(f"{name}{QUICK}") for name in names}) == 2


def test_databases_share_no_files(run_study: RunStudy) -> None:
    databases = ("runs.db", "runs.sqlite3", "runs")
    for seed, storage in enumerate(databases):
        run_study("mine", storage=storage, seed=seed)
    assert len({check_files(f"mine{QUICK}", storage) for storage in databases}) == 3
    pictures = [path.name for path in Path("runs-artifacts").iterdir()]
    assert len(pictures) == len(databases)  # the table of epochs of each


def test_a_renamed_study_keeps_its_files(run_study: RunStudy) -> None:
    run_study("mine")
    kept = check_files(f"mine{QUICK}")
    rename_in_browser("s.db", f"mine{QUICK}", "what was")
    run_study("mine", seed=1)
    assert check_files("what was") == kept != check_files(f"mine{QUICK}")


@pytest.mark.parametrize("is_renamed", [True, False])
def test_a_study_that_is_renamed_while_it_runs_keeps_its_checkpoints(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, is_renamed: bool
) -> None:
    record_epoch = TrialRecorder.epoch_ended
    old = f"dropout{QUICK.replace('epochs=1', 'epochs=2')}"

    def record(recorder: TrialRecorder, running: object, metrics: object) -> bool:
        goes_on = record_epoch(recorder, running, metrics)  # type: ignore[arg-type]
        storage = locate_storage().url
        if old in optuna.get_all_study_names(storage):
            if is_renamed:
                rename_in_browser("storage/cifar-tune.db", old, "new")
            else:
                optuna.delete_study(study_name=old, storage=storage)
        return goes_on

    monkeypatch.setattr(TrialRecorder, "epoch_ended", record)
    answer = run_dropout(cli, "--only", "dropout/p=0.1", "--seeds", "1", epochs=2)
    assert answer.code == 1
    assert "was deleted or renamed by another program" in answer.err
    checkpoints = list(Path("storage").glob("cifar-tune-checkpoints/*/trial-0/epoch-*"))
    assert bool(checkpoints) == is_renamed


def test_a_link_and_a_new_name_of_a_database_have_its_files(run_study: RunStudy) -> None:
    Path("real").mkdir()
    Path("link.db").symlink_to("real/shared.db")
    run_study("mine", storage="real/shared.db")
    assert check_files(f"mine{QUICK}", "link.db").samefile(
        check_files(f"mine{QUICK}", "real/shared.db")
    )
    run_study("through", storage="link.db", seed=1)
    assert check_files(f"through{QUICK}", "real/shared.db").is_file()
    assert not list(Path().glob("link-*"))
    copy_to("real/shared.db", "real/renamed.db")
    for path in Path("real").glob("shared.db*"):
        path.unlink()
    for name in ("mine", "through"):
        check_files(f"{name}{QUICK}", "real/renamed.db")
    with serving(Path("real/renamed.db")) as live:
        (trial,) = live.ask("api/studies/1").json()["trials"]
        (table,) = trial["artifacts"]
        answer = live.ask(f"artifacts/1/{trial['trial_id']}/{table['artifact_id']}")
    assert answer.content.startswith(b"epoch,")


def test_a_copy_of_a_database_writes_to_files_of_its_own(run_study: RunStudy) -> None:
    run_study("mine", storage="runs.db")
    copy_to("runs.db", "runs.sqlite3")
    check_files(f"mine{QUICK}", "runs.sqlite3")  # what was there before is found
    run_study("mine", "--only", "transfer/finetune", storage="runs.sqlite3")
    run_study("mine", "--only", "transfer/model-a", storage="runs.db")
    places = {
        read_dossier(locate_storage(storage), f"mine{QUICK}", "1").weights_file
        for storage in ("runs.db", "runs.sqlite3")
    }
    assert len(places) == 2
    assert None not in places


def test_what_earlier_versions_shared_is_found_where_it_is_a_study_s_own(
    run_study: RunStudy,
) -> None:
    for seed, name in enumerate(("猫", "犬")):
        run_study(name, seed=seed)
    for kind in ("weights", "predictions"):
        folders = {path.parent for path in Path(f"s-{kind}").glob("*/*")}
        assert len(folders) == 2
        for number, folder in enumerate(sorted(folders, key=os.path.getmtime)):
            if number:
                folder.rename(old_study_folder(Path("s.db"), f"犬{QUICK}").of_kind(kind))
    with closing(sqlite3.connect("s.db")) as database, database:
        database.execute("DELETE FROM study_user_attributes WHERE key = 'files'")
    check_files(f"犬{QUICK}")
    assert gather(locate_storage("s.db"), f"猫{QUICK}", "any").validation == {}
    run_study("猫", "--only", "transfer/finetune")
    check_files(f"犬{QUICK}")


def test_a_damaged_record_of_the_files_is_one_line(run_study: RunStudy, cli: Cli) -> None:
    run_study("mine")
    for damaged in ("text", [], [{"database": "../x", "folder": "y"}], [{"database": "x"}]):
        with closing(sqlite3.connect("s.db")) as database, database:
            change = "UPDATE study_user_attributes SET value_json = ? WHERE key = 'files'"
            database.execute(change, (json.dumps(damaged),))
        answer = cli("trial", "show", "mine.toml", "0", "--storage", "s.db")
        assert answer.code == 2
        (line,) = answer.err.splitlines()
        assert line.startswith(f"error: study mine{QUICK}: its attribute files is ")
