"""``--set key=value`` and study files as foreign content: a value, or an error in plain words."""

from __future__ import annotations

import contextlib
import math
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cifar_tune.config.cross_faults import cross_faults
from cifar_tune.config.faults import schema_faults
from cifar_tune.config.params import read_params
from cifar_tune.config.schema import Protocol, StudyFile
from cifar_tune.config.study_file import (
    LoadedStudyFile,
    load_study_file,
    parse_override,
    resolve,
)
from cifar_tune.errors import StudyFileError

quickly = settings(max_examples=40, deadline=None, database=None, derandomize=True)
KEYS = st.sampled_from([*Protocol.model_fields, "epoch", "momentums"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@cache
def dropout() -> LoadedStudyFile:
    return load_study_file("dropout")


@quickly
@given(key=KEYS, value=st.integers(-(2**63), 2**63 - 1) | st.booleans())  # TOML's integers
def test_toml_values_are_read_as_such(key: str, value: Any) -> None:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    assert parse_override(f"{key}={text}") == (key, value)
    assert parse_override(f" {key} = {text} ") == (key, value)


@quickly
@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_to_the_last_bit(value: float) -> None:
    assert parse_override(f"learning_rate={value!r}") == ("learning_rate", value)


@quickly
@given(st.text() | st.from_regex(r"[a-z]+=[\[{\"'0-9a-z,=}\]]*", fullmatch=True))
def test_any_text_is_a_key_with_a_value_or_a_fault(text: str) -> None:
    try:
        key, value = parse_override(text)
    except StudyFileError:
        return
    assert text.strip().startswith(key)
    assert key == key.strip() != ""
    if isinstance(value, str) and value != text.partition("=")[2]:
        assert text.partition("=")[2].strip()[0] in "\"'"


def test_what_is_too_deep_or_too_long_is_text() -> None:
    for value in ("[" * 100_000, "9" * 100_000):
        assert parse_override(f"epochs={value}") == ("epochs", value)


@quickly
@given(overrides=st.dictionaries(KEYS, VALUES, max_size=3))
def test_overrides_give_a_study_or_a_fault(overrides: dict[str, Any]) -> None:
    try:
        spec = resolve(dropout(), "quick", overrides)
    except StudyFileError:
        return
    assert spec.overrides.keys() <= overrides.keys()
    assert spec.named_config(spec.named[0], seed=0).digest


@quickly
@given(
    part=st.sampled_from(["title", "space", "named", "published", "claims", "profiles", "other"]),
    value=VALUES,
)
def test_a_part_of_a_file_may_be_anything(part: str, value: Any) -> None:
    raw = {**dropout().raw, part: value}
    faults = [*schema_faults(StudyFile, raw), *cross_faults(raw)]
    assert faults or StudyFile.model_validate(raw)


@quickly
@given(texts=st.dictionaries(st.sampled_from(["dropout_rate", "learning_rate", "x"]), st.text()))
def test_values_asked_for_are_in_range_or_have_a_fault(texts: dict[str, str]) -> None:
    spec = resolve(dropout(), "quick")
    values, faults = read_params(spec, texts)
    assert {*values, *faults} == set(texts)
    assert not values.keys() & faults.keys()
    ranges = spec.space.ranges()
    assert all(
        math.isfinite(value) and ranges[key].contains(value) for key, value in values.items()
    )


@settings(quickly, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_file_is_read_or_has_faults(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.toml"
    path.write_bytes(content)
    with contextlib.suppress(StudyFileError):
        load_study_file(str(path))
