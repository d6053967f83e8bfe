"""Where the tests find the files of the checkout."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
STUDY_FILES = REPOSITORY / "studies"
TEST_DATA = REPOSITORY / "tests" / "data"
GOLDEN = REPOSITORY / "tests" / "golden"
