"""A hyperparameter is declared once: all that depends on it is derived from there."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from reference import hyperparameter_table

from cifar_tune.config.faults import schema_faults
from cifar_tune.config.schema import Protocol, Settings
from cifar_tune.config.space import Space
from cifar_tune.config.study_file import load_study_file, resolve
from cifar_tune.config.trial import HYPERPARAMETERS, SEARCHABLE
from cifar_tune.config.wording import format_params, long_name, short_name
from cifar_tune.errors import StudyFileError
from cifar_tune.search.samplers import distributions

RANGES: dict[str, tuple[float, float]] = {
    "learning_rate": (0.1, 1.0),
    "cosine_t_max": (1, 2),
    "batch_size": (2, 3),
    "layer_decay": (0.5, 1.0),
}


def make_space(key: str, *, log: bool = False) -> Space:
    """Return a search space of one hyperparameter, from 0 to 1 where that is allowed."""
    low, high = RANGES.get(key, (0, 1 if HYPERPARAMETERS[key].is_whole else 0.5))
    return Space.model_validate({key: {"low": low, "high": high, "log": log}})


@pytest.mark.parametrize("key", HYPERPARAMETERS)
def test_it_is_declared_in_full_and_shows_everywhere(key: str) -> None:
    declared = HYPERPARAMETERS[key]
    assert declared.help
    assert "|" not in declared.help
    assert declared.choices or declared.type in (int, float)
    assert key in Protocol.model_fields
    assert key in Settings.model_fields
    assert (key in Space.model_fields) == declared.is_searchable == (key in SEARCHABLE)
    assert f"| {declared.help} |" in hyperparameter_table()
    assert long_name(key)
    assert short_name(key) in format_params({key: 1.0})
    with pytest.raises(StudyFileError, match=f"did you mean {key}\\?"):
        resolve(load_study_file("transfer"), "quick", {f"{key}s": 1})


@pytest.mark.parametrize("key", SEARCHABLE)
def test_its_distribution_follows_from_its_declaration(key: str) -> None:
    space = make_space(key)
    kind = IntDistribution if HYPERPARAMETERS[key].is_whole else FloatDistribution
    assert isinstance(distributions(space)[key], kind)
    assert pickle.loads(pickle.dumps(space)) == copy.deepcopy(space) == space


@pytest.mark.parametrize("key", HYPERPARAMETERS)
def test_values_outside_its_limits_are_faults(key: str) -> None:
    declared = HYPERPARAMETERS[key]
    wrong: list[Any] = ["adagrad"]
    if not declared.choices:
        wrong += [limit for limit in (declared.gt, declared.lt) if limit is not None]
        wrong += [limit - 1 for limit in (declared.ge,) if limit is not None]
        wrong += [limit + 1 for limit in (declared.le,) if limit is not None]
        wrong += [0.5] if declared.is_whole else []
    for value in wrong:
        faults = schema_faults(Settings, {key: value})
        assert len(faults) == 1
        assert faults[0].startswith(f"{key} = {value!r}: expected ")
    right = declared.choices or [limit for limit in (declared.ge, declared.le) if limit is not None]
    assert not [fault for value in right for fault in schema_faults(Settings, {key: value})]


def test_what_has_no_logarithmic_scale_says_so() -> None:
    raw = {"low": 1, "high": 5, "log": True}
    for key in ("freeze_depth", "cosine_t_max"):
        faults = schema_faults(Space, {key: raw})
        assert bool(faults) != HYPERPARAMETERS[key].has_log_scale
