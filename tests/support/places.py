"""Where the tests find the files of the checkout."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
STUDY_FILES = REPOSITORY / "studies"
TESTS = REPOSITORY / "tests"
TEST_DATA = TESTS / "data"
GOLDEN = TESTS / "golden"


def write_changed_study(folder: Path, lines: str) -> str:
    """Write the dropout study with these lines in its quick profile; return the file's name."""
    text = (STUDY_FILES / "dropout.toml").read_text(encoding="utf-8")
    marker = "[profiles.quick.sampler]"
    (folder / "mine.toml").write_text(text.replace(marker, f"{lines}\n\n{marker}", 1))
    return "mine.toml"
