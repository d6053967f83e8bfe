"""A storage that an earlier version made is opened, continued, reported on and exported.

What was made, and how, says ``tests/data/old_storage/README.md``. Nothing but the command line is
used, so that the storage and not the code of that version is what has to stay.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
from command_line import TINY, Cli
from old_storage import DATA, unpack
from safetensors.torch import load_file

WHOLE: dict[str, Any] = json.loads((DATA / "uninterrupted.json").read_text(encoding="utf-8"))
"""What the earlier version gives for trials that nobody stopped."""

DROPOUT = (
    "dropout:quick:batch_size=32,freeze_depth=5,train_images=64,validation_images=50,"
    "weights=tiny-imagenet-32"
)
RERUN = DROPOUT.replace("dropout:", "dropout/rerun:", 1)
TRANSFER = (
    "transfer:quick:batch_size=32,epochs=3,freeze_depth=5,frozen_batch_norm=running,"
    "train_images=64,validation_images=50"
)
RUN = ("study", "run")
HOW = ("--profile", "quick", "--epochs", "3", *TINY, "--set", "freeze_depth=5", "--device", "cpu")
RUN_DROPOUT = (*RUN, "dropout", *HOW, "--set", "weights=tiny-imagenet-32")
RUN_TRANSFER = (*RUN, "transfer", *HOW, "--set", "frozen_batch_norm=running")
NAMED = "dropout/p=0.1/seed=1"
STOPPED = "dropout/p=0.2/seed=1"
KEPT = "47d29628c796a067d901a0123501b11b184f81ee37b3b71e934122db96f2f7ef"
RERUN_KEPT = "5d3e1612552405e7731c7d31d6ea609b69d625b605a16c4c64dba3dff001627d"
TRIALS = [
    (0, None, "complete", 0.4),
    (1, NAMED, "complete", 0.16),
    (2, None, "complete", 0.06),
    (3, None, "complete", 0.18),
    (4, None, "complete", 0.38),
    (5, None, "pruned", 0.04),
    (6, STOPPED, "waiting", 0.1),
]
"""Number, name, state and validation accuracy of the trials of the study of dropout rates."""

READS = [(DROPOUT, 1, KEPT, 0.205, 0.203), (RERUN, 0, RERUN_KEPT, 0.184, 0.18)]
"""Study, trial, weights and accuracies, the second with mirrored images, of the ledger's rows."""


@pytest.fixture(autouse=True)
def storage(cli: Cli) -> Path:  # noqa: ARG001  (it goes to a folder of its own)
    """The storage, where commands look for one that is not named."""
    return unpack(Path("storage"))


def record(cli: Cli, *command: str) -> dict[str, Any]:
    """What a command that must end well says as JSON."""
    answer = cli(*command, "--json")
    assert answer.code == 0, answer.err
    return answer.record


def reads(cli: Cli, *where: str) -> list[tuple[Any, ...]]:
    """The rows of the ledger, as ``READS`` has them."""
    keys = ("study_name", "trial", "weights_sha256", "accuracy", "flip_accuracy")
    rows = record(cli, "test-reads", *where)["test_reads"]
    return [tuple(row[key] for key in keys) for row in rows]


def trials(cli: Cli, name: str) -> list[tuple[Any, ...]]:
    """The trials of the only stored study of a file, as ``TRIALS`` has them."""
    (stored,) = record(cli, "study", "show", name)["stored"]
    keys = ("number", "name", "state", "val_accuracy")
    return [tuple(trial[key] for key in keys) for trial in stored["trials"]]


def check_whole(shown: dict[str, Any], whole: dict[str, Any]) -> None:
    """A trial came out as one that nobody stopped.

    Another processor may round otherwise; where it does not, all is the same to the last bit.
    """
    history = [{key: one[key] for key in one if key != "seconds"} for one in shown["history"]]
    assert len(history) == len(whole["history"])
    for one, other in zip(history, whole["history"], strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    assert shown["summary"]["seed"] == whole["seed"]
    assert shown["summary"]["state"] == "complete"
    if history == whole["history"] and whole["weights_sha256"] is not None:  # they were kept then
        assert shown["weights_sha256"] == whole["weights_sha256"]


def check_continued(cli: Cli, study: str, number: int, before: dict[str, Any]) -> None:
    """A stopped trial went on from its newest checkpoint, under its number, to the same end."""
    shown = record(cli, "trial", "show", study, str(number))
    done = len(before["history"])
    assert shown["history"][:done] == before["history"]  # with the seconds that they took then
    (restart,) = shown["restarts"]
    assert (restart["epochs"], restart["steps"]) == (done, 1)
    assert "from" not in restart
    check_whole(shown, WHOLE[study])
    kept = Path(shown["weights_file"]).read_bytes()
    assert hashlib.sha256(kept).hexdigest() == shown["weights_sha256"]


# --- it is opened -------------------------------------------------------------------------------


def test_it_is_listed_and_shown(cli: Cli) -> None:
    listed = {one["name"]: one["stored"] for one in record(cli, "study", "list")["studies"]}
    assert listed["dropout"] == {DROPOUT: 7}
    assert listed["transfer"] == {TRANSFER: 1}
    assert trials(cli, "dropout") == TRIALS
    assert trials(cli, "transfer") == [(0, "transfer/finetune/seed=1", "waiting", 0.14)]
    shown = cli("study", "show", "dropout")
    assert shown.code == 0, shown.err
    assert reads(cli) == READS
    assert "were read 2 times" in cli("test-reads").out


def test_a_trial_is_shown_with_all_that_made_it(cli: Cli) -> None:
    trial = record(cli, "trial", "show", "dropout", NAMED)
    assert trial["study_name"] == DROPOUT
    assert [one["val_accuracy"] for one in trial["history"]] == [0.08, 0.12, 0.16]
    assert [one["result"]["accuracy"] for one in trial["test_reads"]] == [0.205]
    assert trial["weights_sha256"] == KEPT
    assert hashlib.sha256(Path(trial["weights_file"]).read_bytes()).hexdigest() == KEPT
    assert trial["facts"]["software"]["cifar-tune"] == "0.1.0"
    config = trial["config"]
    assert (config["freeze_depth"], config["dropout_rate"], config["epochs"]) == (5, 0.1, 3)
    pruned = record(cli, "trial", "show", "dropout", "5")
    assert [one["val_accuracy"] for one in pruned["history"]] == [0.04, 0.04]


def test_the_best_is_known_with_its_rerun(cli: Cli) -> None:
    best = record(cli, "best", "show", "dropout")
    assert (best["observed_best"], best["likely_best"]) == ("sampled/trial-0", "sampled/trial-0")
    assert best["shortlist"][0]["val_accuracy"] == 0.4
    assert best["lead"] == pytest.approx(0.02)
    (rerun,) = best["reruns"]
    assert (rerun["name"], rerun["test_accuracy"]["mean"]) == ("dropout/p=0.1", 0.184)
    assert best["test_use"] == {
        "reads": 2,
        "configurations": 1,
        "trials_after": 1,
        "flagged": True,
    }


def test_it_is_reported_on(cli: Cli) -> None:
    told = record(cli, "report", "dropout")
    models = {one["name"]: one["measured"] for one in told["models"]}
    for quantity, mean in (("val_accuracy", 0.16), ("test_accuracy", 0.205)):
        measured = models["dropout/p=0.1"][quantity]
        # The predictions that were kept, not counts alone.
        assert (measured["mean"], measured["basis"]) == (mean, "images")
    assert (told["confusion"]["split"], told["confusion"]["images"]) == ("test", 1_000)
    assert sum(row[place] for place, row in enumerate(told["confusion"]["counts"])) == 205
    assert told["confusion"]["most_wrong"]
    assert {one["declared"] for one in told["claims"]} == {"before"}
    for name in ("dropout", "transfer"):
        page = cli("report", name, "--out", f"{name}.html")
        assert page.code == 0, page.err
    assert "20.5 %" in Path("dropout.html").read_text(encoding="utf-8")


def test_what_is_queued_is_known(cli: Cli) -> None:
    queued = record(cli, "study", "queue", "dropout")["requests"]
    whole = {"dropout_rate": 0.5, "learning_rate": 0.006, "augmentation_strength": 0.0}
    assert [(one["id"], one["state"], one["params"]) for one in queued] == [
        (2, "waiting", whole),
        (3, "waiting", {"learning_rate": 0.002}),
    ]


def test_pictures_and_tables_are_shown_in_the_browser() -> None:
    command = [sys.executable, "-m", "cifar_tune", "dashboard", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        try:
            assert found is not None
            study = requests.get(f"{found.group()}/api/studies/1", timeout=30).json()
            kinds: dict[str, set[str]] = {}
            for trial in study["trials"]:
                for one in trial["artifacts"]:
                    place = f"artifacts/1/{trial['trial_id']}/{one['artifact_id']}"
                    answer = requests.get(f"{found.group()}/{place}", timeout=30)
                    assert answer.status_code == 200
                    kinds.setdefault(one["filename"], set()).add(answer.content[:5].decode("latin"))
        finally:
            process.kill()
    assert kinds == {
        "learning-curves.png": {"\x89PNG\r"},
        "confusion-matrix.png": {"\x89PNG\r"},
        "activation-maps.png": {"\x89PNG\r"},
        "metrics.csv": {"epoch"},
    }


# --- its weights are used -----------------------------------------------------------------------


def test_kept_weights_are_read_on_the_test_images_again(cli: Cli) -> None:
    again = record(cli, "trial", "test", "--yes", "dropout", NAMED, "--device", "cpu")
    before = READS[0]
    # On another processor a tie may fall the other way.
    assert again["accuracy"] == pytest.approx(before[3], abs=2e-3)
    assert again["flip_accuracy"] == pytest.approx(before[4], abs=2e-3)
    assert again["weights_sha256"] == KEPT
    assert reads(cli)[:2] == READS
    assert len(reads(cli)) == 3


def test_a_model_is_exported_from_kept_weights(cli: Cli) -> None:
    made = record(cli, "best", "export", "dropout", "--name", "dropout/p=0.1", "--out", "model")
    assert (made["study_name"], made["trial"]) == (RERUN, 0)
    assert (made["val_accuracy"], made["test_accuracy"]) == (0.16, 0.184)
    assert made["weights_sha256"] == RERUN_KEPT
    (kept,) = Path("storage").glob("*/dropout_rerun_*/trial-0.safetensors")
    exported, tensors = load_file("model/model.safetensors"), load_file(kept)
    assert exported.keys() == tensors.keys()
    assert all(exported[name].equal(value) for name, value in tensors.items())


def test_a_trial_is_trained_again(cli: Cli) -> None:
    again = record(cli, "trial", "rerun", "dropout", NAMED, "--device", "cpu")
    assert again["reproduced"]
    assert len(again["epochs"]) == 3


# --- it is continued ----------------------------------------------------------------------------


@pytest.mark.usefixtures("one_thread")
def test_a_stopped_trial_and_queued_ones_are_trained_to_their_end(cli: Cli) -> None:
    before = record(cli, "trial", "show", "dropout", STOPPED)
    answer = cli(*RUN_DROPOUT, "--only", "dropout/p=0.2", "--trials", "0")
    assert answer.code == 0, answer.err
    assert "checkpoint not used" not in answer.out + answer.err
    check_continued(cli, "dropout", 6, before)

    asked = record(cli, "trial", "show", "dropout", "7")
    assert asked["summary"]["queued"]
    check_whole(asked, WHOLE["queued"])
    partly = record(cli, "trial", "show", "dropout", "8")["summary"]
    assert (partly["state"], partly["params"]["learning_rate"]) == ("complete", 0.002)
    assert trials(cli, "dropout")[:6] == TRIALS[:6]
    assert len(trials(cli, "dropout")) == 9  # the one that was cancelled is not trained
    assert record(cli, "study", "queue", "dropout")["requests"] == []
    assert not list(Path("storage").glob("*-checkpoints/dropout_*"))
    assert reads(cli) == READS


@pytest.mark.usefixtures("one_thread")
def test_a_stopped_trial_with_a_frozen_prefix_goes_on(cli: Cli) -> None:
    before = record(cli, "trial", "show", "transfer", "0")
    answer = cli(*RUN_TRANSFER, "--only", "transfer/finetune")
    assert answer.code == 0, answer.err
    assert "checkpoint not used" not in answer.out + answer.err
    check_continued(cli, "transfer", 0, before)


def test_nothing_is_trained_twice(cli: Cli) -> None:
    rerun = ("best", "rerun", "dropout", "--name", "dropout/p=0.1", "--seeds", "1")
    again = record(cli, *rerun, "--device", "cpu")
    assert [one["test_accuracy"] for one in again["rerun"]["replicates"]] == [0.184]
    assert reads(cli) == READS


# --- it goes to another machine -----------------------------------------------------------------


def test_it_is_exported_with_its_test_reads_and_imported(cli: Cli) -> None:
    refused = cli("study", "export", "dropout", "--out", "dropout.json")
    assert refused.code == 2
    assert "not at their end" in refused.err
    assert cli("trial", "drop", "dropout", STOPPED).code == 0
    exported = cli("study", "export", "dropout", "--out", "dropout.json")
    assert exported.code == 0, exported.err
    assert "2 reads of the test images" in exported.out
    there = ("--storage", "other/studies.db")
    made = record(cli, "study", "import", "dropout.json", *there)
    assert made["trials"] == {DROPOUT: 7, RERUN: 1}
    assert made["test_reads"] == 2
    assert reads(cli, *there) == READS
    for command in (("test-reads",), ("study", "show", "dropout"), ("best", "show", "dropout")):
        mine, theirs = record(cli, *command), record(cli, *command, *there)
        assert {key for key in mine if mine[key] != theirs[key]} <= {"storage"}, command
