"""The notebook of the documentation runs, and has the outputs of a run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from places import REPOSITORY

PATH = REPOSITORY / "docs" / "quickstart.ipynb"
NUMBER = r"\d+\.\d+"
"""Of which the last digits may differ from machine to machine."""


def list_outputs(notebook: Any) -> list[str]:
    """Return what each cell shows, line by line, without numbers that vary."""
    shown = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            assert output.output_type != "error", output
            if output.output_type == "stream":
                shown += output.text.splitlines()
            elif "text/html" in output.data:
                shown.append(f"table of {output.data['text/html'].count('<tr')} rows")
            else:
                shown.append(re.sub(NUMBER, "#", output.data["text/plain"]))
    return shown


def test_the_notebook_runs_and_shows_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    stored = nbformat.read(PATH, as_version=4)
    assert sum(line.startswith("table") for line in list_outputs(stored)) == 4
    again = nbformat.read(PATH, as_version=4)
    nbclient.NotebookClient(
        again, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert list_outputs(again) == list_outputs(stored)
    assert (tmp_path / "quickstart.html").is_file()
