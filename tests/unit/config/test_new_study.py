"""New study files are valid, explain their keys and replace no other file."""

from __future__ import annotations

import errno
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from command_line import TINY, Cli
from places import STUDY_FILES
from pydantic import BaseModel

from cifar_tune.config import new_study
from cifar_tune.config.schema import Conditions, StudyFile
from cifar_tune.config.space import WholeRange
from cifar_tune.config.trial import HYPERPARAMETERS
from cifar_tune.errors import StudyFileError


def no_link() -> None:
    """What ``os.link`` does where the file system has no links."""
    raise OSError(errno.EPERM, "no links here")


TEMPLATE = new_study.TEMPLATE.read_text(encoding="utf-8")


def tables_of(model: Any) -> Iterator[type[BaseModel]]:
    """Yield a model and those that its fields are made of, without those of hyperparameters."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        if issubclass(model, Conditions):
            yield Conditions
            return
        yield model
        for field in model.model_fields.values():
            yield from tables_of(field.annotation)
    for part in get_args(model):
        yield from tables_of(part)


KEYS = {
    key
    for table in tables_of(StudyFile)
    if table.__name__ not in ("Space", "Settings", "Hyperparameters")
    for key in table.model_fields
} - {"train_accuracy"}


def test_the_keys_are_found() -> None:
    assert {"title", "low", "percentile", "epochs", "keep_best", "than", "cpus"} <= KEYS
    assert {*WholeRange.model_fields} <= KEYS


@pytest.mark.parametrize("key", sorted(KEYS))
def test_the_template_has_every_key(key: str) -> None:
    table = {"space", "named", "profiles", "budget", "resources", "protocol", "claims", "published"}
    table |= {"sampler", "pruner"}
    if key in table:
        assert f"[{key}" in TEMPLATE or f".{key}]" in TEMPLATE
    else:
        assert f"{key} = " in TEMPLATE


def list_unexplained(text: str) -> list[new_study.Place]:
    """The keys of a study file, each where it first occurs, that no comment stands above."""
    lines, table = text.split("\n"), ""
    places: dict[new_study.Place, bool] = {}
    for before, line in zip(["", *lines], lines, strict=False):
        if header := new_study._HEADER.match(line):
            table = header["table"]
        place = new_study._place_of(line, table)
        is_key = place != new_study._NOWHERE and (header or table != "published.figures")
        if is_key:
            places.setdefault(place, before.startswith("#") or " # " in line)
    assert len(places) > 20
    return [place for place, is_explained in places.items() if not is_explained]


def test_each_first_key_of_the_template_has_a_comment() -> None:
    assert {key for _, key in list_unexplained(TEMPLATE)} <= HYPERPARAMETERS.keys()


def test_its_examples_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is commented out may be used as it stands."""
    monkeypatch.chdir(tmp_path)
    new_study.write_study_file("mine", None, None)
    lines = Path("studies/mine.toml").read_text(encoding="utf-8").splitlines()
    optional = [
        line.removeprefix("# ") if new_study._COMMENT.match(line) is None else line
        for line in lines
        if not line.startswith("# percentile")
    ]
    Path("studies/mine.toml").unlink()
    Path("studies/all.toml").write_text("\n".join(optional), encoding="utf-8")
    content = new_study.load_study_file("studies/all.toml").content
    assert content.claims
    assert content.published
    assert content.profiles["quick"].budget.epochs == 60
    assert content.named[0].settings.given()


@pytest.mark.parametrize("path", sorted(STUDY_FILES.glob("*.toml")), ids=lambda path: path.stem)
def test_a_copy_says_the_same_with_a_comment_on_each_key(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    copy = new_study.explain_keys(text)
    assert tomllib.loads(copy) == tomllib.loads(text)
    kept = iter(copy.split("\n"))
    assert all(line in kept for line in text.split("\n"))  # in the same order
    assert list_unexplained(copy) == []


def test_text_that_looks_like_keys_is_left_alone() -> None:
    text = 'title = """\nepochs = 3\nseeds = 1\n"""\n[profiles.quick]\nseeds = 1'
    copy = new_study.explain_keys(text)
    assert tomllib.loads(copy) == tomllib.loads(text)
    assert copy.count("#") == 2


def test_a_new_study_runs_as_printed(cli: Cli) -> None:
    answer = cli("study", "new", "mine")
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "studies/mine.toml: the study mine, to be edited",
        "  cifar-tune study show mine --profile quick",
        "  cifar-tune study run mine --profile quick",
    ]
    ran = cli("study", "run", "mine", "--profile", "quick", *TINY, "--epochs", "1", "--trials", "0")
    assert ran.code == 0, ran.err
    assert "mine/no-dropout" in ran.out


def test_a_copy_beside_the_folder_of_studies(cli: Cli) -> None:
    answer = cli("study", "new", "other", "--from", "transfer", "--out", ".")
    assert answer.code == 0
    assert "cifar-tune study run other.toml --profile quick" in answer.out
    shown = cli("study", "show", "other.toml", "--json").record
    assert shown["title"] == cli("study", "show", "transfer", "--json").record["title"]
    assert not Path("studies").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mine",), "studies/mine.toml: is there already; expected another name"),
        (("dropout",), "study new dropout: is a study already, "),
        (("Mine",), "study new Mine: expected a name of lower-case letters, digits and hyphens"),
        (("a/b",), "study new a/b: expected a name of"),
        (("\x1b",), r"study new '\x1b': expected a name of"),
        (("new", "--from", "dropuot"), "did you mean dropout?"),
        (("new", "--out", "old.toml"), "--out old.toml: expected a folder, or a file new.toml"),
        (("new", "--out", "studies/mine.toml/new.toml"), "cannot be written"),
        (("new", "--out", "link/new.toml"), "link/new.toml: is there already"),
    ],
)
def test_what_cannot_be_written_is_refused(
    cli: Cli, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    assert cli("study", "new", "mine").code == 0
    Path("link").mkdir()
    Path("link/new.toml").symlink_to("nowhere")
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    answer = cli("study", "new", *arguments)
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_file_that_comes_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check = new_study.load_study_file

    def load(path: str) -> Any:
        Path("studies/mine.toml").write_text("another program's")
        return check(path)

    monkeypatch.setattr(new_study, "load_study_file", load)
    for link in (os.link, lambda *_: no_link()):
        monkeypatch.setattr(os, "link", link)
        Path("studies/mine.toml").unlink(missing_ok=True)
        with pytest.raises(StudyFileError, match=r"studies/mine.toml: cannot be written"):
            new_study.write_study_file("mine", None, None)
        assert [path.name for path in Path("studies").iterdir()] == ["mine.toml"]
        assert Path("studies/mine.toml").read_text() == "another program's"


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "link", lambda *_: no_link())
    assert new_study.write_study_file("mine", None, None).name == "mine"
    assert [path.name for path in Path("studies").iterdir()] == ["mine.toml"]
