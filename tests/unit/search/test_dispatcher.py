"""What a run does with what its workers say, with workers that say what a test wants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState
from scripted import EPOCHS, PROVENANCE, Notes, Run, ScriptedPool, epoch, scripted_workers, train

from cifar_tune.config.study_file import StudySpec
from cifar_tune.data.search_data import SearchData
from cifar_tune.errors import StorageError, TrialFailedError
from cifar_tune.search.budget import TIME_IS_UP
from cifar_tune.search.observer import Observer
from cifar_tune.search.runner import Runner
from cifar_tune.storage.location import locate_storage
from cifar_tune.training.records import TrialResult
from cifar_tune.workers.protocol import (
    OUT_OF_MEMORY,
    REFUSED,
    Died,
    EpochEnded,
    Event,
    Failed,
    Finished,
    Started,
    Task,
)


def stored() -> list[optuna.trial.FrozenTrial]:
    (name,) = optuna.get_all_study_names("sqlite:///s.db")
    return optuna.load_study(study_name=name, storage="sqlite:///s.db").trials


@pytest.mark.parametrize("slots", [1, 3])
def test_counts_do_not_overshoot(run: Run, slots: int) -> None:
    pool = ScriptedPool(slots, lambda task, _: train(task))
    outcome = run(pool, more_trials=5)
    assert (outcome.trials_run, outcome.left.trials) == (9, 0)
    assert [trial.name is None for trial in outcome.trials] == [False] * 4 + [True] * 5
    assert max(len(others) for _, others in pool.beside) == slots - 1
    assert run(ScriptedPool(slots, lambda task, _: train(task))).trials_run == 0


def test_a_trial_that_dies_goes_on_three_times_at_the_most(run: Run) -> None:
    def script(task: Task, before: int) -> Iterator[Event]:
        deaths = {0: 3, 1: 4}.get(task.number, 0)
        if before >= deaths:
            yield from train(task, min(before, 1))
            return
        yield Started(task.number, PROVENANCE, min(before, 1), 0)
        yield EpochEnded(task.number, epoch(1))
        yield Died(task.number, "its worker was ended by SIGSEGV", "Fatal Python error")

    notes = Notes()
    outcome = run(ScriptedPool(2, script), notes=notes)
    assert outcome.failed
    assert [trial.state for trial in outcome.trials] == ["complete", "fail", "complete", "complete"]
    survivor, lost = stored()[:2]
    assert [one["died"] for one in survivor.user_attrs["restarts"]] == [True] * 3
    assert [one["epochs"] for one in survivor.user_attrs["restarts"]] == [1] * 3
    assert len(survivor.user_attrs["history"]) == EPOCHS
    failure = lost.user_attrs["failure"]
    assert failure["kind"] == "died"
    assert "SIGSEGV" in failure["message"]
    assert "epoch 1: 0.5000" in failure["log"]
    assert "Fatal Python error" in failure["log"]
    assert any("resumed from its last checkpoint" in text for text in notes.noted_texts)
    # The next run has another go at it, under another number.
    again = run(ScriptedPool(1, lambda task, _: train(task)))
    assert [trial.name for trial in again.trials[4:]] == [lost.user_attrs["name"]]
    assert not again.failed


def test_too_little_gpu_memory_is_tried_again_alone(run: Run) -> None:
    def script(task: Task, before: int) -> Iterator[Event]:
        if (task.number, before) in {(0, 0), (2, 0), (2, 1)}:
            yield Started(task.number, PROVENANCE, 0, 0)
            yield Failed(task.number, OUT_OF_MEMORY, "OutOfMemoryError: CUDA out of memory")
        else:
            yield from train(task)

    pool = ScriptedPool(3, script)
    outcome = run(pool)
    assert [trial.state for trial in outcome.trials] == ["complete", "complete", "fail", "complete"]
    starts = Counter(number for number, _ in pool.beside)
    assert (starts[0], starts[2]) == (2, 2)
    for number in (0, 2):
        *_, last = (others for begun, others in pool.beside if begun == number)
        assert last == set()
    order = [number for number, _ in pool.beside]
    assert order.index(3) > max(at for at, number in enumerate(order) if number == 0)
    assert stored()[2].user_attrs["failure"]["kind"] == "error"


def test_what_no_other_trial_would_fare_better_with_ends_the_run(run: Run) -> None:
    def script(task: Task, before: int) -> Iterator[Event]:
        yield Started(task.number, PROVENANCE, 0, 0)
        if task.number == 0 and before == 0:
            yield Failed(task.number, REFUSED, "x: the disk is full", {"error": "StorageError"})
        yield EpochEnded(task.number, epoch(1))
        yield EpochEnded(task.number, epoch(2))

    pool = ScriptedPool(2, script)
    with pytest.raises(StorageError, match="trial 0: x: the disk is full"):
        run(pool)
    assert pool.was_stopped
    assert [trial.state for trial in stored()] == [TrialState.WAITING] * 2


def test_errors_one_after_another_end_the_run(run: Run) -> None:
    def script(task: Task, _before: int) -> Iterator[Event]:
        yield Started(task.number, PROVENANCE, 0, 0)
        yield Failed(task.number, "error", "RuntimeError: no", {"traceback": "…"})

    with pytest.raises(TrialFailedError, match="3 trials failed in a row"):
        run(ScriptedPool(1, script))
    assert [trial.state for trial in stored()] == [TrialState.FAIL] * 3
    assert stored()[0].user_attrs["failure"]["traceback"] == "…"


@pytest.mark.parametrize("shares_files", [True, False])
def test_the_record_says_why_a_trial_began_anew(run: Run, shares_files: bool) -> None:
    def script(task: Task, before: int) -> Iterator[Event]:
        if task.number != 0 or before:
            yield from train(task, shares_files=shares_files)
            return
        yield Started(task.number, PROVENANCE, 0, 0)
        yield EpochEnded(task.number, epoch(1, accuracy=0.4))
        yield Died(task.number, "its node is gone")

    run(ScriptedPool(1, script))
    first = stored()[0]
    (restart,) = first.user_attrs["restarts"]
    assert restart["why"] == "its node is gone"
    assert ("cannot read the folder" in restart["from"]) is not shares_files
    # What was reported stays; what is recorded are the epochs of the weights that there are.
    assert first.intermediate_values == {1: 0.4, 2: 0.5}
    assert [one["val_accuracy"] for one in first.user_attrs["history"]] == [0.5, 0.5]


def test_checkpoints_that_cannot_be_used_are_said(run: Run) -> None:
    def script(task: Task, _before: int) -> Iterator[Event]:
        events = train(task)
        yield replace(next(events), refusals=("a.safetensors: is damaged",))  # type: ignore[call-arg]
        yield from events

    notes = Notes()
    run(ScriptedPool(1, script), notes=notes)
    assert "trial 0: checkpoint not used: a.safetensors: is damaged" in notes.noted_texts


def test_a_word_of_a_trial_that_was_given_up_is_not_heard(run: Run) -> None:
    def script(task: Task, _before: int) -> Iterator[Event]:
        yield from list(train(task))[:-1]
        yield EpochEnded(99, epoch(1))
        yield Finished(task.number, TrialResult((epoch(1), epoch(2)), False, None))

    outcome = run(ScriptedPool(1, script))
    assert [trial.state for trial in outcome.trials] == ["complete"] * 4
    assert len(stored()) == 4


def file_names(trial: optuna.trial.FrozenTrial) -> list[str]:
    storage = optuna.storages.RDBStorage("sqlite:///s.db")
    found = get_all_artifact_meta(trial, storage=storage)
    return [one.filename for one in found]


def test_of_trials_at_once_only_the_best_so_far_keeps_its_activation_maps(run: Run) -> None:
    """Each was the best when it began, or equal to it; in the order in which they end."""
    accuracies = {0: 0.5, 1: 0.4, 2: 0.6, 3: 0.6}
    told = {}

    def script(task: Task, _before: int) -> Iterator[Event]:
        told[task.number] = task.best_so_far
        events = list(train(task))
        assert task.files.activation_maps is not None
        task.files.activation_maps.parent.mkdir(parents=True, exist_ok=True)
        task.files.activation_maps.write_bytes(b"maps")
        done = (epoch(1), epoch(2, accuracies[task.number]))
        yield from (*events[:2], EpochEnded(task.number, done[1]))
        yield Finished(task.number, TrialResult(done, False, None))

    run(ScriptedPool(2, script))
    assert told == {0: -1.0, 1: -1.0, 2: 0.5, 3: 0.5}
    assert [file_names(trial) for trial in stored()] == [
        ["activation-maps.png", "metrics.csv"],
        ["metrics.csv"],
        ["activation-maps.png", "metrics.csv"],
        ["metrics.csv"],
    ]
    assert len(list(Path("s-artifacts").iterdir())) == 6
    assert not Path("s-checkpoints").exists()


def test_what_could_not_be_drawn_is_said_and_a_failed_trial_keeps_its_table(run: Run) -> None:
    def script(task: Task, _before: int) -> Iterator[Event]:
        if task.number:
            *events, last = train(task)
            assert isinstance(last, Finished)
            yield from events
            note = "its learning curves could not be drawn: OSError: no font"
            yield replace(last, result=replace(last.result, note=note))
            return
        yield Started(task.number, PROVENANCE, 0, 0)
        yield EpochEnded(task.number, epoch(1))
        yield Failed(task.number, "error", "RuntimeError: no", {})

    notes = Notes()
    outcome = run(ScriptedPool(1, script), notes=notes)
    assert [trial.state for trial in outcome.trials] == ["fail"] + ["complete"] * 3
    said = "trial 1: its learning curves could not be drawn: OSError: no font"
    assert said in notes.noted_texts
    (first, *_) = stored()
    assert file_names(first) == ["metrics.csv"]


def test_provenance_is_that_of_the_worker(run: Run) -> None:
    run(ScriptedPool(1, lambda task, _: train(task)))
    for trial in stored():
        facts: dict[str, Any] = trial.user_attrs["facts"]
        assert (facts["device"], facts["host"], facts["device_share"]) == ("made up", "here", 1.0)
        assert len(facts["config_sha256"]) == 64


def test_a_run_that_is_to_stop_lets_its_trials_wait(
    run: Run, spec: StudySpec, bundled: SearchData, tmp_path: Path
) -> None:
    pool = ScriptedPool(2, lambda task, _: train(task))
    answers = iter([False] * 8)
    outcome = Runner(
        spec,
        locate_storage("s.db"),
        scripted_workers(pool, bundled, tmp_path),
        Observer(),
        should_stop=lambda: next(answers, True),
    ).run()
    assert outcome.interrupted
    assert pool.was_stopped
    assert {trial.state for trial in outcome.trials} <= {"complete", "waiting"}
    assert any(trial.state == "waiting" for trial in outcome.trials)
    left = outcome.left.trials
    after = run(ScriptedPool(2, lambda task, _: train(task)))
    assert (after.trials_run, after.left.trials) == (left, 0)
    assert [trial.state for trial in after.trials] == ["complete"] * 4


def test_a_run_whose_time_is_up_says_so(run: Run) -> None:
    outcome = run(ScriptedPool(1, lambda task, _: train(task)), seconds=0.0)
    assert (outcome.trials_run, outcome.left.trials) == (0, 4)
    assert outcome.why_left == TIME_IS_UP
