"""Notes and figures that a run leaves for optuna-dashboard, read back by its own functions."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from command_line import FINETUNE, Cli
from optuna_dashboard import get_note
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from optuna_dashboard._note import get_note_from_system_attrs, save_note_with_version
from scripted import Notes, ScriptedPool, scripted_workers, train
from sqlalchemy import Engine, event

from cifar_tune.config.derived import derive_spec
from cifar_tune.config.schema import NoPruner, Random
from cifar_tune.config.study_file import StudySpec, load_study_file, resolve
from cifar_tune.dashboard.notes import annotator, background
from cifar_tune.dashboard.notes.attributes import is_ours, seal
from cifar_tune.dashboard.notes.trial_notes import NotedStudy, trial_note
from cifar_tune.data.search_data import SearchData
from cifar_tune.evaluation.candidates import Candidate
from cifar_tune.evaluation.leader import read_answer
from cifar_tune.reports.markdown import plain
from cifar_tune.search.outcome import StudyOutcome
from cifar_tune.search.runner import Runner, RunOptions
from cifar_tune.storage.location import StorageLocation, locate_storage
from cifar_tune.storage.records import TrialSummary
from cifar_tune.workers.protocol import Task

URL = "sqlite:///s.db"
Run = Callable[..., StudyOutcome]


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudySpec:
    """Four named trials of two epochs, and a random search, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CIFAR_TUNE_STORAGE", raising=False)
    quick = resolve(load_study_file("dropout"), "quick", {"epochs": 2})
    return quick.with_profile(sampler=Random(name="random"), pruner=NoPruner(name="none"), trials=0)


@pytest.fixture
def run(spec: StudySpec, bundled: SearchData, tmp_path: Path) -> Run:
    """Run the study, or another one, with a worker that trains nothing."""

    def go(
        more_trials: int = 0,
        notes: Notes | None = None,
        script: Any = lambda task, _: train(task),
        of: StudySpec = spec,
    ) -> StudyOutcome:
        return Runner(
            of,
            locate_storage("s.db"),
            scripted_workers(ScriptedPool(1, script), bundled, tmp_path),
            notes or Notes(),  # type: ignore[arg-type]  # __getattr__ has the rest
            RunOptions(more_trials),
            annotator.StudyAnnotator,
        ).run()

    return go


def stored(number: int | None, name: str | None = None) -> dict[str, Any]:
    """The note of a trial, or of the study under None, with its version."""
    study = optuna.load_study(study_name=name, storage=URL)
    attributes = study._storage.get_study_system_attrs(study._study_id)
    trial_id = None if number is None else study.trials[number]._trial_id
    return dict(get_note_from_system_attrs(attributes, trial_id))


def save(number: int | None, body: str) -> None:
    """Save a note as the page does."""
    study = optuna.load_study(study_name=None, storage=URL)
    trial_id = None if number is None else study.trials[number]._trial_id
    version = stored(number)["version"] + 1
    save_note_with_version(study._storage, study._study_id, trial_id, version, body)


# --- a study that was trained ---------------------------------------------------------------------


def test_optuna_dashboard_reads_notes_and_figures(
    trained: tuple[StorageLocation, str], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    location, name = trained
    study = optuna.load_study(study_name=name, storage=location.url)
    attributes = study._storage.get_study_system_attrs(study._study_id)
    trial = next(one for one in study.trials if one.user_attrs["name"] == FINETUNE)
    body = get_note_from_system_attrs(attributes, trial._trial_id)["body"]
    assert is_ours(body)
    assert body.startswith(f"## {FINETUNE}\n")
    assert f"**Complete**: validation accuracy {100 * trial.value:.1f} % after 1 epoch." in body
    assert trial.user_attrs["facts"]["device"] in body.replace("\\", "")
    beside = f"| validation accuracy | {100 * trial.value:.1f} % | 80.8 % |"
    assert beside in body
    assert "Not to be compared: data bundled instead of cifar10" in body
    assert f"| seed | {trial.user_attrs['seed']} |" in body

    monkeypatch.chdir(location.path.parent)  # type: ignore[union-attr]
    block = re.search(r"```sh\n(.*?)\n```", body, re.DOTALL)
    assert block is not None
    again, show, train_it = (shlex.split(line)[1:] for line in block[1].splitlines())
    answer = cli(*again)
    assert answer.code == 0, answer.err
    assert "Reproduced" in answer.out
    assert FINETUNE in cli(*show).out
    plan = ["study", "plan", *train_it[2:], "--json"]
    assert cli(*plan).record["named"] == 0

    note = get_note(study)
    assert is_ours(note)
    assert "named trials 2 of " in note
    assert "**undecided**: Fine-tuning pretrained weights beats training from scratch" in note
    figures = get_plotly_graph_objects(attributes)
    wanted = {"accuracy-by-named-trial", "accuracy-against-time", "learning-curves-of-named-trials"}
    assert set(figures) == wanted
    for figure in map(json.loads, figures.values()):
        assert any(len(trace["x"]) for trace in figure["data"])
        assert figure["layout"]["title"]["text"]


# --- what a person typed --------------------------------------------------------------------------


def test_what_a_person_typed_stays(run: Run) -> None:
    run(1)
    texts: dict[int | None, str] = {0: "worth a look", 1: "", None: stored(None)["body"] + "\n!"}
    for number, text in texts.items():
        save(number, text)
    untouched = stored(2)
    assert untouched["version"] > 0
    run(2)
    run()
    assert {number: stored(number)["body"] for number in texts} == texts
    assert stored(2) == untouched  # nothing about it changed, so it was not written again
    assert "**Complete**" in stored(6)["body"]


def test_a_person_who_saves_at_that_moment_is_not_overwritten(run: Run) -> None:
    attempts: list[str] = []

    def save_meanwhile(
        _connection: object, _cursor: object, statement: str, *_: object, **__: object
    ) -> None:
        """Before a transaction of ours begins to write, once it has, and again."""
        if not Path("s.db").exists() or not statement.startswith(
            ("UPDATE cifar_tune_lease", "UPDATE study_system_attributes")
        ):
            return
        with closing(sqlite3.connect("s.db", timeout=0)) as database:
            has_note = "SELECT count(*) FROM study_system_attributes WHERE key LIKE '%:1:note_str%'"
            if not database.execute(has_note).fetchone()[0]:
                return
            try:
                database.execute(
                    "UPDATE study_system_attributes SET value_json = '\"mine\"' "
                    "WHERE key = 'dashboard:1:note_str:0'"
                )
                database.commit()
            except sqlite3.OperationalError:
                attempts.append("refused")
            else:
                attempts.append("saved")

    event.listen(Engine, "before_cursor_execute", save_meanwhile)
    try:
        run()
    finally:
        event.remove(Engine, "before_cursor_execute", save_meanwhile)
    assert "saved" in attempts
    assert "refused" in attempts  # for as long as we write, nobody else does
    assert stored(0)["body"] == "mine"


def test_studies_without_notes_get_them_at_the_next_run(run: Run) -> None:
    run()
    before = {number: stored(number)["body"] for number in (0, 3, None)}
    with closing(sqlite3.connect("s.db")) as database:
        database.execute("DELETE FROM study_system_attributes WHERE key LIKE 'dashboard:%'")
        database.commit()
    run()
    assert {number: stored(number)["body"] for number in before} == before
    assert all(is_ours(body) for body in before.values())


def test_a_note_that_grows_shorter_leaves_nothing_behind(run: Run) -> None:
    run()
    save(0, seal("long\n" * 2000))
    run()
    assert stored(0)["body"].startswith("## dropout/p=0.1/seed=1\n")
    assert is_ours(stored(0)["body"])


# --- the study's own, by a process ----------------------------------------------------------------


def test_a_long_run_is_summed_up_by_another_process(
    run: Run, spec: StudySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotator, "SHORT_SECONDS", 0.0)
    notes = Notes()
    run(notes=notes)
    assert notes.noted_texts == []
    body = stored(None)["body"]
    assert "named trials 4 of 4 done" in body
    # It begins with the sentence of the report.
    answer = read_answer(locate_storage("s.db"), spec).sentence
    assert body.splitlines()[2] == f"**{plain(answer)}**"


def test_a_process_that_dies_is_told_once_and_ends_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotator, "SHORT_SECONDS", 0.0)
    monkeypatch.setattr(background, "_main", os._exit)
    notes = Notes()
    outcome = run(notes=notes)
    assert [trial.state for trial in outcome.trials] == ["complete"] * 4
    assert outcome.failed is False
    (said,) = notes.noted_texts
    assert said.startswith("the study's note and figures in the browser are not up to date: ")
    assert stored(None)["version"] == 0
    assert "**Complete**" in stored(3)["body"]


# --- texts ----------------------------------------------------------------------------------------


def test_trials_of_a_derived_study_name_what_made_them(spec: StudySpec, run: Run) -> None:
    candidate = Candidate("dropout/p=0.3", (2,), (0.5,), spec.named[2].params, {})
    derived = derive_spec(spec, "confirm", [candidate.as_named()], seeds=1)
    run(of=derived)
    name = "dropout/confirm:quick:epochs=2"
    command = "cifar-tune best confirm dropout --profile quick --set epochs=2"
    assert f"{command} --storage s.db --seeds 1" in stored(0, name)["body"]
    assert "Belongs to `dropout:quick:epochs=2`" in stored(None, name)["body"]


def summary(state: str, epochs: int, failure: dict[str, Any] | None = None) -> TrialSummary:
    accuracy = 0.25 if epochs else None
    return TrialSummary(
        number=7, seed=1, state=state, epochs=epochs, val_accuracy=accuracy, failure=failure
    )


@pytest.mark.parametrize(
    ("trial", "attributes", "said"),
    [
        (summary("running", 0), {}, "**Running**, 2 epochs in all."),
        (summary("waiting", 0), {}, "**Waiting** to start."),
        (summary("waiting", 1), {}, "**Paused** after epoch 1 of 2, at a"),
        (summary("pruned", 1), {}, "**Pruned** after epoch 1 of 2, at a validation accuracy of "),
        (
            summary("fail", 0, {"kind": "error", "message": "a|b <c>\nd", "epoch": 1}),
            {},
            r"**Failed** in epoch 1: a\|b \<c\>. The next run trains it again.",
        ),
        (
            summary("waiting", 0),
            {"queued": {"by": "browser", "at": "2026-11-23T08:50:18+00:00"}},
            "Queued from the browser at 2026-11-23 08:50 UTC.",
        ),
        (
            summary("complete", 2),
            {"restarts": [{"why": "it died"}, {"why": "the run had ended"}]},
            "Resumed 2 times, the last time because the run had ended.",
        ),
    ],
    ids=lambda value: value.state if isinstance(value, TrialSummary) else "",
)
def test_states_in_words(
    spec: StudySpec, trial: TrialSummary, attributes: dict[str, Any], said: str
) -> None:
    study = NotedStudy.of(spec, locate_storage("s.db"))
    note = trial_note(study, trial, {"config": {"epochs": 2}, **attributes})
    assert note.startswith("## Trial 7\n")
    assert said in note


def test_a_trial_that_runs_has_a_note(run: Run) -> None:
    seen: list[str] = []

    def script(task: Task, _begun: int) -> Iterator[Any]:
        for place, said in enumerate(train(task)):
            if place == 1:
                seen.append(stored(task.number)["body"])
            yield said

    run(script=script)
    assert len(seen) == 4
    assert all("**Running**, 2 epochs in all. On made up." in note for note in seen)
