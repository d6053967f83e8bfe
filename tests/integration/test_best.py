"""The best configuration: shown, confirmed, re-run on the test images, exported and used."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from command_line import TINY, Cli
from PIL import Image

from cifar_tune.data.bundle import read_bundled

NAMES = [f"dropout/p=0.{i}" for i in range(1, 5)]
CONFIRM, RERUN = "dropout/confirm:quick", "dropout/rerun:quick"


def run(cli: Cli, *arguments: str) -> Any:
    return cli("study", "run", "dropout", *TINY, "--epochs", "1", *arguments)


def stored(name: str) -> optuna.Study | None:
    url = "sqlite:///storage/cifar-tune.db"
    found = [one for one in optuna.get_all_study_names(url) if one.startswith(name)]
    return optuna.load_study(study_name=found[0], storage=url) if found else None


def said(cli: Cli, *arguments: str) -> str:
    """What a command prints, without its line breaks."""
    return " ".join(cli(*arguments).out.split())


def trials(name: str) -> list[optuna.trial.FrozenTrial]:
    study = stored(name)
    assert study is not None
    return study.get_trials()


def in_folder(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "cifar_tune", *arguments]
    environment = {**os.environ, "CIFAR_TUNE_WORKERS": "inline"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where a study with four named and two sampled trials of an epoch is stored."""
    folder = tmp_path_factory.mktemp("best")
    in_folder(folder, "study", "run", "dropout", *TINY, "--epochs", "1", "--trials", "2")
    return folder


@pytest.fixture(scope="module")
def once_exported(once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder, once trial 1 was run again on two seeds and exported to ``model``."""
    folder = tmp_path_factory.mktemp("exported") / "all"
    shutil.copytree(once, folder)
    in_folder(folder, "best", "rerun", "dropout", "--trial", "1", "--seeds", "2")
    in_folder(folder, "best", "export", "dropout", "--trial", "1", "--out", "model")
    return folder


@pytest.fixture
def study(cli: Cli, once: Path, tmp_path: Path) -> Cli:
    """The command line, in a folder with that study."""
    shutil.copytree(once, tmp_path, dirs_exist_ok=True)
    return cli


@pytest.fixture
def exported(cli: Cli, once_exported: Path, tmp_path: Path) -> Cli:
    """The command line, in a folder with the exported model too."""
    shutil.copytree(once_exported, tmp_path, dirs_exist_ok=True)
    return cli


def test_show_says_which_is_the_best_and_how_much_of_it_is_luck(study: Cli) -> None:
    record = study("best", "show", "dropout", "--json").record
    values = {trial.user_attrs.get("name", "").rpartition("/")[0] or
              f"sampled/trial-{trial.number}": trial.value
              for trial in trials("dropout:")
              if trial.value is not None}  # fmt: skip
    assert record["observed_best"] == max(values, key=lambda name: values[name])
    first = record["shortlist"][0]
    assert first["name"] == record["likely_best"]
    assert first["low"] < first["val_accuracy"] < first["high"]
    assert {one["name"] for one in record["shortlist"]} <= values.keys()
    assert record["lead"] >= 0
    assert record["seed_sd"] is None
    assert (record["confirmation"], record["reruns"]) == (None, [])
    assert record["test_use"] == {
        "reads": 0,
        "configurations": 0,
        "trials_after": 0,
        "flagged": False,
    }
    text = said(study, "best", "show", "dropout")
    assert "Best by observed value" in text
    assert "are probably luck" in text
    assert "have not been read" in text


def test_confirm_runs_the_short_list_on_fresh_seeds_and_never_feeds_the_search(study: Cli) -> None:
    before = [(trial.number, trial.value) for trial in trials("dropout:")]
    first = study("best", "confirm", "dropout", "--seeds", "1", "--top", "2", "--json")
    assert first.code == 0, first.err
    record = study("best", "confirm", "dropout", "--seeds", "2", "--top", "2", "--json").record
    found = record["confirmation"]
    assert found["seeds"] == 2
    assert len(found["candidates"]) == 2
    assert [(trial.number, trial.value) for trial in trials("dropout:")] == before
    fresh = trials(CONFIRM)
    assert len(fresh) == 4  # those of the first run were not run again
    used = {trial.user_attrs["seed"] for trial in trials("dropout:")}
    seeds = [trial.user_attrs["seed"] for trial in fresh]
    assert used.isdisjoint(seeds)
    assert len(set(seeds)) == 2  # in pairs
    best, other = found["candidates"]
    assert best["name"] == found["best"]
    assert best["val_accuracy"]["mean"] >= other["val_accuracy"]["mean"]
    assert best["shrinkage"] == pytest.approx(best["observed"] - best["val_accuracy"]["mean"])
    assert best["behind_best"] is None
    assert other["behind_best"]["seeds"] == 2
    assert study("best", "show", "dropout", "--json").record["confirmation"] == found
    command = ("best", "confirm", "dropout", "--seeds", "2", "--top", "2")
    assert "Confirmed best" in said(study, *command)
    # A study of the file is still the only one that other commands see.
    assert (
        study("study", "show", "dropout", "--json")
        .record["stored"][0]["study_name"]
        .startswith("dropout:quick")
    )
    assert study("report", "dropout", "--json").code == 0


def test_rerun_reads_each_seed_once_and_writes_it_down(study: Cli) -> None:
    command = ("best", "rerun", "dropout", "--seeds", "2", "--name", NAMES[2], "--json")
    record = study(*command).record
    rerun = record["rerun"]
    assert rerun["name"] == NAMES[2]
    assert rerun["test_accuracy"]["seeds"] == 2
    values = [one["test_accuracy"] for one in rerun["replicates"]]
    assert rerun["test_accuracy"]["mean"] == pytest.approx(sum(values) / 2)
    reads = study("test-reads", "--json").record["test_reads"]
    assert [one["accuracy"] for one in reads] == values
    assert [one["seed"] for one in reads] == [one["seed"] for one in rerun["replicates"]]
    assert all(one["command"].startswith("cifar-tune") for one in reads)
    # Again: nothing is trained and nothing is read.
    assert study(*command).record["rerun"] == rerun
    assert len(study("test-reads", "--json").record["test_reads"]) == 2
    assert record["test_use"] == {
        "reads": 2,
        "configurations": 1,
        "trials_after": 0,
        "flagged": False,
    }


def test_choosing_after_the_test_images_were_read_is_flagged(study: Cli) -> None:
    for name in NAMES[:2]:
        assert study("best", "rerun", "dropout", "--seeds", "1", "--name", name).code == 0
    use = study("best", "show", "dropout", "--json").record["test_use"]
    assert (use["reads"], use["configurations"], use["flagged"]) == (2, 2, True)
    assert "makes the test images validation images" in said(study, "best", "show", "dropout")
    assert "the test images validation images" in _page(study)
    run(study, "--trials", "1")
    use = study("best", "show", "dropout", "--json").record["test_use"]
    assert use["trials_after"] >= 1
    assert "run after the first read" in said(study, "best", "show", "dropout")


def _page(cli: Cli) -> str:
    assert cli("report", "dropout", "--out", "page.html").code == 0
    return Path("page.html").read_text(encoding="utf-8")


def test_training_on_the_validation_images_too(study: Cli) -> None:
    record = study(
        "best", "rerun", "dropout", "--seeds", "1", "--train-on", "train+val", "--json"
    ).record
    rerun = record["rerun"]
    assert rerun["train_on"] == "train+val"
    assert rerun["val_accuracy"] is None
    assert rerun["replicates"][0]["val_accuracy"] is None
    assert rerun["test_accuracy"]["seeds"] == 1
    (trial,) = trials("dropout/rerun-all:quick")
    assert trial.user_attrs["config"]["train_on"] == "train+val"


def test_the_ledger_cannot_be_changed_and_outlives_the_study(study: Cli) -> None:
    study("best", "rerun", "dropout", "--seeds", "1", "--trial", "0")
    with closing(sqlite3.connect("storage/cifar-tune.db")) as database:
        for statement in ("DELETE FROM", "UPDATE"):
            change = " SET accuracy = 1" if statement == "UPDATE" else ""
            with pytest.raises(sqlite3.IntegrityError, match="only ever added to"):
                database.execute(f"{statement} cifar_tune_test_read{change}")
    url = "sqlite:///storage/cifar-tune.db"
    for name in optuna.get_all_study_names(url):
        optuna.delete_study(study_name=name, storage=url)
    assert len(study("test-reads", "--json").record["test_reads"]) == 1


PLAIN = """
import json, sys
import numpy as np
source = open("README.md").read().split("```python\\n")[1].split("```")[0]
source = source[: source.index("with torch.inference_mode")]
exec(source)
held = np.load(sys.argv[1])
right, shown = 0, []
for pixels, label in zip(held["images"], held["labels"]):
    with torch.inference_mode():
        logits = model(prepare(Image.fromarray(pixels.transpose(1, 2, 0)))[None])
    right += int(logits.argmax()) == label
    shown.append(logits[0].tolist())
assert "cifar_tune" not in sys.modules
print(json.dumps({"accuracy": right / len(held["labels"]), "first": shown[0]}))
"""


def test_the_exported_model_works_without_the_product(exported: Cli, tmp_path: Path) -> None:
    command = ("best", "export", "dropout", "--trial", "1", "--out", "model")
    again = exported(*command)
    assert again.code == 2
    assert "is not empty" in again.err
    record = exported(*command, "--overwrite", "--json").record
    assert record["files"] == ["README.md", "config.json", "model.safetensors"]
    test = read_bundled("test")
    np.savez("test.npz", images=test.images, labels=test.labels)
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(tmp_path / "test.npz")],
        cwd="model",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    plain = json.loads(done.stdout)
    assert plain["accuracy"] == record["test_accuracy"]

    card = Path("model/README.md").read_text(encoding="utf-8")
    metadata = yaml.safe_load(card.split("---\n")[1])
    (entry,) = metadata["model-index"]
    assert [one["dataset"]["split"] for one in entry["results"]] == ["validation", "test"]
    assert f"{record['test_accuracy']:.4f}" in card

    Image.fromarray(test.images[0].transpose(1, 2, 0)).save("0.png")
    found = exported("predict", "model", "0.png", "--json").record
    (one,) = found["predictions"]
    assert sum(one["probabilities"].values()) == pytest.approx(1)
    logits = np.array(plain["first"]) / found["calibration"]["temperature"]
    expected = np.exp(logits - logits.max())
    expected /= expected.sum()
    assert list(one["probabilities"].values()) == pytest.approx(list(expected), abs=1e-5)
    assert "expected calibration error" in said(exported, "predict", "model", "0.png")


def test_onnx_computes_the_same(exported: Cli) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    made = exported(
        "best", "export", "dropout", "--trial", "1", "--out", "other", "--onnx", "--json"
    )
    assert made.code == 0, made.err
    assert made.record["onnx_difference"] < 1e-3
    session = runtime.InferenceSession("other/model.onnx")
    for images in (1, 5):  # any number of them
        given = np.zeros((images, 3, 32, 32), dtype=np.float32)
        (logits,) = session.run(None, {"images": given})
        assert logits.shape == (images, 10)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("show", "transfer"), "transfer: is not stored"),
        (("rerun", "dropout", "--trial", "99"), "no complete trial of that number"),
        (("rerun", "dropout", "--name", "dropout/p=0.9"), "no complete trial of that name"),
        (("rerun", "dropout", "--name", NAMES[0], "--trial", "0"), "expected one of the two"),
        (("export", "dropout", "--trial", "4", "--out", "m"), "trains it again"),
        (("export", "dropout", "--trial", "0", "--train-on", "train+val", "--out", "m"), "was not"),
        (("export", "dropout", "--trial", "0", "--out", "storage"), "is not empty"),
    ],
)
def test_what_cannot_be_done(study: Cli, arguments: tuple[str, ...], reason: str) -> None:
    answer = study("best", *arguments)
    assert answer.code == 2
    assert reason in answer.err
    assert answer.err.count("\n") == 1
    assert stored(RERUN) is None


def test_a_storage_of_a_newer_version(study: Cli) -> None:
    found = stored("dropout:")
    assert found is not None
    found.set_user_attr("format", 99)
    for command in (("best", "show"), ("best", "rerun"), ("study", "show"), ("report",)):
        answer = study(*command, "dropout")
        assert answer.code == 2
        assert "written by a newer cifar-tune (format 99)" in answer.err


def test_no_complete_trial(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("the sky fell")

    monkeypatch.setattr("cifar_tune.training.trainer.train_epoch", fail)
    run(cli, "--trials", "0")
    answer = cli("best", "show", "dropout")
    assert answer.code == 2
    assert "no trial is complete" in answer.err


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "config.json").unlink(), "expected a folder that"),
        (lambda folder: (folder / "config.json").write_text("{}"), "is not the configuration"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), "is not the file"),
        (lambda folder: (folder.parent / "0.png").write_text("no"), "cannot be read as an image"),
    ],
)
def test_what_cannot_be_predicted(
    exported: Cli, spoil: Callable[[Path], object], reason: str, tmp_path: Path
) -> None:
    Image.new("RGB", (40, 30)).save("0.png")
    spoil(tmp_path / "model")
    answer = exported("predict", "model", "0.png")
    assert answer.code == 2
    assert reason in answer.err
    assert "Traceback" not in answer.err


# --- single trials ------------------------------------------------------------------------------


def test_a_trial_is_shown_with_all_that_made_it(study: Cli) -> None:
    record = study("trial", "show", "dropout", "1", "--json").record
    assert record["summary"]["name"] == f"{NAMES[1]}/seed=1"
    assert record["config"]["dropout_rate"] == 0.2
    assert {"device", "software", "data_digests", "split_sha256", "threads"} <= record[
        "facts"
    ].keys()
    assert len(record["history"]) == 1
    assert "dropout_rate: 0.2" in said(study, "trial", "show", "dropout", f"{NAMES[1]}/seed=1")
    answer = study("trial", "show", "dropout", "99")
    assert answer.code == 2
    assert "has no trial '99'" in answer.err


def test_a_trial_is_reproduced_bit_for_bit(study: Cli) -> None:
    answer = study("trial", "rerun", "dropout", "2", "--json")
    assert answer.code == 0, answer.err
    assert answer.record["agreement"] == "bit for bit"
    assert answer.record["differences"] == []
    before = len(trials("dropout:"))
    assert "Reproduced bit for bit" in said(study, "trial", "rerun", "dropout", "2")
    assert len(trials("dropout:")) == before


def alter(study: optuna.Study, number: int, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what is stored of a trial."""
    trial = study.get_trials()[number]
    attributes = dict(trial.user_attrs)
    change(attributes)
    for key, value in attributes.items():
        text = json.dumps(value)
        with closing(sqlite3.connect("storage/cifar-tune.db")) as database:
            database.execute(
                "UPDATE trial_user_attributes SET value_json = ? WHERE trial_id = ? AND key = ?",
                (text, trial._trial_id, key),
            )
            database.commit()


def test_what_differs_is_named(study: Cli) -> None:
    found = stored("dropout:")
    assert found is not None

    def older(attributes: dict[str, Any]) -> None:
        attributes["facts"]["software"]["torch"] = "2.6.0"
        attributes["history"][0]["val_accuracy"] -= 0.02

    alter(found, 2, older)
    answer = study("trial", "rerun", "dropout", "2")
    assert answer.code == 0, answer.err
    assert "differs: torch: 2.6.0 then" in answer.out
    assert "Reproduced within the seed spread" in answer.out

    def wrong(attributes: dict[str, Any]) -> None:
        attributes["history"][0]["train_loss"] += 0.1

    alter(found, 1, wrong)
    answer = study("trial", "rerun", "dropout", "1")
    assert answer.code == 1
    assert "Not reproduced: nothing differs" in answer.out
