"""The documentation agrees with the code: links, commands, generated pages and marked examples."""

from __future__ import annotations

import functools
import itertools
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from command_line import Cli
from commands import walk_commands
from made_up import MadeUp
from markdown_it import MarkdownIt
from markdown_it.token import Token
from places import REPOSITORY, STUDY_FILES
from reference import expected_pages

import cifar_tune
from cifar_tune.cli.app import app
from cifar_tune.storage.records import TrialSummary

README = REPOSITORY / "README.md"
DOCS = REPOSITORY / "docs"
PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *DOCS.glob("*.md"), *(REPOSITORY / "cifar_tune").rglob("*.md")]
)
MARKER = "<!-- run -->"
"""Stands before a block that is run: commands on a study with made-up outcomes, Python with tiny
trials."""
TINY_PROTOCOL = {"train_images": 64, "validation_images": 50, "batch_size": 32, "epochs": 1}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, and whether it is marked to be run."""

    language: str
    text: str
    is_marked: bool


def name_page(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@functools.cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def inline_tokens(page: Path) -> Iterator[Token]:
    for token in tokens(page):
        yield from token.children or ()


def blocks(page: Path) -> list[Block]:
    found = []
    before = ""
    for token in tokens(page):
        if token.type == "fence":
            found.append(Block(token.info.split(" ")[0], token.content, MARKER in before))
        before = token.content if token.type == "html_block" else ""
    return found


# --- links --------------------------------------------------------------------------------------


@functools.cache
def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    parsed = tokens(page)
    for heading, content in itertools.pairwise(parsed):
        if heading.type == "heading_open":
            text = "".join(child.content for child in content.children or ())
            anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            repeats = (f"{anchor}-{count}" for count in range(1, 100))
            found.add(next(repeats) if anchor in found else anchor)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_links_and_anchors_resolve(page: Path) -> None:
    broken = []
    for token in inline_tokens(page):
        link = str(token.attrs.get("href", token.attrs.get("src", "")))
        if not link or re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        has_anchor = not anchor or (target.suffix == ".md" and anchor in anchors(target))
        if not target.exists() or not has_anchor:
            broken.append(link)
    assert broken == []


def test_anchors_are_those_of_github(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# `study run`, in *short*\n\n## Again\n\n## Again\n\n## A_b-c (d)\n")
    assert anchors(page) == {"study-run-in-short", "again", "again-1", "a_b-c-d"}


def test_every_page_is_linked_from_the_readme() -> None:
    links = {str(token.attrs.get("href", "")) for token in inline_tokens(README)}
    assert {name_page(page) for page in DOCS.glob("*.md")} <= links


def test_every_picture_is_shown_and_asks_no_other_host() -> None:
    shown = {
        (page.parent / str(token.attrs["src"])).resolve()
        for page in PAGES
        for token in inline_tokens(page)
        if token.type == "image"
    }
    pictures = {path for path in (DOCS / "pictures").rglob("*") if path.is_file()}
    assert pictures == shown
    assert all(b"url(http" not in picture.read_bytes() for picture in pictures)


# --- the README ---------------------------------------------------------------------------------


def test_readme_is_short() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 100] == []


def test_readme_has_the_two_commands_that_ci_runs() -> None:
    readme = README.read_text(encoding="utf-8")
    for marker, part in (("main job", "cifar-tune study run dropout"), ("tests", "pytest")):
        command = re.search(rf"<!-- {marker} -->\n```sh\n(.+)\n```", readme)
        assert command is not None
        assert part in command[1]


# --- commands -----------------------------------------------------------------------------------


def test_generated_pages_are_current() -> None:
    stale = [
        name_page(path)
        for path, text in expected_pages().items()
        if path.read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run: python tests/support/reference.py"


def test_every_command_and_option_is_documented() -> None:
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    for path, command in walk_commands():
        for option in command.params if path else ():
            if isinstance(option, click.Option) and not option.hidden:
                assert option.opts[-1] in sections[f"cifar-tune {' '.join(path)}"]


def shown_commands() -> dict[str, str]:
    """Return every line of the documentation that calls ``cifar-tune``, with its page."""
    found = {}
    for page in PAGES:
        for block in blocks(page):
            if block.language in ("sh", "console"):
                for line in block.text.splitlines():
                    command = re.match(r"(?:\$ )?(cifar-tune .+)", line)
                    if command and "…" not in line and "..." not in line:
                        found[command[1]] = name_page(page)
    return found


@pytest.mark.parametrize("line", sorted(shown_commands()))
def test_shown_commands_parse(line: str) -> None:
    parts = shlex.split(line, comments=True)
    end = next((i for i, part in enumerate(parts) if part in ("&&", "||", "|", ">")), len(parts))
    arguments = parts[1:end]
    command: click.Command | None = app
    while arguments and isinstance(command, click.Group):
        name = arguments.pop(0)
        command = command.get_command(click.Context(command), name)
        assert command is not None, f"{line}: {name}"
    assert command is not None
    command.make_context("cifar-tune", arguments)  # raises where an option is not known


def test_every_study_is_described() -> None:
    page = (DOCS / "getting-started.md").read_text(encoding="utf-8")
    studies = {path.stem for path in STUDY_FILES.glob("*.toml")}
    assert studies == set(re.findall(r"^\| `([\w-]+)` \| .*\?", page, re.M))


def test_every_extra_is_described() -> None:
    page = (DOCS / "getting-started.md").read_text(encoding="utf-8")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    table = page.partition("| extra | adds |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.M)) == set(project["optional-dependencies"])


def test_keys_of_a_trial_are_documented() -> None:
    page = (DOCS / "json.md").read_text(encoding="utf-8")
    assert [key for key in TrialSummary.__dataclass_fields__ if f'"{key}"' not in page] == []


def test_the_glossary_has_each_term_once_in_order() -> None:
    page = (DOCS / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^\| ([^|]+) \|", page, re.M)[2:]
    assert len(terms) > 40
    assert terms == sorted(set(terms), key=str.lower)


# --- examples -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def made_up_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with the study ``dropout:quick``, as after the main job."""
    folder = tmp_path_factory.mktemp("docs") / "storage"
    folder.mkdir()
    study = MadeUp(folder / "cifar-tune.db", "dropout", "quick")
    study.add_named(is_read=False)
    study.add_sampled(8)
    study.opened.engine.dispose()
    return folder


def marked(page: Path, language: str) -> list[str]:
    return [block.text for block in blocks(page) if block.is_marked and block.language == language]


def pages_with(language: str) -> list[Path]:
    return [page for page in PAGES if marked(page, language)]


@pytest.fixture
def as_after_the_main_job(cli: Cli, tmp_path: Path, made_up_storage: Path) -> Cli:
    """The command line, in a folder with that storage."""
    shutil.copytree(made_up_storage, tmp_path / "storage")
    shutil.copytree(STUDY_FILES, tmp_path / "studies")
    return cli


@pytest.mark.parametrize("page", pages_with("sh"), ids=name_page)
def test_marked_commands_run(page: Path, as_after_the_main_job: Cli) -> None:
    for line in "".join(marked(page, "sh")).splitlines():
        program, *arguments = shlex.split(line, comments=True)
        assert program == "cifar-tune"
        answer = as_after_the_main_job(*arguments)
        assert answer.code == 0, f"{line}: {answer.err}"


@pytest.mark.parametrize("page", pages_with("python"), ids=name_page)
@pytest.mark.usefixtures("as_after_the_main_job")
def test_marked_python_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = cifar_tune.load_study_file

    def load_tiny(name: str, **options: Any) -> cifar_tune.StudySpec:
        return load(name, **options, overrides=TINY_PROTOCOL, only=["dropout/p=0.3"])

    monkeypatch.setattr(cifar_tune, "load_study_file", load_tiny)
    for number, text in enumerate(marked(page, "python")):
        exec(compile(text, f"{name_page(page)}, block {number}", "exec"), {})
