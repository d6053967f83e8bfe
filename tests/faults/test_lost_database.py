"""A database that is removed or replaced while a run writes to it is noticed within an epoch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Cli, run_dropout

from cifar_tune.search.trial_recorder import TrialRecorder

EPOCHS = 5


def remove(database: Path) -> None:
    for path in database.parent.glob(f"{database.name}*"):
        path.unlink()


def rename(database: Path) -> None:
    database.rename("elsewhere.db")


def replace(database: Path) -> None:
    shutil.copy(database, "copy.db")
    Path("copy.db").replace(database)


@pytest.mark.parametrize("lose", [remove, rename, replace])
def test_it_ends_with_one_error_and_keeps_the_checkpoints(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, lose: Callable[[Path], None]
) -> None:
    database = Path("storage") / "cifar-tune.db"
    record_epoch = TrialRecorder.epoch_ended
    epochs = []

    def record(recorder: TrialRecorder, running: object, metrics: object) -> bool:
        epochs.append(metrics)
        goes_on = record_epoch(recorder, running, metrics)  # type: ignore[arg-type]
        if len(epochs) == 2:
            lose(database)
        return goes_on

    monkeypatch.setattr(TrialRecorder, "epoch_ended", record)
    answer = run_dropout(cli, "--only", "dropout/p=0.1", "--seeds", "1", epochs=EPOCHS)
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert line.startswith(f"error: {database}: was removed or replaced by another program")
    assert len(epochs) <= 3
    assert "stored in" not in answer.out
    assert database.exists() == (lose is replace)
    (folder,) = Path("storage").glob("cifar-tune-checkpoints/*/trial-0")
    assert list(folder.glob("epoch-*.safetensors"))


def test_a_folder_that_is_removed_is_noticed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    record_epoch = TrialRecorder.epoch_ended

    def record(recorder: TrialRecorder, running: object, metrics: object) -> bool:
        goes_on = record_epoch(recorder, running, metrics)  # type: ignore[arg-type]
        shutil.rmtree("storage")
        return goes_on

    monkeypatch.setattr(TrialRecorder, "epoch_ended", record)
    answer = run_dropout(cli, "--only", "dropout/p=0.1", "--seeds", "1", epochs=EPOCHS)
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert "was removed or replaced by another program" in line
    assert not Path("storage/cifar-tune.db").exists()
