"""A study goes to another machine as one file, and comes back from it as it was."""

from __future__ import annotations

import json
import re
import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from command_line import TINY, Answer, Cli
from made_up import MadeUp

from cifar_tune.config.trial import digest_of
from cifar_tune.evaluation.export import study as study_export
from cifar_tune.storage import optuna_private as private
from cifar_tune.storage.location import locate_storage

FILE = "dropout.json"
HERE = "storage/cifar-tune.db"
TRIALS = 7
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def exported(cli: Cli) -> dict[str, Any]:
    """A study with named trials that were read on the test images, and sampled and pruned ones."""
    made = MadeUp(Path(HERE).absolute(), "dropout", "quick")
    made.add_named()
    made.add_sampled(3)
    answer = cli("study", "export", "dropout", "--out", FILE)
    assert answer.code == 0, answer.err
    assert f"dropout:quick with {TRIALS} trials; 4 reads of the test images" in answer.out
    content: dict[str, Any] = json.loads(Path(FILE).read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def export_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of such an export, made once."""
    database = tmp_path_factory.mktemp("made") / "s.db"
    file = database.with_name(FILE)
    made = MadeUp(database, "dropout", "quick")
    made.add_named()
    made.add_sampled(3)
    study_export.export_study(locate_storage(str(database)), made.spec, file)
    return file.read_text(encoding="utf-8")


@pytest.mark.usefixtures("exported")
def test_what_is_imported_is_what_was_exported(cli: Cli) -> None:
    with warnings.catch_warnings(action="error"):
        answer = cli("study", "import", FILE, "--storage", "other/studies.db", "--json")
    assert answer.code == 0, answer.err
    assert answer.record["trials"] == {"dropout:quick": TRIALS}
    assert answer.record["test_reads"] == 4

    there = ("--storage", "other/studies.db")
    again = cli("study", "export", "dropout", *there, "--out", "again.json")
    assert again.code == 0, again.err
    assert Path("again.json").read_bytes() == Path(FILE).read_bytes()
    for command in (("test-reads",), ("study", "show", "dropout"), ("best", "show", "dropout")):
        mine, theirs = (cli(*command, *where, "--json").record for where in ((), there))
        assert {key for key in mine if mine[key] != theirs[key]} <= {"storage"}, command
    here, imported = (cli("report", "dropout", *where, "--json").record for where in ((), there))
    # Logits and pictures stay where they are; all else of a report is there.
    assert here["confusion"].pop("most_wrong") != imported["confusion"].pop("most_wrong")
    assert [key for key in here if here[key] != imported[key]] == []
    assert {one["measured"]["test_accuracy"]["basis"] for one in imported["models"]} == {"images"}
    page = cli("report", "dropout", *there, "--out", "page.html")
    assert page.code == 0, page.err


@pytest.mark.usefixtures("exported")
def test_importing_twice_changes_nothing(cli: Cli) -> None:
    assert cli("study", "import", FILE, "--storage", "other.db").code == 0
    for where in (("--storage", "other.db"), ()):
        again = cli("study", "import", FILE, *where, "--json").record
        assert (again["trials"], again["test_reads"]) == ({"dropout:quick": 0}, 0)


def test_an_import_that_was_cut_off_is_completed(cli: Cli, exported: dict[str, Any]) -> None:
    exported["studies"][0]["trials"] = exported["studies"][0]["trials"][:4]
    exported["test_reads"] = exported["test_reads"][:1]
    exported["answers"]["trials"] = exported["answers"]["trials"][:2]  # of the first trial
    write_signed(exported, "part.json")
    assert cli("study", "import", "part.json", "--storage", "other.db").code == 0
    rest = cli("study", "import", FILE, "--storage", "other.db", "--json").record
    assert (rest["trials"], rest["test_reads"]) == ({"dropout:quick": TRIALS - 4}, 3)


@pytest.mark.usefixtures("exported")
def test_several_files_at_once(cli: Cli) -> None:
    made = MadeUp(Path(HERE).absolute(), "final", "quick")
    made.add_named()
    assert cli("study", "export", "final", "--out", "final.json").code == 0
    into = ("--storage", "new.db")
    told = refused(cli("study", "import", FILE, "none.json", "final.json", *into))
    assert "none.json: cannot be read" in told
    both = cli("study", "import", FILE, "final.json", *into, "--json").record
    assert both["trials"] == {"dropout:quick": TRIALS, "final:quick": 3}
    assert both["test_reads"] == 7


def test_an_imported_study_goes_on(cli: Cli) -> None:
    run = ("study", "run", "dropout", "--epochs", "1", *TINY)
    assert cli(*run, "--only", "dropout/p=0.1").code == 0
    assert cli("study", "export", "dropout", "--epochs", "1", *TINY, "--out", FILE).code == 0
    assert cli("study", "import", FILE, "--storage", "other.db").code == 0
    answer = cli(*run, "--only", "dropout/p=0.1", "--seeds", "2", "--storage", "other.db", "--json")
    assert answer.code == 0, answer.err
    names = [trial["name"] for trial in answer.record["trials"]]
    assert names == ["dropout/p=0.1/seed=1", "dropout/p=0.1/seed=2"]


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
    write_signed({"format": 1, "cifar_tune": "0"}, "empty.json")
    assert "is no export of a study" in refused(cli("study", "import", "empty.json", *into))
    write_signed({**exported, "format": 99}, "newer.json")
    assert "format 99 is of a newer" in refused(cli("study", "import", "newer.json", *into))
    assert "cannot be read" in refused(cli("study", "import", "none.json", *into))

    exported["studies"][0]["trials"][2]["attributes"]["seed"] = 99
    write_signed(exported, "others.json")
    assert "with another content: trial 2" in refused(cli("study", "import", "others.json"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"said": "AAAA"}, "cannot be read"),
        ({"images": "0"}, "cannot be read"),
        ({"trial": 1}, "have the accuracy"),
    ],
    ids=str,
)
def test_answers_that_do_not_belong_are_refused(
    cli: Cli, exported: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    exported["answers"]["trials"][0] |= change
    write_signed(exported, "wrong.json")
    into = ("--storage", "new.db")
    told = refused(cli("study", "import", "wrong.json", *into))
    assert f"of dropout:quick on validation images: {said}" in told


@pytest.mark.parametrize("number", [0, -1, 10**6, "many"])
def test_answers_on_another_number_of_images_are_refused(
    cli: Cli, exported: dict[str, Any], number: object
) -> None:
    for part in exported["answers"]["images"].values():
        part["number"] = number
    write_signed(exported, "wrong.json")
    told = refused(cli("study", "import", "wrong.json", "--storage", "new.db"))
    if number == 10**6:
        assert "on validation images: cannot be read: expected 1000000 numbers" in told
    else:
        assert re.search(r"answers\.images\.[0-9a-f]{64}\.number = .*: expected a", told)


def test_an_export_of_before_has_no_answers(cli: Cli, exported: dict[str, Any]) -> None:
    del exported["answers"]
    write_signed({**exported, "format": 1}, "before.json")
    into = ("--storage", "other.db")
    assert cli("study", "import", "before.json", *into).code == 0
    report = cli("report", "dropout", *into, "--json").record
    assert {one["measured"]["test_accuracy"]["basis"] for one in report["models"]} == {"binomial"}


def test_what_is_not_exported(cli: Cli) -> None:
    answer = cli("study", "export", "dropout", "--out", FILE)
    assert answer.code == 2
    assert "is not stored" in answer.err
    assert not Path(FILE).exists()


# --- hostile content ----------------------------------------------------------------------------

OTHER_READ = {"study_name": "final:quick"}
HUGE_NAME = "x" * 600


def set_trial(key: str, value: object) -> Change:
    return lambda content: content["studies"][0]["trials"][1].update({key: value})


def set_attribute(key: str, value: object) -> Change:
    return lambda content: content["studies"][0]["trials"][1]["attributes"].update({key: value})


def set_study(key: str, value: object) -> Change:
    return lambda content: content["studies"][0].update({key: value})


def set_read(**values: object) -> Change:
    return lambda content: content["test_reads"][0]["result"].update(values)


def set_config(key: str, value: object) -> Change:
    return lambda content: content["studies"][0]["trials"][1]["attributes"]["config"].update(
        {key: value}
    )


def nest(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


HOSTILE: dict[str, Change] = {
    "a number that is a path": set_trial("number", "x/../../../../PWN"),
    "a number of another trial": set_trial("number", 0),
    "a number below 0": set_trial("number", -1),
    "accuracy nan": set_trial("value", float("nan")),
    "accuracy inf": set_trial("value", float("inf")),
    "accuracy 1e308": set_trial("value", 1e308),
    "accuracy -5": set_trial("value", -5),
    "accuracy that its epochs did not have": set_trial("value", 0.125),
    "an epoch of 1e308": set_trial("val_accuracy", {"1": 1e308}),
    "an epoch that is none": set_trial("val_accuracy", {"../1": 0.5}),
    "a date that is none": set_trial("begun", "yesterday"),
    "a date of the year 0": set_trial("begun", "0000-01-01T00:00:00+00:00"),
    "a distribution that is none": set_trial("distributions", {"dropout_rate": {"name": "x"}}),
    "a value out of its distribution": set_trial("params", {"dropout_rate": 7.0}),
    "an unknown state": set_trial("state", "running"),
    "an empty name": set_attribute("name", ""),
    "a number as a name": set_attribute("name", 7),
    "the name of a number": set_attribute("name", "7"),
    "a name with NUL": set_attribute("name", "a/b\0/seed=1"),
    "a name of 600 letters": set_attribute("name", f"{HUGE_NAME}/b/seed=1"),
    "half a character": set_attribute("note", "\ud800"),
    "a seed of many digits": set_attribute("seed", 10**400),
    "a history that is none": set_attribute("history", "x"),
    "kept weights in another folder": set_attribute("kept_weights_sha256", "../" * 21 + "x"),
    "nesting of 900": set_attribute("note", nest(900)),
    "a configuration of 1e9 px": set_config("input_size", 10**9),
    "a configuration with nan": set_config("learning_rate", float("nan")),
    "a study one folder up": set_study("study_name", ".."),
    "a study of that name with more": set_study("study_name", "..:quick"),
    "a study elsewhere": set_study("study_name", "../../x:quick"),
    "a study without a name": set_study("study_name", ""),
    "a study of 600 letters": set_study("study_name", f"{HUGE_NAME}:quick"),
    "attributes that are none": set_study("attributes", []),
    "a read of another study": set_read(**OTHER_READ),
    "a read with accuracy 2": set_read(accuracy=2),
    "a read with accuracy nan": set_read(accuracy=float("nan")),
    "a read of a trial that is a path": set_read(trial="../x"),
    "a study twice": lambda content: content["studies"].append(content["studies"][0]),
    "no study": lambda content: content["studies"].clear(),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_no_export_says_is_refused_before_anything_is_written(
    cli: Cli, export_text: str, change: Change
) -> None:
    Path("here").mkdir()
    content = json.loads(export_text)
    change(content)
    write_signed(content, "here/bad.json")
    before = list_files()
    answer = cli("study", "import", "here/bad.json", "--storage", "here/new.db")
    assert answer.code == 2, answer.err
    (line,) = answer.err.splitlines()
    assert line.startswith("error: here/bad.json: ")
    assert len(line) < 2000
    assert list_files() == before


def list_files() -> list[str]:
    """Return every file but those that SQLite keeps while a connection is open."""
    return sorted(
        str(path) for path in Path().rglob("*") if not path.name.endswith(("-wal", "-shm"))
    )


def test_an_import_is_one_transaction(
    cli: Cli, exported: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exported["test_reads"]
    run = cli("study", "import", FILE, "--storage", "other.db")
    assert run.code == 0
    before = list_rows("other.db")
    made = MadeUp(Path(HERE).absolute(), "final", "quick")
    made.add_named()
    assert cli("study", "export", "final", "--out", "final.json").code == 0
    added: list[int] = []

    def fail_at_the_third(study: Any, template: Any) -> int:
        added.append(1)
        if len(added) == 3:
            raise sqlite3.OperationalError("database or disk is full")
        return private.add_trial(study, template)

    files = list_files()
    with monkeypatch.context() as patch:
        patch.setattr(study_export, "add_trial", fail_at_the_third)
        answer = cli("study", "import", FILE, "final.json", "--storage", "other.db")
    assert answer.code == 2
    assert list_rows("other.db") == before
    assert [path for path in list_files() if path not in files] == []
    both = cli("study", "import", FILE, "final.json", "--storage", "other.db", "--json").record
    assert both["trials"] == {"dropout:quick": 0, "final:quick": 3}


def list_rows(database: str) -> list[Any]:
    with closing(sqlite3.connect(database)) as opened:
        tables = ("studies", "trials", "trial_user_attributes", "cifar_tune_test_read")
        return [opened.execute(f"SELECT * FROM {table}").fetchall() for table in tables]
