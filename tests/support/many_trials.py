"""A study of thousands of finished trials with notes, artifacts and figures, written at once.

As a script: times the dashboard on one, ``python tests/support/many_trials.py --trials 5000``.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from dashboard_client import ask_app
from optuna.distributions import FloatDistribution, distribution_to_json
from optuna.storages import RDBStorage, get_storage
from optuna.storages._rdb import models
from optuna.trial import TrialState
from optuna_dashboard import wsgi
from sqlalchemy import insert

from cifar_tune.config.study_file import StudySpec, load_study_file, resolve
from cifar_tune.dashboard.app import make_app
from cifar_tune.storage import studies
from cifar_tune.storage.location import locate_storage

EPOCHS = 10
CHUNK = 2045
"""Characters of a system attribute, as optuna-dashboard cuts notes and figures."""
NOTE = "**dropout/p=0.3/seed=2** on CPU, 20.1 s. " * 22
FIGURE = json.dumps({"data": [{"x": list(range(5000)), "y": list(range(5000))}], "layout": {}})
FIGURES = 4
REFRESHES = 9
FILES = ("curves.png", "confusion.png", "epochs.csv")
RANGES = {
    "dropout_rate": FloatDistribution(0.0, 0.6),
    "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    "augmentation_strength": FloatDistribution(0.0, 2.0),
}
BEGAN = datetime(2025, 1, 1)


def make_study(database: Path, trials: int, *, is_running: bool = False) -> RDBStorage:
    """Write the study ``many`` and open it.

    Args:
        is_running: one trial more, which has reported its first epoch.
    """
    opened = studies.open_to_write(locate_storage(str(database)))
    study = studies.create_study(opened, "many")
    study_id, ids = study._study_id, range(1, trials + is_running + 1)
    with opened.engine.begin() as connection:

        def write(model: Any, rows: Iterable[dict[str, Any]]) -> None:
            connection.execute(insert(model.__table__), list(rows))

        write(models.TrialModel, (_trial(study_id, one, one <= trials) for one in ids))
        write(models.TrialParamModel, (row for one in ids for row in _params(one)))
        write(models.TrialValueModel, (_value(one) for one in ids[:trials]))
        write(models.TrialIntermediateValueModel, _reports(ids, trials))
        write(models.TrialUserAttributeModel, (row for one in ids for row in _attributes(one)))
        write(models.TrialSystemAttributeModel, (row for one in ids for row in _artifacts(one)))
        write(models.StudySystemAttributeModel, _study_attributes(study_id, ids))
    return opened


def _trial(study_id: int, trial_id: int, is_finished: bool) -> dict[str, Any]:
    began = BEGAN + timedelta(minutes=trial_id)
    return {
        "trial_id": trial_id,
        "number": trial_id - 1,
        "study_id": study_id,
        "state": TrialState.COMPLETE if is_finished else TrialState.RUNNING,
        "datetime_start": began,
        "datetime_complete": began + timedelta(seconds=20) if is_finished else None,
    }


def _share(trial_id: int) -> float:
    return (trial_id * 7919 % 10007) / 10007


def _params(trial_id: int) -> Iterator[dict[str, Any]]:
    for name, values in RANGES.items():
        yield {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": values.low + (values.high - values.low) * _share(trial_id),
            "distribution_json": distribution_to_json(values),
        }


def _value(trial_id: int) -> dict[str, Any]:
    kind = models.TrialValueModel.TrialValueType.FINITE
    value = 0.5 - 0.3 * abs(_share(trial_id) - 0.5)
    return {"trial_id": trial_id, "objective": 0, "value": value, "value_type": kind}


def _reports(ids: range, finished: int) -> Iterator[dict[str, Any]]:
    kind = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
    for trial_id in ids:
        for step in range(1, EPOCHS + 1 if trial_id <= finished else 2):
            yield {
                "trial_id": trial_id,
                "step": step,
                "intermediate_value": 0.5 * (1 - 0.5**step),
                "intermediate_value_type": kind,
            }


@functools.cache
def _spec() -> StudySpec:
    return resolve(load_study_file("dropout"), "quick")


def _attributes(trial_id: int) -> Iterator[dict[str, Any]]:
    epoch = {"epoch": 1, "train_loss": 1.9, "train_accuracy": 0.3, "val_loss": 1.8}
    software = {f"package{index}": "1.0" for index in range(8)}
    params = {"dropout_rate": 0.1, "learning_rate": 0.001, "augmentation_strength": 1.0}
    spec = _spec()
    values = {
        "name": f"sampled/one/seed={trial_id}",
        "seed": trial_id,
        "config": spec.config(params, trial_id).as_stored(),
        "facts": {"data_digests": {}, "device": "CPU", "software": software},
        "history": [{**epoch, "val_accuracy": 0.4, "seconds": 2.0}] * EPOCHS,
    }
    for key, value in values.items():
        yield {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}


def _artifacts(trial_id: int) -> Iterator[dict[str, Any]]:
    for name in FILES:
        artifact_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{trial_id}/{name}"))
        mimetype = "image/png" if name.endswith("png") else "text/csv"
        record = {"artifact_id": artifact_id, "filename": name}
        record |= {"mimetype": mimetype, "encoding": None}  # type: ignore[dict-item]
        value = json.dumps(json.dumps(record))
        yield {"trial_id": trial_id, "key": f"artifacts:{artifact_id}", "value_json": value}


def _study_attributes(study_id: int, ids: range) -> Iterator[dict[str, Any]]:
    values: dict[str, object] = {}
    for trial_id in ids:
        values[f"dashboard:{trial_id}:note_ver"] = 1
        values[f"dashboard:{trial_id}:note_str:0"] = f"{NOTE}{trial_id}"
    for figure in range(FIGURES):
        for index, start in enumerate(range(0, len(FIGURE), CHUNK)):
            key = f"dashboard:plot_data:figure-{figure}:{index}"
            values[key] = FIGURE[start : start + CHUNK]
    for key, value in values.items():
        yield {"study_id": study_id, "key": key, "value_json": json.dumps(value)}


def main() -> None:
    """Time the requests of a study's page, of our dashboard or the plain one."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--plain", action="store_true", help="optuna-dashboard as it is by itself")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        opened = make_study(Path(folder) / "many.db", given.trials, is_running=True)
        app = wsgi(get_storage(opened)) if given.plain else make_app(opened, [Path(folder)])
        first = _seconds(app, "")
        after = [_seconds(app, f"after={given.trials}") for _ in range(REFRESHES)]
    print(  # noqa: T201
        f"{'plain optuna-dashboard' if given.plain else 'cifar-tune dashboard'}, {given.trials} "
        f"trials: first load {first:.2f} s; refresh, one trial running, of {REFRESHES}: median "
        f"{median(after):.3f} s ({min(after):.3f} to {max(after):.3f})"
    )


def _seconds(app: Any, query: str) -> float:
    began = time.perf_counter()
    ask_app(app, "api/studies/1", query)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
