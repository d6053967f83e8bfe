"""The test images: only `cifar-tune trial test` reads them, and every read is written down."""

from __future__ import annotations

import ast
import io
import shutil
import sqlite3
from collections import namedtuple
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from command_line import TINY, Cli
from made_up import MadeUp
from places import STUDY_FILES
from safetensors.torch import load_file
from torch import nn
from torchvision.models import resnet18

import cifar_tune
from cifar_tune.cli import confirmation
from cifar_tune.data.bundle import read_bundled

KEPT = Path("storage") / "cifar-tune-weights"
NAME = "final/p=0.3/seed=1"


@pytest.fixture
def study(tmp_path: Path) -> str:
    """A study file whose quick profile keeps weights, of one seed."""
    shipped = STUDY_FILES / "final.toml"
    text = shipped.read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(text.replace("seeds = 3", "seeds = 1"))
    return str(path)


RUN = ("--epochs", "1", *TINY)


def test_a_kept_trial_is_read_once_on_all_test_images_and_written_down(
    cli: Cli, study: str
) -> None:
    assert cli("study", "run", study, *RUN).code == 0
    record = cli("trial", "test", "--yes", study, NAME, *RUN, "--json").record
    assert (record["trial"], record["name"], record["images"]) == (0, NAME, 1_000)

    # Plain torchvision, from the kept file, gives the same figure.
    (file,) = KEPT.rglob("*.safetensors")
    model = resnet18()
    model.fc = nn.Sequential(nn.Dropout(0.3), nn.Linear(512, 10))
    model.load_state_dict(load_file(file))
    test = read_bundled("test")
    mean = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
    std = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
    images = (torch.from_numpy(test.images).float() / 255 - mean) / std
    with torch.no_grad():
        logits = model.eval()(images)
        flipped = (logits + model(images.flip(3))) / 2
    for key, said in (("accuracy", logits), ("flip_accuracy", flipped)):
        right = (said.argmax(1).numpy() == test.labels).mean()
        assert record[key] == pytest.approx(right, abs=2e-3)  # a tie may fall the other way
    assert not torch.equal(logits.argmax(1), flipped.argmax(1))

    reads = cli("test-reads", "--json").record["test_reads"]
    assert [read["accuracy"] for read in reads] == [record["accuracy"]]
    assert reads[0]["weights_sha256"] == record["weights_sha256"]
    assert reads[0]["command"].startswith("cifar-tune")
    assert cli("trial", "test", "--yes", study, "0").code == 0
    # The ledger outlives the study.
    database = "sqlite:///storage/cifar-tune.db"
    for name in optuna.get_all_study_names(database):
        optuna.delete_study(study_name=name, storage=database)
    shown = cli("test-reads").out
    assert "The test images were read 2 times" in shown
    assert f": {100 * record['accuracy']:.1f} % on 1,000 images" in shown


def test_a_ledger_of_before_there_were_flips(cli: Cli, study: str) -> None:
    assert cli("study", "run", study, *RUN).code == 0
    cli("trial", "test", "--yes", study, "0")
    with closing(sqlite3.connect("storage/cifar-tune.db")) as database:
        database.execute("ALTER TABLE cifar_tune_test_read DROP COLUMN flip_accuracy")
        database.commit()
    (read,) = cli("test-reads", "--json").record["test_reads"]
    assert read["flip_accuracy"] is None
    assert cli("report", study, "--out", "page.html").code == 0
    assert cli("trial", "test", "--yes", study, "0").code == 0
    before, after = cli("test-reads", "--json").record["test_reads"]
    assert before == read
    assert 0 < after["flip_accuracy"] < 1
    assert after["accuracy"] == before["accuracy"]


def test_figure_is_not_shown_where_it_cannot_be_written_down(
    cli: Cli, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("study", "run", study, *RUN)
    from cifar_tune.evaluation import test_images

    def broken(*_arguments: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(test_images, "record_test_read", broken)
    answer = cli("trial", "test", "--yes", study, NAME)
    assert answer.code == 2
    assert answer.out == ""
    assert "the disk is full" in answer.err


def test_what_cannot_be_tested(cli: Cli, study: str) -> None:
    answer = cli("trial", "test", "--yes", study, NAME)
    assert answer.code == 2
    assert "mine: is not stored" in answer.err
    cli("study", "run", study, *RUN)
    assert (
        "has no complete trial 'final/p=0.3/seed=9'"
        in cli("trial", "test", "--yes", study, "final/p=0.3/seed=9").err
    )
    cli("study", "run", study, *TINY, "--epochs", "2")
    answer = cli("trial", "test", "--yes", study, NAME)
    assert "several studies are stored" in answer.err
    (file,) = (path for path in KEPT.rglob("*.safetensors") if "epochs=1" in str(path))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"\0" if whole[-1] else whole[:-1] + b"\1")
    assert "is not the file that was kept" in cli("trial", "test", "--yes", study, NAME, *RUN).err
    file.unlink()
    assert "kept weights cannot be read" in cli("trial", "test", "--yes", study, NAME, *RUN).err
    assert "were read 0 times" in cli("test-reads").out


def test_weights_that_were_not_kept(cli: Cli, study: str) -> None:
    text = Path(study).read_text(encoding="utf-8")
    Path(study).write_text(
        text.replace('keep_weights = "named"\n', "keep_best = 0\n"), encoding="utf-8"
    )
    cli("study", "run", study, *RUN)
    answer = cli("trial", "test", "--yes", study, NAME)
    assert answer.code == 2
    assert "its weights were not kept" in answer.err
    assert "every complete named trial" in cli("trial", "test", "--yes", study).out
    assert not KEPT.exists()


MODEL_B = ("trial", "test", "transfer", "model-b")


@pytest.fixture
def kept(cli: Cli) -> Cli:
    """The command line, in a folder where a trial of the study transfer has its weights kept."""
    made = MadeUp(Path("storage/cifar-tune.db").absolute(), "transfer", "quick")
    made.add_with_weights("transfer/model-b")
    return cli


def test_without_a_terminal_or_yes_nothing_is_read(kept: Cli) -> None:
    for command in (MODEL_B, MODEL_B[:-1], (*MODEL_B, "--json")):
        answer = kept(*command)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err == (
            "error: trial test: asks first, and there is no terminal; --yes confirms it\n"
        )
    assert "were read 0 times" in kept("test-reads").out


def test_it_says_what_it_reads_and_asks(kept: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmation, "has_terminal", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    refused = kept(*MODEL_B)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.splitlines()[:2] == [
        "transfer:quick: this reads the test images once.",
        "The test images have not been read for this study. Picking by test scores biases the "
        "winner's score upward.",
    ]
    assert "Evaluate 1 trial on the test images? [y/N]" in refused.err
    assert "were read 0 times" in kept("test-reads").out
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert kept(*MODEL_B, "--json").record["images"] == 1_000
    again = kept(*MODEL_B, "--yes")
    assert "have been read once for this study, for one configuration." in again.err
    assert "[y/N]" not in again.err
    assert "were read 2 times" in kept("test-reads").out
    assert "has been tested" in kept(*MODEL_B[:-1]).out  # there is nothing to ask


def test_no_room_for_the_weights_is_said_before_anything_is_trained(
    cli: Cli, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**9, 10**9, 40_000_000))
    answer = cli("study", "run", study, *RUN)
    assert answer.code == 2
    assert "40 MB are free on this disk, 46 MB are needed" in answer.err
    assert not Path("storage").exists()


WALLED = (
    "search.samplers",
    "training.objective",
    "training.trainer",
    "search.runner",
    "search.dispatcher",
    "workers.train_task",
    "workers.local.pool",
)


@pytest.mark.parametrize("module", WALLED)
def test_no_import_leads_from_the_search_to_the_test_images(module: str) -> None:
    """Whatever is imported on the way, also inside of functions."""
    package = Path(cifar_tune.__file__).parent
    files = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts): path
        for path in package.rglob("*.py")
    }
    reached, left = set(), [f"cifar_tune.{module}"]
    while left:
        name = left.pop()
        if name in reached or name not in files:
            continue
        reached.add(name)
        for node in ast.walk(ast.parse(files[name].read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                left += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                left += [alias.name for alias in node.names]
    assert len(reached) > 2
    assert not {"cifar_tune.evaluation.test_images", "cifar_tune.evaluation.test_reads"} & reached


def test_search_data_holds_no_test_image(bundled: Any) -> None:
    held = {bundled.train.images.tobytes(), bundled.validation.images.tobytes()}
    test = read_bundled("test").images
    assert not any(image.tobytes() in part for image in test[:50] for part in held)
    assert np.isin(["train images", "validation images"], list(bundled.digests)).all()
    assert not any("test" in key for key in bundled.digests)
