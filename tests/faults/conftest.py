"""What tests of faults share: a tiny named trial, and what it gives when it is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from one_trial import Quiet, write_study_file
from processes import kill_all


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """A test that fails leaves none behind."""
    yield
    kill_all()


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    """A study file; its named trial is what the tests run."""
    return write_study_file(tmp_path)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Quiet:
    """The named trial, undisturbed."""
    return Quiet(tmp_path_factory.mktemp("quiet"))
