"""Studies and runs of the Python API, and beside the command line."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from command_line import Cli
from places import REPOSITORY
from processes import write_study
from told import SMALL, Told

import cifar_tune as ct


def test_profiles_overrides_and_seeds(spec: ct.StudySpec) -> None:
    assert ct.list_study_files()["tiny"] == Path("studies/tiny.toml")
    assert spec.protocol.train_images == 64
    assert spec.profile.seeds == 1
    assert ct.load_study_file(Path("studies/tiny.toml")).study_name == "tiny:quick"
    with pytest.raises(ct.CifarTuneError, match=r"unknown study 'tinny'.*tiny"):
        ct.load_study_file("tinny")
    with pytest.raises(ct.CifarTuneError, match="epochs"):
        ct.load_study_file("tiny", profile="quick", overrides={"epochs": 0})


@pytest.mark.parametrize("storage", ["s.db", "sqlite:///s.db", Path("s.db"), None])
def test_storage_is_a_path_or_a_url(spec: ct.StudySpec, storage: Any) -> None:
    study = ct.create_study(spec, storage=storage, seed=3)
    assert study.user_attrs["seed"] == 3
    assert ct.load_study(spec.study_name, storage=storage).user_attrs["seed"] == 3
    assert Path("s.db" if storage else "storage/cifar-tune.db").is_file()
    with pytest.raises(ct.CifarTuneError, match=r"is stored in .* already"):
        ct.create_study(spec, storage=storage, load_if_exists=False)
    with pytest.raises(ct.CifarTuneError, match="study nothing is not stored"):
        ct.load_study("nothing", storage=storage)


def test_optuna_keeps_its_verbosity(spec: ct.StudySpec) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    ct.create_study(spec)
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


def test_callbacks_are_told_and_a_broken_one_loses_nothing(
    spec: ct.StudySpec, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(ct.TrialCallback):
        def epoch_ended(self, *_: Any) -> None:
            raise RuntimeError("no\x1b server")

    told = Told()
    outcome = ct.run_study(spec, n_trials=1, callbacks=[Broken(), told])
    assert outcome.is_done
    name = spec.study_name
    assert told.events == [
        ("begun", 0, "running", 0), ("epoch", 0, 1), ("ended", 0, "complete", name),
        ("begun", 1, "running", 0), ("epoch", 1, 1), ("ended", 1, "complete", name),
    ]  # fmt: skip
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "callback Broken: epoch_ended failed at trial 0" in warning.getMessage()
    assert "\x1b" not in warning.getMessage()


def test_an_interrupt_ends_a_run_with_its_outcome(spec: ct.StudySpec, stop_after: Any) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    told = Told()
    with stop_after(2):
        outcome = ct.run_study(spec, callbacks=[told])
    assert outcome.interrupted
    assert not outcome.is_done
    assert told.events[-1][:3] == ("ended", 0, "waiting")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert ct.run_study(spec).is_done


def test_a_run_in_another_thread(spec: ct.StudySpec) -> None:
    outcomes: list[ct.StudyOutcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(ct.run_study(spec, n_trials=0)))
    thread.start()
    thread.join()
    assert outcomes[0].is_done


def test_bad_arguments_are_errors_of_one_line(spec: ct.StudySpec) -> None:
    for arguments, words in (
        ({"workers": 0}, "--workers 0: expected"),
        ({"timeout": "soon"}, "--timeout soon: expected a duration"),
        ({"timeout": 0.0}, "--timeout 0.0"),
        ({"device": "tpu"}, "--device tpu: expected"),
        ({"n_trials": -1}, "n_trials = -1: expected a whole number from 0"),
        ({"n_trials": 1.5}, "n_trials = 1.5: expected a whole number"),
        ({"seed": -1}, "seed = -1: expected a whole number from 0"),
        ({"storage": "sqlite://"}, "--storage sqlite://: expected a file"),
        ({"storage": 3}, "storage = 3: expected a path or a database URL"),
        ({"callbacks": Told()}, "expected a list of callbacks"),
        ({"callbacks": [Told(), Told]}, "callbacks[1] = <class 'told.Told'>: expected an instance"),
        ({"callbacks": [print]}, "callbacks[0] = <built-in function print>: expected an instance"),
    ):
        with pytest.raises(ct.CifarTuneError) as error:
            ct.run_study(spec, **arguments)  # type: ignore[arg-type]
        assert words in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(ct.CifarTuneError, match="callbacks = 3: expected a list"):
        ct.Objective(spec, callbacks=3)  # type: ignore[arg-type]
    with pytest.raises(ct.CifarTuneError, match="spec = 'dropout': expected a StudySpec"):
        ct.Objective("dropout")  # type: ignore[arg-type]
    with pytest.raises(ct.CifarTuneError, match="unknown study '3'"):
        ct.create_study(3)  # type: ignore[arg-type]
    with pytest.raises(ct.CifarTuneError, match="seed = 'one'"):
        ct.create_study(spec, seed="one")  # type: ignore[arg-type]
    with pytest.raises(ct.CifarTuneError, match="seeds = 0: expected a whole number from 1"):
        ct.load_study_file("tiny", profile="quick", seeds=0)
    assert not Path("storage").exists()


def test_a_run_is_logged_to_tensorboard(spec: ct.StudySpec, cli: Cli) -> None:
    run = ["study", "run", "tiny", "--only", "tiny/p=0.3", "--seeds", "1", "--log", "tensorboard"]
    for key, value in spec.overrides.items():
        run += ["--set", f"{key}={value}"]
    Path("elsewhere").mkdir()
    Path("storage").mkdir()
    folder = Path("storage/cifar-tune-tensorboard")
    folder.symlink_to("../elsewhere")
    answer = cli(*run)
    assert (answer.code, list(Path("elsewhere").iterdir())) == (2, [])
    assert f"error: {folder}: is a symbolic link, expected a folder or nothing\n" == answer.err
    folder.unlink()
    answer = cli(*run)
    assert answer.code == 0, answer.err
    assert "tensorboard --logdir storage/cifar-tune-tensorboard" in answer.out
    (trial,) = Path("storage/cifar-tune-tensorboard").glob("tiny_quick*/trial-0")
    assert any(path.name.startswith("events.out.tfevents") for path in trial.iterdir())


def test_a_folder_for_tensorboard_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "inner"):
        with pytest.raises(ct.CifarTuneError, match="expected a folder that can be written"):
            ct.TensorBoardCallback(folder)


FEWER = {
    '{"epochs": 3}': repr(SMALL),
    "seeds=2": "seeds=1",
    "n_trials=5": "n_trials=2",
    'n_trials=20, timeout="2h", workers=4': 'n_trials=1, timeout="2h", workers="inline"',
    "n_seeds=3": "n_seeds=1",
    "n_seeds=5": "n_seeds=1",
}
"""What the first block of the page is run with, in the place of its numbers."""


def test_the_block_of_the_documentation_runs(capfd: pytest.CaptureFixture[str]) -> None:
    write_study(Path("studies/dropout.toml"), trials=2, names=("dropout/p=0.3",), keep_best=1)
    page = (REPOSITORY / "docs" / "python-api.md").read_text(encoding="utf-8")
    block = page.partition("```python\n")[2].partition("```")[0]
    for number, fewer in FEWER.items():
        assert block.count(number) >= 1, number
        block = block.replace(number, fewer)
    names: dict[str, Any] = {}
    exec(block, names)
    assert [trial.origin for trial in names["outcome"].trials] == [
        "sampled", "sampled", "named", "sampled",
    ]  # fmt: skip
    assert isinstance(names["model"], torch.nn.Module)
    assert capfd.readouterr() == ("", "")
    assert Path("report.html").is_file()
