"""A study that a person has changed with Optuna itself: every command goes on with it."""

from __future__ import annotations

from pathlib import Path

import optuna
from command_line import TINY, Cli
from optuna.distributions import FloatDistribution

HOW = ("--profile", "quick", "--epochs", "1", *TINY)
STORAGE = "sqlite:///storage/cifar-tune.db"


def change_with_optuna() -> None:
    """Add a trial, enqueue one in range and one out of it, and leave one running."""
    (name,) = optuna.get_all_study_names(STORAGE)
    study = optuna.load_study(study_name=name, storage=STORAGE)
    space = {"dropout_rate": FloatDistribution(0, 0.6), "mixup": FloatDistribution(0, 1)}
    values = {"dropout_rate": 0.2, "mixup": 0.5}
    study.add_trial(optuna.create_trial(value=0.99, params=values, distributions=space))
    study.ask()
    study.enqueue_trial({"dropout_rate": 0.25})
    study.enqueue_trial({"dropout_rate": 5.0, "learning_rate": "fast"})


def test_every_command_goes_on_with_it(cli: Cli) -> None:
    run = ("study", "run", "dropout", *HOW, "--only", "dropout/p=0.3", "--trials", "0")
    assert cli(*run).code == 0
    change_with_optuna()
    again = cli(*run)
    assert again.code == 0, again.err
    assert "trial 4 (queued) is refused: dropout_rate = 5.0: expected a number" in again.out
    record = cli(*run, "--json").record
    assert [trial["state"] for trial in record["trials"]] == [
        "complete", "foreign", "foreign", "complete", "fail",
    ]  # fmt: skip
    assert record["trials"][4]["failure"]["kind"] == "refused"
    assert record["best"]["number"] in (0, 3)

    listed = cli("study", "show", "dropout", *HOW).out
    assert listed.count("foreign") == 4  # kind and state of two
    assert listed.count("refused") == 1
    page = cli("report", "dropout", "--out", "report.html")
    assert page.code == 0, page.err
    drawn = Path("report.html").read_text(encoding="utf-8")
    assert "1 refused, 2 foreign" in drawn
    assert cli("best", "show", "dropout").code == 0
    assert "state: refused" in cli("trial", "show", "dropout", "4").out
    assert "state: foreign" in cli("trial", "show", "dropout", "1").out

    assert cli("study", "export", "dropout", "--out", "e.json").code == 0
    imported = cli("study", "import", "e.json", "--storage", "other.db")
    assert imported.code == 0, imported.err
    (there,) = cli("study", "show", "dropout", *HOW, "--storage", "other.db", "--json").record[
        "stored"
    ]
    assert [trial["state"] for trial in there["trials"]] == [
        trial["state"] for trial in record["trials"]
    ]
