"""Names of files are short enough for every file system, and tell apart what has another name."""

from __future__ import annotations

import os
from pathlib import Path

from cifar_tune import paths

STUDIES = ("dropout:quick", "dropout/quick", "猫:quick", "犬:quick", "a" * 600, "a" * 599, "..")


def test_files_named_after_studies_have_names_of_their_own() -> None:
    database = Path("storage") / "s.db"
    for place in (paths.worker_logs, paths.report_file):
        files = [place(database, name) for name in STUDIES]
        assert len(set(files)) == len(STUDIES)
        assert {len(file.parts) for file in files} == {3}
        assert all(len(os.fsencode(file.name)) < 200 for file in files)
        assert not {".", ".."} & {file.name for file in files}
    assert paths.report_file(database, "dropout") == Path("storage/reports/dropout.html")
    other = paths.worker_logs(database.with_suffix(".sqlite3"), "dropout:quick")
    assert other != paths.worker_logs(database, "dropout:quick")
