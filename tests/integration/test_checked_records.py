"""Records that others may have written are checked where they are read; one line says which."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import Answer, Cli
from made_up import MadeUp
from PIL import Image
from safetensors.torch import load_file, save_file

from cifar_tune.config.study_file import load_study_file, resolve
from cifar_tune.files import sha256_of_file
from cifar_tune.models.resnet import build_model
from cifar_tune.models.weight_files import save_model
from cifar_tune.storage.lease import hold_lease
from cifar_tune.storage.location import locate_storage
from cifar_tune.storage.optuna_private import get_study_id
from cifar_tune.storage.studies import open_study

HERE = Path("storage/cifar-tune.db")
MODEL = Path("model")


def refuse(answer: Answer, *parts: str) -> str:
    assert answer.code == 2, answer.err
    (line,) = answer.err.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line
    return line


# --- the folder of a model ------------------------------------------------------------------------


@pytest.fixture
def about() -> dict[str, Any]:
    """A folder as `best export` writes it, with a photo beside it: its configuration."""
    spec = resolve(load_study_file("dropout"), "quick")
    config = spec.config(
        {"dropout_rate": 0.1, "learning_rate": 0.001, "augmentation_strength": 1.0}, 1
    )
    torch.manual_seed(0)
    sha256 = save_model(build_model(config, 2), MODEL / "model.safetensors")
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save("photo.png")
    calibration = {"temperature": 1.5, "error_before": 0.1, "error_after": 0.05, "images": 1000}
    return {
        "format": 1,
        "classes": ["cat", "dog"],
        "image_size": 32,
        "weights_sha256": sha256,
        "calibration": calibration,
        "config": config.as_stored(),
    }


@pytest.fixture
def predict(cli: Cli) -> Callable[[object], Answer]:
    def run(content: object) -> Answer:
        (MODEL / "config.json").write_text(json.dumps(content), encoding="utf-8")
        return cli("predict", "model", "photo.png", "--device", "cpu", "--json")

    return run


def test_a_model_answers(predict: Callable[[object], Answer], about: dict[str, Any]) -> None:
    for calibration in (about["calibration"], None):
        answer = predict(about | {"calibration": calibration})
        assert answer.code == 0, answer.err
        probabilities = answer.record["predictions"][0]["probabilities"]
        assert sum(probabilities.values()) == pytest.approx(1)


NAN, INF = float("nan"), float("inf")
WRONG_VALUES = (NAN, INF, -INF, -1, 0, 10**9, 1e308, "x", "", None, [], {}, [[1]], True, 10**18)
FIELDS = {
    "calibration.temperature": {True, 1e308, 10**9, 10**18} - {1e308, 10**9, 10**18, True},
    "calibration.error_after": {0},
    "calibration.images": {10**9, 10**18},
    "image_size": set(),
    "format": set(),
    "classes": set(),
    "weights_sha256": set(),
    "config.learning_rate": set(),
    "config.dropout_rate": {0},
    "config.input_size": set(),
    "config.epochs": set(),
    "config.normalize_std": set(),
    "config.freeze_depth": {0},
    "config.head": set(),
    "config.seed": {0, 10**9, 10**18},
    "config": set(),
}
"""Fields, with those of the values above that they may have."""


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_a_model_has_its_kind(
    predict: Callable[[object], Answer], about: dict[str, Any], field: str
) -> None:
    *parents, key = field.split(".")
    owner = about
    for parent in parents:
        owner = owner[parent]
    for value in WRONG_VALUES:
        if type(value) in (int, float) and value in FIELDS[field]:
            continue
        owner[key] = value
        line = refuse(predict(about), "config.json")
        if not (field == "format" and isinstance(value, int)):  # "is of a newer cifar-tune"
            assert field in line


@pytest.mark.parametrize("content", [[], "x", 1, None, {}, {"format": 1}, {"format": "1"}])
def test_what_is_no_configuration_of_a_model(
    predict: Callable[[object], Answer], about: dict[str, Any], content: object
) -> None:
    assert about
    refuse(predict(content), "config.json")


@pytest.mark.parametrize("change", ["nan", "half", "missing", "other shape"])
def test_weights_that_are_no_finite_numbers_of_their_kind(
    predict: Callable[[object], Answer], about: dict[str, Any], change: str
) -> None:
    path = MODEL / "model.safetensors"
    tensors = load_file(path)
    if change == "nan":
        tensors["fc.1.weight" if "fc.1.weight" in tensors else "conv1.weight"][0] = NAN
    elif change == "half":
        tensors["conv1.weight"] = tensors["conv1.weight"].to(torch.float8_e5m2)
    elif change == "missing":
        del tensors["conv1.weight"]
    else:
        tensors["conv1.weight"] = torch.zeros(1)
    save_file(tensors, path)
    about["weights_sha256"] = sha256_of_file(path)
    refuse(predict(about), "model.safetensors", ".weight")


# --- the database ---------------------------------------------------------------------------------


@pytest.fixture
def stored(cli: Cli) -> Cli:
    """The command line, where a study is stored with four named trials and two of a search."""
    made = MadeUp(HERE.absolute(), "dropout", "quick")
    made.add_named()
    made.add_sampled(2)
    return cli


def change(statement: str, *values: object) -> None:
    with closing(sqlite3.connect(HERE)) as database:
        assert database.execute(statement, values).rowcount > 0
        database.commit()


READERS = (
    ("report", "dropout", "--json"),
    ("study", "show", "dropout"),
    ("best", "show", "dropout"),
    ("trial", "show", "dropout", "0"),
    ("study", "export", "dropout", "--out", "out.json"),
)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "x"),
        ("seed", -1),
        ("name", 5),
        ("name", "a/\u001b[2J/seed=1"),
        ("config", []),
        ("config", {"epochs": 1}),
        ("history", [{"epoch": 1}]),
        ("history", "x"),
        ("history", []),
        ("facts", {"device": 5}),
        ("facts", None),
        ("settings", 5),
        ("kept_weights_sha256", "../x"),
        ("failure", "x"),
        ("queued", {"id": "x"}),
        ("restarts", 1),
    ],
)
def test_attributes_of_a_trial_are_checked(stored: Cli, key: str, value: object) -> None:
    change("DELETE FROM trial_user_attributes WHERE key = ? AND trial_id = 1", "name")
    change(
        "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (1, 'name', ?)",
        '"dropout/p=0.1/seed=1"',
    )
    with closing(sqlite3.connect(HERE)) as database:
        parts = (1, key)
        database.execute("DELETE FROM trial_user_attributes WHERE trial_id = ? AND key = ?", parts)
        database.execute(
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?)",
            (*parts, json.dumps(value)),
        )
        database.commit()
    for command in READERS:
        refuse(stored(*command), "cifar-tune.db: study dropout:quick: trial 0: ", key)
    assert not Path("out.json").exists()
    assert stored("study", "list").code == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("named", []),
        ("named", {"dropout/p=0.1": 1}),
        ("seed", "x"),
        ("protocol", 5),
        ("space", {"dropout_rate": {"low": "x"}}),
        ("overrides", []),
        ("profile", 5),
        ("claims", {"x": {}}),
        ("data_digests", {"train images": 5}),
        ("precision", "fp8"),
        ("format", "x"),
    ],
)
def test_attributes_of_a_study_are_checked(stored: Cli, key: str, value: object) -> None:
    change("UPDATE study_user_attributes SET value_json = ? WHERE key = ?", json.dumps(value), key)
    for command in READERS:
        refuse(stored(*command), "cifar-tune.db: study dropout:quick: ", key)


@pytest.mark.parametrize("value", ["[" * 3000 + "]" * 3000, "no JSON", "1" * 5000])
def test_attributes_that_cannot_be_parsed(stored: Cli, value: str) -> None:
    change("UPDATE study_user_attributes SET value_json = ? WHERE key = 'title'", value)
    for command in READERS:
        refuse(stored(*command), "cifar-tune.db")


@pytest.mark.parametrize(
    ("column", "value"),
    [("accuracy", 1e308), ("accuracy", -5), ("trial", "x"), ("seed", -1), ("test_sha256", "x")],
)
def test_rows_of_the_ledger_are_checked(stored: Cli, column: str, value: object) -> None:
    with closing(sqlite3.connect(HERE)) as database:
        for action in ("update", "delete"):
            database.execute(f"DROP TRIGGER cifar_tune_test_read_no_{action}")
    change(f"UPDATE cifar_tune_test_read SET {column} = ? WHERE id = 2", value)
    for command in (("test-reads",), *READERS[:1]):
        refuse(stored(*command), f"cifar_tune_test_read: row 2: result.{column} = ")
    # The rows of other studies say nothing of this one.
    MadeUp(HERE.absolute(), "final", "quick").add_named()
    assert stored("report", "final", "--json").code == 0


@pytest.mark.parametrize(
    ("column", "value"), [("pid", -1), ("pid", "x"), ("process_started", "x"), ("token", "")]
)
def test_a_lease_that_no_run_wrote(stored: Cli, column: str, value: object) -> None:
    assert stored("study", "export", "dropout", "--out", "out.json").code == 0
    storage, study = open_study(locate_storage(str(HERE)), "dropout:quick")
    with hold_lease(storage.engine, get_study_id(study), "dropout:quick", lambda _: None):
        change(f"UPDATE cifar_tune_lease SET {column} = ?", value)
        answer = stored("study", "import", "out.json")
        refuse(answer, "cifar-tune.db: table cifar_tune_lease", column)
    storage.engine.dispose()
