"""Trials that people ask for: checked, taken up, trained to their end, never lost or doubled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import optuna
import pytest
from command_line import TINY, Cli
from scripted import EPOCHS, PROVENANCE, Notes, Run, ScriptedPool, epoch, train

from cifar_tune.config.study_file import StudySpec
from cifar_tune.errors import StudyGoneError
from cifar_tune.search import requests
from cifar_tune.storage import studies as stored
from cifar_tune.storage.location import locate_storage
from cifar_tune.storage.queue import TrialQueue
from cifar_tune.storage.study_requests import Request
from cifar_tune.training.records import TrialResult
from cifar_tune.workers.protocol import EpochEnded, Event, Finished, Started, Task

ASKED = {"dropout_rate": 0.25, "learning_rate": 0.002, "augmentation_strength": 0.5}


@pytest.fixture
def queue(run: Run) -> TrialQueue:  # noqa: ARG001  (it goes to a folder of its own)
    return TrialQueue(stored.open_to_write(locate_storage("s.db")))


@pytest.fixture
def ask(queue: TrialQueue, spec: StudySpec) -> Callable[..., Request]:
    def add(seed: int | None = None, **params: float) -> Request:
        return queue.ask_for_trial(spec, "dropout", params, seed, "a test")

    return add


def go(task: Task, _: int) -> Iterator[Event]:
    return train(task)


def load(spec: StudySpec) -> optuna.Study:
    return optuna.load_study(study_name=spec.study_name, storage="sqlite:///s.db")


def test_a_queued_trial_runs_before_all_others_with_the_values_that_were_asked_for(
    run: Run, ask: Callable[..., Request], spec: StudySpec, queue: TrialQueue
) -> None:
    whole, part = ask(seed=11, **ASKED), ask(dropout_rate=0.5)
    outcome = run(ScriptedPool(1, go), more_trials=1)
    assert [trial.name is None for trial in outcome.trials] == [True, True, *[False] * 4, True]
    first, second, *_, last = load(spec).trials
    assert first.params == ASKED
    assert first.user_attrs["config"]["seed"] == 11
    assert first.user_attrs["queued"] == {
        "by": "a test", "at": whole.asked, "study": "dropout", "seed": 11, "trial": whole.id,
    }  # fmt: skip
    assert second.params["dropout_rate"] == 0.5
    assert second.params.keys() == ASKED.keys()
    assert "queued" not in last.user_attrs
    ended = queue.list_ended(8)
    assert [(one.id, one.trial) for one in ended] == [(part.id, 1), (whole.id, 0)]
    assert {one.state for one in ended} == {"ended"}


def test_the_search_draws_what_it_would_have_drawn_without_queued_trials(
    run: Run, ask: Callable[..., Request], spec: StudySpec
) -> None:
    run(ScriptedPool(1, go), more_trials=2)
    plain = [trial.params for trial in load(spec).trials[4:]]
    optuna.delete_study(study_name=spec.study_name, storage="sqlite:///s.db")
    ask(**ASKED)
    ask(learning_rate=0.001)
    run(ScriptedPool(1, go), more_trials=2)
    sampled = [
        trial.params
        for trial in load(spec).trials
        if not {"name", "queued"} & trial.user_attrs.keys()
    ]
    assert sampled == plain


def test_a_trial_that_is_queued_while_a_run_goes_on_is_taken_up_by_it(
    run: Run, ask: Callable[..., Request], spec: StudySpec
) -> None:
    def script(task: Task, _: int) -> Iterator[Event]:
        if task.number == 3:  # the last one of the four named trials
            ask(**ASKED)
        yield from train(task)

    outcome = run(ScriptedPool(1, script))
    assert outcome.trials_run == 5
    assert load(spec).trials[4].params == ASKED


def test_a_queued_trial_is_never_pruned(
    run: Run, ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cifar_tune.search.pruners.CompleteTrials.should_prune", lambda *_: True)
    ask(**ASKED)

    def script(task: Task, _: int) -> Iterator[Event]:
        yield Started(task.number, PROVENANCE, 0, 0)
        yield EpochEnded(task.number, epoch(1))
        went_on = pool.decisions[task.number][-1]
        if went_on:
            yield EpochEnded(task.number, epoch(2))
        done = tuple(epoch(one) for one in range(1, EPOCHS + went_on))
        yield Finished(task.number, TrialResult(done, not went_on, None))

    pool = ScriptedPool(1, script)
    outcome = run(pool, more_trials=1)
    assert outcome.trials[0].queued
    assert outcome.trials[0].state == "complete"
    assert outcome.trials[-1].state == "pruned"


def test_a_cancelled_request_is_not_run(
    run: Run, ask: Callable[..., Request], queue: TrialQueue, spec: StudySpec
) -> None:
    cancelled = ask(**ASKED)
    assert queue.cancel(spec.study_name, str(cancelled.id))
    assert not queue.cancel(spec.study_name, str(cancelled.id))
    outcome = run(ScriptedPool(1, go))
    assert outcome.trials_run == 4
    assert (outcome.trials[0].outcome, outcome.trials[0].has_failed) == ("cancelled", False)
    assert run(ScriptedPool(1, go)).trials_run == 0  # nor is it tried again
    # One that is cancelled at the last moment is passed over too.
    late = ask(**ASKED)
    with pytest.MonkeyPatch.context() as patch:
        check = requests.check_requests

        def check_and_cancel(*arguments: Any) -> Any:
            checked = check(*arguments)
            queue.cancel(spec.study_name, str(late.id))
            return checked

        patch.setattr("cifar_tune.search.open_study.check_requests", check_and_cancel)
        assert run(ScriptedPool(1, go)).trials_run == 0
    assert queue.list_ended(1)[0].state == "cancelled"


def test_only_what_was_asked_for(run: Run, ask: Callable[..., Request]) -> None:
    ask(**ASKED)
    outcome = run(ScriptedPool(1, go), only_queued=True)
    assert (outcome.trials_run, len(outcome.trials)) == (1, 1)
    assert not outcome.failed


def test_a_run_that_dies_around_a_request_neither_loses_nor_doubles_it(
    run: Run, ask: Callable[..., Request], queue: TrialQueue, spec: StudySpec
) -> None:
    first, second = ask(**ASKED), ask(dropout_rate=0.1)

    def script(*_: object) -> Iterator[Event]:
        raise SystemExit  # as it begins the first one
        yield

    with pytest.raises(SystemExit):
        run(ScriptedPool(1, script))
    assert [(one.id, one.state) for one in queue.list_requests()] == [
        (first.id, "begun"), (second.id, "waiting"),
    ]  # fmt: skip
    assert not queue.cancel(spec.study_name, str(first.id))
    assert run(ScriptedPool(1, go)).trials_run == 6
    queued = [trial for trial in load(spec).trials if "queued" in trial.user_attrs]
    assert [trial.number for trial in queued] == [first.id, second.id]
    assert not queue.list_requests()
    assert run(ScriptedPool(1, go)).trials_run == 0


def test_an_interrupted_queued_trial_goes_on_under_its_number(
    run: Run, ask: Callable[..., Request], queue: TrialQueue
) -> None:
    request = ask(**ASKED)

    def script(task: Task, _: int) -> Iterator[Event]:
        yield Started(task.number, PROVENANCE, 0, 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(ScriptedPool(1, script), only_queued=True)
    (begun,) = queue.list_requests()
    assert (begun.id, begun.state, begun.trial) == (request.id, "begun", 0)
    outcome = run(ScriptedPool(1, go), only_queued=True)
    assert [(one.number, one.state, one.queued) for one in outcome.trials] == [
        (0, "complete", True)
    ]


@pytest.mark.parametrize("how", ["delete", "rename"])
def test_a_study_that_is_deleted_or_renamed_stops_its_run_with_a_clear_word(
    run: Run, spec: StudySpec, how: str
) -> None:
    other = replace(spec, study_name="other:quick")
    optuna.create_study(study_name=other.study_name, storage="sqlite:///s.db")

    def script(task: Task, _: int) -> Iterator[Event]:
        yield Started(task.number, PROVENANCE, 0, 0)
        yield EpochEnded(task.number, epoch(1))
        if how == "rename":  # as optuna-dashboard does it
            optuna.copy_study(
                from_study_name=spec.study_name,
                from_storage="sqlite:///s.db",
                to_storage="sqlite:///s.db",
                to_study_name="mine",
            )
        optuna.delete_study(study_name=spec.study_name, storage="sqlite:///s.db")
        # Its number is given to another one.
        optuna.create_study(study_name="later:quick", storage="sqlite:///s.db").ask()
        yield EpochEnded(task.number, epoch(2))

    with pytest.raises(StudyGoneError, match=rf"{spec.study_name} was deleted or renamed"):
        run(ScriptedPool(1, script), notes=Notes())
    names = optuna.get_all_study_names("sqlite:///s.db")
    assert set(names) == {"other:quick", "later:quick", *(["mine"] if how == "rename" else [])}
    (later,) = optuna.load_study(study_name="later:quick", storage="sqlite:///s.db").trials
    assert not later.user_attrs
    assert not later.intermediate_values
    assert run(ScriptedPool(1, go)).trials_run == 4  # and the lease is free


def test_values_are_checked_and_a_request_is_shown_and_cancelled(cli: Cli) -> None:
    wrong = cli(
        "study", "queue", "dropout", *TINY, "--profile", "quick",
        "--param", "dropout_rate=0.9", "--param", "dropuot_rate=0.1", "--param", "learning_rate=x",
    )  # fmt: skip
    assert wrong.code == 2
    assert wrong.err.splitlines() == [
        "error: --param dropout_rate=0.9: expected a number from 0 to 0.6",
        "error: --param dropuot_rate=0.1: is not searched by dropout; expected one of dropout_rate,"
        " learning_rate, augmentation_strength; did you mean dropout_rate?",
        "error: --param learning_rate=x: expected a number from 0.0001 to 0.01",
    ]
    fraction = cli("study", "queue", "freeze-depth", "--param", "freeze_depth=1.5")
    assert "expected a whole number from 0 to 5" in fraction.err
    nothing = cli("study", "queue", "transfer", "--param", "dropout_rate=0.1")
    assert (nothing.code, nothing.err) == (
        2, "error: --param dropout_rate=0.1: transfer has no search space\n",
    )  # fmt: skip
    unclear = cli("study", "queue", "dropout", "--param", "0.1")
    assert "expected key=value" in unclear.err
    named = ("study", "queue", "dropout", *TINY, "--profile", "quick")
    added = cli(*named, "--param", "dropout_rate=0.2", "--json").record
    assert (added["state"], added["params"]) == ("waiting", {"dropout_rate": 0.2})
    shown = cli(*named, "--json").record["requests"]
    assert shown == [added]
    assert cli(*named, "--cancel", "99").code == 2
    assert cli(*named, "--cancel", str(added["id"])).code == 0
    assert "Nothing is queued" in cli(*named).out
