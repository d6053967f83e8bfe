"""A study goes to another machine as one file, and comes back from it as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Answer, Cli

from cifar_tune.records import digest_of

RUN = ("dropout", "--profile", "quick", "--epochs", "2", *TINY)
FILE = "dropout.json"


@pytest.fixture
def exported(cli: Cli) -> dict[str, Any]:
    """A study with named, pruned and complete trials and a test read, exported."""
    assert cli("study", "run", *RUN, "--trials", "3").code == 0
    assert cli("trial", "test", "dropout", "dropout/p=0.1/seed=1", "--epochs", "2", *TINY).code == 0
    answer = cli("study", "export", "dropout", "--epochs", "2", *TINY, "--out", FILE)
    assert answer.code == 0, answer.err
    assert "7 trials" in answer.out
    content: dict[str, Any] = json.loads(Path(FILE).read_text(encoding="utf-8"))
    return content


def test_what_is_imported_is_what_was_exported(cli: Cli, exported: dict[str, Any]) -> None:
    answer = cli("study", "import", FILE, "--storage", "other/studies.db", "--json")
    assert answer.code == 0, answer.err
    ((name, trials),) = answer.record["trials"].items()
    assert (trials, answer.record["test_reads"]) == (7, 1)
    assert name == exported["studies"][0]["study_name"]

    options = ("--epochs", "2", *TINY, "--storage", "other/studies.db")
    again = cli("study", "export", "dropout", *options, "--out", "again.json")
    assert again.code == 0, again.err
    assert Path("again.json").read_bytes() == Path(FILE).read_bytes()
    trial = ("dropout", "dropout/p=0.2/seed=1", "--epochs", "2", *TINY, "--json")
    here, there = (
        cli("trial", "show", *trial, "--storage", storage).record
        for storage in ("storage/cifar-tune.db", "other/studies.db")
    )
    assert {key for key in here if here[key] != there[key]} <= {"storage", "weights_file"}
    reads = [cli("test-reads", "--storage", one, "--json").record for one in
             ("storage/cifar-tune.db", "other/studies.db")]  # fmt: skip
    assert reads[0]["test_reads"] == reads[1]["test_reads"]
    page = cli("report", "dropout", *options, "--out", "page.html")
    assert page.code == 0, page.err


def test_importing_twice_changes_nothing(cli: Cli, exported: dict[str, Any]) -> None:
    assert len(exported["studies"]) == 1
    assert cli("study", "import", FILE, "--storage", "other.db").code == 0
    again = cli("study", "import", FILE, "--storage", "other.db", "--json").record
    assert (list(again["trials"].values()), again["test_reads"]) == ([0], 0)
    home = cli("study", "import", FILE, "--json").record
    assert (list(home["trials"].values()), home["test_reads"]) == ([0], 0)


def test_an_import_that_was_cut_off_is_completed(cli: Cli, exported: dict[str, Any]) -> None:
    exported["studies"][0]["trials"] = exported["studies"][0]["trials"][:4]
    write_signed(exported, "part.json")
    assert cli("study", "import", "part.json", "--storage", "other.db").code == 0
    rest = cli("study", "import", FILE, "--storage", "other.db", "--json").record
    assert list(rest["trials"].values()) == [3]


def test_an_imported_study_goes_on(cli: Cli, exported: dict[str, Any]) -> None:
    assert exported["studies"][0]["trials"][0]["attributes"]["name"] == "dropout/p=0.1/seed=1"
    assert cli("study", "import", FILE, "--storage", "other.db").code == 0
    answer = cli("study", "run", *RUN, "--trials", "1", "--storage", "other.db", "--json")
    assert answer.code == 0, answer.err
    assert len(answer.record["trials"]) == 8


def write_signed(content: dict[str, Any], path: str) -> None:
    content = {key: value for key, value in content.items() if key != "sha256"}
    text = json.dumps({**content, "sha256": digest_of(content)})
    Path(path).write_text(text, encoding="utf-8")


def refused(answer: Answer) -> str:
    assert answer.code == 2
    assert "Traceback" not in answer.err
    assert not Path("new.db").exists()
    return answer.err


def test_what_is_not_imported(cli: Cli, exported: dict[str, Any]) -> None:
    into = ("--storage", "new.db")
    text = Path(FILE).read_text(encoding="utf-8")
    Path("altered.json").write_text(text.replace('"complete"', '"pruned"', 1), encoding="utf-8")
    assert "altered.json: was altered" in refused(cli("study", "import", "altered.json", *into))
    Path("text.json").write_text("no JSON", encoding="utf-8")
    assert "text.json: is not JSON" in refused(cli("study", "import", "text.json", *into))
    Path("other.json").write_text('{"a": 1}', encoding="utf-8")
    assert "is no export of a study" in refused(cli("study", "import", "other.json", *into))
    write_signed({**exported, "format": 99}, "newer.json")
    assert "format 99 is of a newer" in refused(cli("study", "import", "newer.json", *into))
    assert "cannot be read" in refused(cli("study", "import", "none.json", *into))

    exported["studies"][0]["trials"][2]["value"] = 0.99
    write_signed(exported, "others.json")
    assert "with another content: trial 2" in refused(cli("study", "import", "others.json"))


def test_what_is_not_exported(cli: Cli) -> None:
    answer = cli("study", "export", "dropout", "--out", FILE)
    assert answer.code == 2
    assert "is not stored" in answer.err
    assert not Path(FILE).exists()
