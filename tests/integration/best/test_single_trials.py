"""Single trials: shown with all that made them, and trained again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import optuna
from best_study import NAMES, said, stored, trials
from command_line import Cli


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
    assert "Not reproduced, on the same device with the same versions." in answer.out
