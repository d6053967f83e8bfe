"""``--timeout``: a duration that is above zero and has an end, or an error in plain words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar_tune.errors import InputError
from cifar_tune.search.budget import parse_duration

quickly = settings(max_examples=60, deadline=None, database=None, derandomize=True)
COUNTS = st.integers(0, 10_000)


@quickly
@given(days=COUNTS, hours=COUNTS, minutes=COUNTS, seconds=st.integers(1, 10_000))
def test_parts_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    total = 86_400 * days + 3600 * hours + 60 * minutes + seconds
    assert parse_duration(f"{days}d{hours}h{minutes}min{seconds}s") == total
    assert parse_duration(f"{days} d {hours} h {minutes}m {seconds} s") == total
    assert parse_duration(str(total)) == total


@quickly
@given(
    st.text(max_size=20)
    | st.from_regex(r"[0-9. ]{0,400}(d|h|min|m|s| )?[0-9.]{0,3}[dhms]?", fullmatch=True)
)
def test_any_text_is_a_duration_or_a_fault(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except InputError:
        return
    assert 0 < seconds < math.inf


@pytest.mark.parametrize(
    "text", ["", "0", "0h", "-1h", "1h 5", "h", "1e3", "inf", "nan", "9" * 400]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InputError, match="--timeout"):
        parse_duration(text)
