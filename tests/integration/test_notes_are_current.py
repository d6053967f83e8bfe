"""Notes in the browser are never older than what they speak of."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
from command_line import TINY, Cli
from optuna_dashboard import get_note
from optuna_dashboard._note import get_note_from_system_attrs

URL = "sqlite:///storage/cifar-tune.db"
STUDY = ("dropout", *TINY, "--epochs", "1")


def read_notes(name: str = "dropout:quick:") -> tuple[str, list[str]]:
    """The note of the study whose name begins so, and those of its trials."""
    (study,) = [
        optuna.load_study(study_name=one, storage=URL)
        for one in optuna.get_all_study_names(URL)
        if one.startswith(name)
    ]
    attributes = study._storage.get_study_system_attrs(study._study_id)
    trials = [get_note_from_system_attrs(attributes, trial._trial_id) for trial in study.trials]
    return get_note(study), [note["body"] for note in trials]


def test_notes_know_of_test_reads_confirmations_and_what_is_left(cli: Cli) -> None:
    assert cli("study", "run", *STUDY, "--trials", "0").code == 0
    note, _ = read_notes()
    assert "The test images have not been read" in note
    assert "When it began, this run expected" not in note

    assert cli("trial", "test", "--yes", *STUDY, "0").code == 0
    note, trials = read_notes()
    assert "The test images have been read once for this study, for one configuration." in note
    assert "On the test images:" in trials[0]
    assert "On the test images:" not in trials[1]

    assert cli("best", "confirm", *STUDY, "--seeds", "2", "--top", "2").code == 0
    assert "On 2 fresh seeds the best is" in read_notes()[0]

    assert cli("best", "rerun", *STUDY, "--seeds", "1").code == 0
    assert "The test images have been read 2 times" in read_notes()[0]
    note, trials = read_notes("dropout/rerun:quick:")
    assert "test accuracy" in note
    assert "On the test images:" in trials[0]


def test_the_next_command_goes_on_where_something_is_left_and_confirms_where_nothing_is(
    cli: Cli,
) -> None:
    study = ("transfer", *TINY, "--epochs", "1")
    assert cli("study", "run", *study, "--only", "transfer/scratch").code == 0
    note, _ = read_notes("transfer:quick:")
    assert "cifar-tune study run transfer" in note
    assert "cifar-tune best confirm" not in note
    assert cli("study", "run", *study).code == 0
    note, _ = read_notes("transfer:quick:")
    assert "cifar-tune best confirm transfer" in note
    assert "cifar-tune study run" not in note


def test_the_card_of_a_model_states_what_the_test_images_gave(cli: Cli) -> None:
    assert cli("study", "run", *STUDY, "--trials", "0").code == 0
    best = json.loads(cli("best", "show", *STUDY, "--json").out)["shortlist"][0]["trials"][0]
    result = cli("trial", "test", "--yes", *STUDY, str(best), "--json").record
    assert cli("best", "export", *STUDY, "--trial", str(best), "--out", "model").code == 0
    card = Path("model/README.md").read_text(encoding="utf-8")
    assert f"value: {round(result['accuracy'], 6)}" in card
    assert "name: accuracy of this model" in card
