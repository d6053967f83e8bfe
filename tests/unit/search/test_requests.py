"""Trials that Optuna itself enqueues are trained or refused on record; what other programs do to a
study counts nowhere."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from scripted import EPOCHS, Notes, Run, ScriptedPool, scripted_workers, train
from sqlalchemy import text

from cifar_tune.config.schema import TPE
from cifar_tune.config.seeds import derive_seed
from cifar_tune.config.study_file import StudySpec
from cifar_tune.data.search_data import SearchData
from cifar_tune.search.runner import Runner, RunOptions
from cifar_tune.storage import studies as stored
from cifar_tune.storage.location import locate_storage
from cifar_tune.storage.queue import TrialQueue
from cifar_tune.storage.study_requests import StudyRequests
from cifar_tune.workers.protocol import Event, Task

URL = "sqlite:///s.db"
ASKED = {"dropout_rate": 0.25, "learning_rate": 0.002, "augmentation_strength": 0.5}


def go(task: Task, _: int) -> Iterator[Event]:
    return train(task)


@pytest.fixture
def study(run: Run, spec: StudySpec) -> optuna.Study:
    """The study as another program opens it, after a run of its four named trials."""
    run(ScriptedPool(1, go))
    return optuna.load_study(study_name=spec.study_name, storage=URL)


def last(study: optuna.Study) -> FrozenTrial:
    return study.get_trials()[-1]


def test_what_optuna_enqueues_in_range_is_trained_like_any_queued_trial(
    run: Run, study: optuna.Study
) -> None:
    study.enqueue_trial(ASKED, user_attrs={"why": "it looked good", "seed": 5})
    study.enqueue_trial({"dropout_rate": 0.1})
    outcome = run(ScriptedPool(1, go))
    assert (outcome.trials_run, outcome.failed) == (2, False)
    whole, part = study.get_trials()[4:]
    assert (whole.params, whole.user_attrs["config"]["seed"]) == (ASKED, 5)
    assert whole.user_attrs["why"] == "it looked good"
    assert (part.params["dropout_rate"], part.params.keys()) == (0.1, ASKED.keys())
    assert part.state == TrialState.COMPLETE
    asker = part.user_attrs["queued"]
    assert (asker["by"], asker["trial"]) == ("Optuna API", part.number)
    assert [trial.queued for trial in outcome.trials[4:]] == [True, True]
    assert run(ScriptedPool(1, go)).trials_run == 0


def test_a_request_has_the_same_seeds_and_draws_whenever_it_is_made(
    run: Run, study: optuna.Study, spec: StudySpec
) -> None:
    for _ in range(2):
        study.enqueue_trial({"dropout_rate": 0.1})
    run(ScriptedPool(1, go), more_trials=1)
    before = study.get_trials()[4:6]
    optuna.delete_study(study_name=spec.study_name, storage=URL)

    run(ScriptedPool(1, go), more_trials=1)
    study = optuna.load_study(study_name=spec.study_name, storage=URL)
    study.add_trial(create_trial(value=0.99))
    study.enqueue_trial({"dropout_rate": 0.1})
    run(ScriptedPool(1, go), more_trials=1)
    study.enqueue_trial({"dropout_rate": 0.1})
    run(ScriptedPool(1, go))
    after = [trial for trial in study.get_trials() if "queued" in trial.user_attrs]
    for one, other in zip(before, after, strict=True):
        assert (one.params, one.user_attrs["seed"]) == (other.params, other.user_attrs["seed"])
    assert before[0].params != before[1].params


@pytest.mark.parametrize(
    ("params", "attributes", "message"),
    [
        ({"dropout_rate": 5.0}, {}, "dropout_rate = 5.0: expected a number from 0 to 0.6"),
        ({"dropout_rate": math.nan}, {}, "dropout_rate = nan: expected a number from 0 to 0.6"),
        ({"dropout_rate": "0.1"}, {}, "dropout_rate = '0.1': expected a number from 0 to 0.6"),
        ({"dropout_rate": True}, {}, "dropout_rate = True: expected a number"),
        ({"dropout_rate": 10**400}, {}, "expected a number from 0 to 0.6"),
        ({"dropuot_rate": 0.1}, {}, "did you mean dropout_rate?"),
        ({"weight_decay": 0.1}, {}, "weight_decay = 0.1: is not searched by dropout"),
        ({"\x1b[2J": 0.1}, {}, "'\\x1b[2J' = 0.1: is not searched by dropout"),
        ({}, {"seed": "many"}, "seed = 'many': expected a whole number from 0"),
        ({}, {"seed": 2**63}, "expected a whole number from 0"),
        ({}, {"config": {"seed": 1}}, "user attribute config: only a run stores it"),
        ({}, {"name": "dropout/p=0.1/seed=1"}, "user attribute name: only a run stores it"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_on_record(
    run: Run, study: optuna.Study, params: dict[str, Any], attributes: dict[str, Any], message: str
) -> None:
    study.enqueue_trial({"dropout_rate": 0.2} | params, user_attrs=attributes)
    study.enqueue_trial(ASKED)
    notes = Notes()
    outcome = run(ScriptedPool(1, go), notes=notes, more_trials=1)
    refused, trained = study.get_trials()[4:6]
    assert (refused.state, refused.user_attrs["failure"]["kind"]) == (TrialState.FAIL, "refused")
    assert message in refused.user_attrs["failure"]["message"]
    assert notes.noted_texts == [
        f"trial 4 (queued) is refused: {refused.user_attrs['failure']['message']}"
    ]
    assert trained.params == ASKED
    # It counts nowhere, and is not tried again.
    assert (outcome.trials_run, outcome.errors, outcome.failed) == (2, 0, False)
    assert outcome.trials[4].outcome == "refused"
    assert run(ScriptedPool(1, go)).trials_run == 0


def test_a_trial_that_was_stored_with_values_is_refused(run: Run, study: optuna.Study) -> None:
    distributions = {"dropout_rate": FloatDistribution(0, 1)}
    waiting = create_trial(
        state=TrialState.WAITING, params={"dropout_rate": 0.9}, distributions=distributions
    )
    study.add_trial(waiting)
    assert run(ScriptedPool(1, go)).trials_run == 0
    assert "expected a trial of Study.enqueue_trial" in last(study).user_attrs["failure"]["message"]


def test_what_is_enqueued_while_a_run_goes_on_is_taken_up_or_refused_by_it(
    run: Run, study: optuna.Study
) -> None:
    def script(task: Task, _: int) -> Iterator[Event]:
        if task.number == 4:
            study.enqueue_trial(ASKED)
            study.enqueue_trial({"dropout_rate": 5})
        yield from train(task)

    study.enqueue_trial({})
    outcome = run(ScriptedPool(1, script))
    assert [trial.outcome for trial in outcome.trials[4:]] == ["complete", "complete", "refused"]


def test_what_another_program_has_done_counts_nowhere(run: Run, study: optuna.Study) -> None:
    values = {"dropout_rate": FloatDistribution(0, 0.6), "x": FloatDistribution(0, 1)}
    study.add_trial(
        create_trial(value=0.99, params={"dropout_rate": 0.2, "x": 1}, distributions=values)
    )
    pruned = study.ask()
    pruned.report(0.99, 1)
    study.tell(pruned, state=TrialState.PRUNED)
    study.tell(study.ask(), state=TrialState.FAIL)
    running = study.ask()
    outcome = run(ScriptedPool(1, go), more_trials=1)
    assert outcome.trials_run == 1
    assert [trial.state for trial in outcome.trials[4:]] == [*["foreign"] * 4, "complete"]
    assert outcome.best is not None
    assert outcome.best.val_accuracy == 0.5
    study.tell(running, 0.7)  # it was left alone
    assert run(ScriptedPool(1, go)).trials_run == 0
    # A study's number of trials is filled up with its own.
    assert not outcome.failed


def test_a_trial_that_was_enqueued_and_then_left_running_is_trained(
    run: Run, study: optuna.Study
) -> None:
    study.enqueue_trial({"dropout_rate": 0.25})
    study.enqueue_trial({"dropout_rate": 5.0, "learning_rate": "fast"})
    study.ask()
    outcome = run(ScriptedPool(1, go))
    assert [trial.outcome for trial in outcome.trials[4:]] == ["complete", "refused"]
    assert outcome.trials[4].params["dropout_rate"] == 0.25


def test_the_search_learns_nothing_from_other_programs(
    spec: StudySpec, bundled: SearchData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tpe = TPE(name="tpe", startup_trials=1, multivariate=True)
    searching = replace(spec.with_profile(sampler=tpe), named=())
    space = {
        "dropout_rate": FloatDistribution(0, 0.6),
        "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        "augmentation_strength": FloatDistribution(0, 2),
    }
    drawn = []
    for database in ("a.db", "b.db"):
        for more_trials in (4, 3):
            workers = scripted_workers(ScriptedPool(1, go), bundled, tmp_path)
            options = RunOptions(more_trials)
            Runner(searching, locate_storage(database), workers, Notes(), options).run()  # type: ignore[arg-type]
            study = optuna.load_study(
                study_name=spec.study_name, storage=f"sqlite:///{tmp_path / database}"
            )
            if database == "b.db":
                for _ in range(5):
                    study.add_trial(create_trial(value=0.99, params=ASKED, distributions=space))
        drawn.append([trial.params for trial in study.trials if "config" in trial.user_attrs])
    assert drawn[0] == drawn[1]


@pytest.mark.usefixtures("run")
def test_a_study_is_created_with_its_first_request(spec: StudySpec) -> None:
    storage = stored.open_to_write(locate_storage("s.db"))
    TrialQueue(storage).ask_for_trial(spec, "dropout", ASKED, None, "a test")
    (counts,) = stored.count_trials(storage)
    assert (counts.study_name, counts.profile, counts.overrides) == (
        spec.study_name, "quick", {"epochs": EPOCHS},
    )  # fmt: skip
    location = locate_storage("s.db")
    assert stored.read_precision(location, spec.study_name) is None
    assert [study.trials for study in stored.read_studies(location, "dropout")] == [()]


def test_the_first_run_completes_the_definition(run: Run, spec: StudySpec) -> None:
    storage = stored.open_to_write(locate_storage("s.db"))
    TrialQueue(storage).ask_for_trial(spec, "dropout", ASKED, None, "a test")
    assert run(ScriptedPool(1, go), only_queued=True).trials_run == 1
    study = optuna.load_study(study_name=spec.study_name, storage=URL)
    assert study.user_attrs["claims"].keys() == {claim.name for claim in spec.claims}
    assert study.user_attrs["precision"] == "fp32"
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE


def ask_as_before(
    storage: optuna.storages.RDBStorage, spec: StudySpec, params: object, state: str = "waiting"
) -> None:
    """Ask for a trial as it was done before requests were trials."""
    StudyRequests(storage.engine).add(
        spec.study_name, "dropout", "quick", dict(spec.overrides), "a test"
    )
    request = {
        "study": "dropout",
        "profile": "quick",
        "overrides": dict(spec.overrides),
        "params": params,
        "seed": None,
        "by": "command line",
    }
    with storage.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE cifar_tune_queue SET request = :request, state = :state "
                "WHERE id = (SELECT max(id) FROM cifar_tune_queue)"
            ),
            {"request": json.dumps(request), "state": state},
        )


def test_requests_of_an_earlier_version_are_carried_out_once(run: Run, spec: StudySpec) -> None:
    storage = stored.open_to_write(locate_storage("s.db"))
    ask_as_before(storage, spec, {"dropout_rate": 0.1})
    ask_as_before(storage, spec, {"dropout_rate": math.nan})
    ask_as_before(storage, spec, {"dropout_rate": 0.2}, "cancelled")
    ask_as_before(storage, spec, {"dropout_rate": 0.3}, "begun")  # a run died as it took it
    ask_as_before(storage, spec, "nonsense")
    queue = TrialQueue(storage)
    assert [(one.id, one.state) for one in queue.list_requests()] == [
        (1, "waiting"), (2, "waiting"), (4, "begun"),
    ]  # fmt: skip
    outcome = run(ScriptedPool(1, go), only_queued=True)
    assert [trial.outcome for trial in outcome.trials] == ["complete", "refused", "complete"]
    assert [trial.params.get("dropout_rate") for trial in outcome.trials] == [0.1, None, 0.3]
    assert run(ScriptedPool(1, go), only_queued=True).trials_run == 0
    assert queue.list_requests() == []
    study = optuna.load_study(study_name=spec.study_name, storage=URL)
    # Their seeds follow from the numbers that they had; those of later ones from later numbers.
    study.enqueue_trial({})
    run(ScriptedPool(1, go), only_queued=True)
    seeds = [trial.user_attrs.get("seed") for trial in study.trials]
    assert seeds == [
        derive_seed(0, "queued", "trial", 1), None, derive_seed(0, "queued", "trial", 4),
        derive_seed(0, "queued", "trial", 5),
    ]  # fmt: skip
