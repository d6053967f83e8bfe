"""Values that a person gives searched hyperparameters."""

from __future__ import annotations

import pytest

from cifar_tune.config.params import MOST_SEED, check_params, read_params, read_seed
from cifar_tune.config.study_file import StudySpec, load_study_file, resolve


@pytest.fixture
def joint() -> StudySpec:
    """A study that searches a whole number too."""
    return resolve(load_study_file("joint"), "quick")


def test_a_whole_number_stays_one(joint: StudySpec) -> None:
    values, faults = check_params(joint, {"freeze_depth": 2.0})
    assert (repr(values), faults) == ("{'freeze_depth': 2}", {})
    assert read_params(joint, {"freeze_depth": "2"}) == (values, {})


@pytest.mark.parametrize("text", ["1.5", "6", "nan", "inf", "1e400", "two", "", "9" * 5000])
def test_what_is_no_such_number_is_said(joint: StudySpec, text: str) -> None:
    assert read_params(joint, {"freeze_depth": text}) == (
        {}, {"freeze_depth": "expected a whole number from 0 to 5"},
    )  # fmt: skip


@pytest.mark.parametrize("text", ["-1", "1.0", "x", "٣", str(MOST_SEED + 1), "9" * 5000])
def test_what_is_no_seed_is_said(text: str) -> None:
    assert read_seed(text)[0] is None
    assert "expected a whole number from 0 on" in read_seed(text)[1]


def test_seeds() -> None:
    assert read_seed("") == (None, "")
    assert read_seed("0") == (0, "")
    assert read_seed(str(MOST_SEED)) == (MOST_SEED, "")
