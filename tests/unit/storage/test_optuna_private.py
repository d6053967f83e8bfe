"""The private names of Optuna and optuna-dashboard do what the package needs of them."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import select

import cifar_tune
from cifar_tune.storage import optuna_private as private

SPACE: dict[str, BaseDistribution] = {"x": FloatDistribution(0.0, 1.0)}
PACKAGE = Path(cifar_tune.__file__).parent


@pytest.fixture
def storage(tmp_path: Path) -> RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return RDBStorage(f"sqlite:///{tmp_path / 'trials.db'}")


@pytest.fixture
def study(storage: RDBStorage) -> optuna.Study:
    optuna.create_study(study_name="another", storage=storage).ask()  # ids are not numbers
    return optuna.create_study(study_name="study", storage=storage, direction="maximize")


def open_new(study: optuna.Study) -> optuna.Trial:
    template = create_trial(state=TrialState.RUNNING, user_attrs={"name": "first"})
    return private.open_trial(study, private.add_trial(study, template))


def test_ids_and_storage(study: optuna.Study, storage: RDBStorage) -> None:
    trial = study.ask()
    assert private.get_study_id(study) == storage.get_study_id_from_name("study") == 2
    assert private.get_trial_id(trial) == private.get_trial_id(study.trials[0]) == 2
    assert private.get_trial_id_of_number(study, trial.number) == 2
    name = private.get_storage(study).get_study_name_from_id(private.get_study_id(study))
    assert name == "study"


def test_the_ids_of_those_that_wait_and_no_others(study: optuna.Study) -> None:
    assert private.list_waiting(study) == []
    study.enqueue_trial({"x": 0.1})
    study.enqueue_trial({"x": 0.2})
    open_new(study)
    waiting = [private.get_trial_id(trial) for trial in study.trials[:2]]
    assert private.list_waiting(study) == waiting
    study.ask()
    assert private.list_waiting(study) == waiting[1:]


def test_a_deleted_study_leaves_no_row_and_the_others_as_they_are(
    study: optuna.Study, storage: RDBStorage
) -> None:
    """All that ``optuna.delete_study`` deletes, and no more."""
    template = create_trial(
        value=0.5,
        params={"x": 0.5},
        distributions={"x": FloatDistribution(0, 1)},
        intermediate_values={1: 0.5},
        user_attrs={"name": "first"},
        system_attrs={"artifacts:of-trial": "{}"},
    )
    study.set_user_attr("seed", 1)
    storage.set_study_system_attr(private.get_study_id(study), "artifacts:of-study", "{}")
    storage.set_study_system_attr(private.get_study_id(study), "note", "text")

    def count() -> dict[str, int]:
        with storage.engine.connect() as connection:
            tables = private.models.BaseModel.metadata.sorted_tables
            return {table.name: len(connection.execute(select(table)).all()) for table in tables}

    before = count()
    study.add_trial(template)
    assert private.count_trials(study) == 1
    assert private.list_artifact_ids(study) == ["of-study", "of-trial"]
    copy = {"to_study_name": "copy", "to_storage": storage, "from_storage": storage}
    optuna.copy_study(from_study_name="study", **copy)
    private.delete_study(storage.engine, private.get_study_id(study))
    after_ours = count()
    optuna.create_study(study_name="study", storage=storage)
    assert optuna.get_all_study_names(storage) == ["another", "copy", "study"]
    assert len(optuna.load_study(study_name="copy", storage=storage).trials) == 1
    optuna.copy_study(from_study_name="copy", **{**copy, "to_study_name": "second"})
    optuna.delete_study(study_name="second", storage=storage)
    optuna.delete_study(study_name="study", storage=storage)
    assert count() == after_ours
    assert after_ours["trials"] == before["trials"] + 1
    assert all(number for table, number in after_ours.items() if table != "trial_heartbeats")


def test_stand_in_has_the_id_where_optuna_looks_for_it(study: optuna.Study) -> None:
    frozen = optuna.get_all_study_summaries(storage=private.get_storage(study))
    stand_in: Any = private.StudyStandIn(2)
    assert stand_in.study_id == stand_in._study_id == frozen[-1]._study_id


def test_an_added_trial_runs_and_is_told(study: optuna.Study) -> None:
    trial = open_new(study)
    assert trial.user_attrs == {"name": "first"}
    assert study.trials[0].state == TrialState.RUNNING
    study.tell(trial, 0.5)
    assert study.best_trial.number == trial.number == 0


def test_an_ended_trial_without_a_start_is_added(study: optuna.Study) -> None:
    template = create_trial(state=TrialState.FAIL)
    template.datetime_start = None
    private.add_trial(study, template)
    assert study.trials[0].state == TrialState.FAIL


def test_an_opened_trial_sees_what_was_told_meanwhile(study: optuna.Study) -> None:
    open_new(study)
    assert len(study._get_trials(deepcopy=False, use_cache=True)) == 1
    open_new(study)
    assert len(study._get_trials(deepcopy=False, use_cache=True)) == 2


def test_latest_and_stored_trial(study: optuna.Study) -> None:
    trial = open_new(study)
    trial.report(0.25, step=1)
    assert private.get_latest_trial(trial).intermediate_values == {1: 0.25}
    assert private.get_stored_trial(study, trial).intermediate_values == {1: 0.25}
    assert private.get_stored_trial(study, study.trials[0]).number == trial.number


def test_a_running_trial_waits_with_all_that_it_has(study: optuna.Study) -> None:
    trial = open_new(study)
    private.suggest(trial, "x", SPACE["x"])
    trial.report(0.25, step=1)
    private.set_trial_state(study, private.get_trial_id(trial), TrialState.WAITING)
    waiting = study.trials[0]
    assert (waiting.state, waiting.number) == (TrialState.WAITING, 0)
    assert waiting.params == trial.params
    assert waiting.intermediate_values == {1: 0.25}
    private.set_trial_state(study, private.get_trial_id(trial), TrialState.FAIL)
    assert study.trials[0].state == TrialState.FAIL


def test_a_trial_that_waits_is_taken_once_at_a_time_that_optuna_would_store(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        study.enqueue_trial({"x": 0.5})
        engine, trial_id = private.get_engine(study), private.get_trial_id(study.trials[0])
        asked = [
            private.leave_waiting(engine, trial_id, TrialState.RUNNING, {"name": name})
            for name in ("first", "second")
        ]
        by_optuna = private.get_stored_trial(study, study.ask())
    finally:
        monkeypatch.undo()
        time.tzset()
    assert asked == [True, False]
    taken = study.trials[0]
    assert (taken.state, taken.user_attrs) == (TrialState.RUNNING, {"name": "first"})
    assert taken.datetime_start is not None
    assert by_optuna.datetime_start is not None
    assert abs((by_optuna.datetime_start - taken.datetime_start).total_seconds()) < 60


def test_suggest_takes_what_was_enqueued(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 0.125})
    assert study.trials[0].system_attrs[private.FIXED_PARAMS] == {"x": 0.125}
    template = create_trial(
        state=TrialState.RUNNING, system_attrs={private.FIXED_PARAMS: {"x": 0.75}}
    )
    trial = private.open_trial(study, private.add_trial(study, template))
    assert private.suggest(trial, "x", SPACE["x"]) == 0.75
    assert trial.params == {"x": 0.75}


def test_gaussian_process_draws_from_the_trials_that_it_is_given(study: optuna.Study) -> None:
    for x in (0.1, 0.2, 0.3):
        study.add_trial(create_trial(value=x, params={"x": x}, distributions=SPACE))
    draws = [
        private.sample_by_gaussian_process(
            optuna.samplers.GPSampler(seed=1), study, trials, [], SPACE
        )
        for trials in (study.trials, study.trials, study.trials[:2])
    ]
    assert 0.0 <= draws[0]["x"] <= 1.0
    assert draws[0] == draws[1] != draws[2]


def test_tables(study: optuna.Study, storage: RDBStorage) -> None:
    study.set_user_attr("profile", "quick")
    storage.set_study_system_attr(private.get_study_id(study), "key", "value")
    study.ask()
    users, systems = private.StudyUserAttributeModel, private.StudySystemAttributeModel
    with storage.engine.connect() as connection:
        assert connection.execute(
            select(private.StudyModel.study_id, private.StudyModel.study_name)
        ).all() == [(1, "another"), (2, "study")]
        assert connection.execute(
            select(private.TrialModel.study_id, private.TrialModel.state)
        ).all() == [(1, TrialState.RUNNING), (2, TrialState.RUNNING)]
        assert connection.execute(select(users.study_id, users.key, users.value_json)).all() == [
            (2, "profile", '"quick"')
        ]
        columns = systems.__table__.c
        assert connection.execute(
            select(columns.study_id, columns.key, columns.value_json).where(columns.key == "key")
        ).all() == [(2, "key", '"value"')]
        assert columns.study_system_attribute_id.primary_key


def test_artifacts_are_recorded_under_the_key_that_optuna_reads(
    study: optuna.Study, storage: RDBStorage, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("a")
    artifact_id = optuna.artifacts.upload_artifact(
        artifact_store=optuna.artifacts.FileSystemArtifactStore(tmp_path),
        file_path=str(tmp_path / "a.csv"),
        study_or_trial=(trial := study.ask()),
    )
    attributes = storage.get_trial_system_attrs(private.get_trial_id(trial))
    assert list(attributes) == [f"{private.ARTIFACT_KEY_PREFIX}{artifact_id}"]


# --- optuna-dashboard -----------------------------------------------------------------------------


def test_dashboard_serializes_a_trial_with_selected_attributes(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optuna_dashboard import _serializer

    monkeypatch.setattr(
        _serializer, "serialize_frozen_trial", lambda *arguments: arguments, raising=True
    )

    def select_own(trial: FrozenTrial, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"number": trial.number, **attributes}

    private.select_serialized_attributes(select_own)
    private.select_serialized_attributes(select_own)  # does nothing the second time
    study.ask()
    trial = study.trials[0]
    arguments = _serializer.serialize_frozen_trial(2, trial, {"key": "value"})
    assert arguments == (2, trial, {"number": 0, "key": "value"})


def test_dashboard_goes_through_finished_trials_once(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optuna_dashboard import _inmemory_cache

    original = _inmemory_cache._CachedExtraStudyProperty
    monkeypatch.setattr(_inmemory_cache, "_CachedExtraStudyProperty", original)
    private.skip_finished_trials.cache_clear()
    private.skip_finished_trials()
    gathered = _inmemory_cache._CachedExtraStudyProperty()
    looked_at: list[int] = []
    monkeypatch.setattr(
        original, "_update_user_attrs", lambda _self, trial: looked_at.append(trial.number)
    )
    for x in (0.1, 0.2, 0.3):
        study.add_trial(create_trial(value=x, params={"x": x}, distributions=SPACE))
    gathered.update(study.trials)
    assert looked_at == [2, 1, 0]
    assert [name for name, _ in gathered.union_search_space] == ["x"]
    study.add_trial(create_trial(value=0.4, params={"x": 0.4}, distributions=SPACE))
    gathered.update(study.trials)
    assert looked_at == [2, 1, 0, 3, 2]
    gathered.update(study.trials[:1])  # another study, with the old one's id
    assert looked_at == [2, 1, 0, 3, 2, 0]


def test_dashboard_logs_errors_of_requests_where_we_expect_them() -> None:
    from optuna_dashboard import _bottle_util

    assert _bottle_util.logger.name == private.DASHBOARD_REQUEST_LOGGER


# --- nowhere else ---------------------------------------------------------------------------------

OTHERS = {"cifar_tune", "os", "ray", "torch"}
"""Packages that this test does not care about."""
NOT_OPTUNAS = {"self._map", "key._asdict"}
"""The sockets of a waitress server, by its own name; a documented method of named tuples."""


def private_names(module: ast.Module) -> Iterator[str]:
    """Yield the private names that a module imports or reads and does not define itself."""
    nodes = list(ast.walk(module))
    defined = {getattr(node, "name", None) for node in nodes}
    for node in nodes:
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            paths = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            paths = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute) and node.attr not in defined:
            paths = [ast.unparse(node)]
        else:
            continue
        for path in paths:
            parts = path.split(".")
            looked_at = parts[-1:] if isinstance(node, ast.Attribute) else parts
            if parts[0] in OTHERS or path in NOT_OPTUNAS:
                continue
            if any(is_private(part) for part in looked_at):
                yield path


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def test_no_other_module_names_a_private_name() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): list(
            private_names(ast.parse(path.read_text(encoding="utf-8")))
        )
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    assert len(found.pop("storage/optuna_private.py")) > 10
    assert {name: names for name, names in found.items() if names} == {}
