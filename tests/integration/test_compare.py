"""Studies, and trials, beside each other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli
from made_up import MadeUp

DATABASE = "storage/cifar-tune.db"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same study under three protocols, and another one with one model in common."""
    folder = tmp_path_factory.mktemp("made")
    studies: list[tuple[str, dict[str, int]]] = [
        ("dropout", {}),
        ("dropout", {"epochs": 8}),
        ("dropout", {"validation_images": 500}),
        ("final", {}),
    ]
    for name, overrides in studies:
        MadeUp(folder / DATABASE, name, "quick", **overrides).add_named()
    return folder


@pytest.fixture(autouse=True)
def stored(made: Path, tmp_path: Path) -> None:
    """A copy of those studies, where the commands look for them."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)


def compare(cli: Cli, *names: str) -> dict[str, Any]:
    answer = cli("study", "compare", *names, "--json")
    assert answer.code == 0, answer.err
    return answer.record


def by_quantity(model: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {quantity["quantity"]: quantity for quantity in model["quantities"]}


def test_models_are_compared_in_pairs_of_seeds(cli: Cli) -> None:
    record = compare(cli, "dropout", "dropout:quick:epochs=8")
    assert record["protocol"] == [{"key": "epochs", "values": [3, 8]}]
    assert record["search"] == []
    names = [f"dropout/p=0.{tenth}" for tenth in (1, 2, 3, 4)]
    assert [model["names"] for model in record["models"]] == [[name] * 2 for name in names]
    quantities = by_quantity(record["models"][2])
    accuracy, seconds = quantities["val_accuracy"], quantities["seconds"]
    assert accuracy["measured"][0]["mean"] == accuracy["measured"][1]["mean"] == 0.526
    assert accuracy["contrasts"][1]["mean"] == 0
    assert accuracy["contrasts"][1]["basis"] == "images"
    # Eight epochs take 8/3 of the time of three.
    assert seconds["contrasts"][1]["mean"] == pytest.approx(1 - 8 / 3, abs=0.05)


def test_what_may_not_be_compared_says_why(cli: Cli) -> None:
    record = compare(cli, "dropout", "dropout:quick:validation_images=500")
    quantities = by_quantity(record["models"][0])
    assert quantities["val_accuracy"]["contrasts"] == [None, None]
    assert quantities["val_accuracy"]["reasons"][1] == (
        "the validation images differ: validation_images"
    )
    assert quantities["test_accuracy"]["contrasts"][1] is not None


def test_one_model_under_two_names_is_found(cli: Cli) -> None:
    record = compare(cli, "dropout", "final")
    (model,) = record["models"]
    assert model["names"] == ["dropout/p=0.3", "final/p=0.3"]
    assert model["is_identical"] is False
    contrast = by_quantity(model)["val_accuracy"]["contrasts"][1]
    assert (contrast["seeds"], round(contrast["mean"], 2)) == (1, 0.14)


def test_a_comparison_is_a_page_too(cli: Cli) -> None:
    answer = cli("study", "compare", "dropout", "dropout:quick:epochs=8", "--out", "page.html")
    assert answer.code == 0, answer.err
    page = Path("page.html").read_text(encoding="utf-8")
    for text in ("dropout/p=0.3", "52.6 %", "B beside A", "dropout:quick:epochs=8"):
        assert text in answer.out
        assert text in page
    assert "No difference in accuracy has a 95 % interval clear of zero." in answer.out


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (("dropout",), "dropout:quick: expected two studies or more, each once"),
        (("dropout", "dropout:quick"), "expected two studies or more, each once"),
        (("dropout", "dropout:quick:epochs=9"), "dropout:quick:epochs=9: is not stored in"),
        (("dropout", "drop"), "drop"),
    ],
)
def test_what_cannot_be_compared_is_refused(cli: Cli, names: tuple[str, ...], error: str) -> None:
    answer = cli("study", "compare", *names)
    assert answer.code == 2
    assert error in answer.err
    assert len(answer.err.splitlines()) == 1


def test_a_diff_of_trials_has_what_differs_alone(cli: Cli) -> None:
    record = cli("trial", "diff", "dropout", "0", "p=0.3", "--json").record
    assert record["configuration"] == [{"key": "dropout_rate", "values": [0.1, 0.3]}]
    results = {row["key"]: row["values"] for row in record["results"]}
    assert results["val_accuracy"] == [0.494, 0.526]
    assert "state" not in results
    shown = cli("trial", "diff", "dropout", "0", "p=0.3")
    assert "dropout rate" in shown.out
    assert "Made with: no difference." in shown.out
    assert "learning rate" not in shown.out
    assert "49.4 %" in shown.out
    assert "52.6 %" in shown.out
    assert "0.494" not in shown.out
    assert cli("trial", "diff", "dropout", "0", "99").code == 2
