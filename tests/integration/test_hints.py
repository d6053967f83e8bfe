"""Every command that is printed as advice works as it is printed."""

from __future__ import annotations

import html
import re
import shlex
from pathlib import Path

import click
import pytest
from command_line import Answer, Cli, StopAfter
from processes import write_study

from cifar_tune.cli import confirmation
from cifar_tune.search.runner import Runner

HINT = re.compile(r"`(cifar-tune [^`]+)`|(?:^ *|: )(cifar-tune [^`]+?)$", re.MULTILINE)
IN_PAGES = re.compile(r">(cifar-tune [a-z][^<]+)<")
BLOCKS = ("serve", "data fetch", "weights fetch")
"""Commands that stay, or need a network."""


@pytest.fixture
def study(tmp_path: Path) -> str:
    """A tiny study whose file is found by its path alone, and whose database has a name of its
    own."""
    folder = tmp_path / "my studies"
    folder.mkdir()
    write_study(folder / "kill.toml", 1, names=("kill/p=0.1", "kill/p=0.3"))
    return str(folder / "kill.toml")


STORAGE = ("--storage", "my own.db")
CHANGED = ("--set", "augment_validation=true", "--set", "normalize_mean=[0.5, 0.5, 0.5]")


@pytest.fixture
def hints(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Hints:
    return Hints(cli, monkeypatch)


def read_next(answer: Answer) -> list[str]:
    """The commands that a run ends with, without their options."""
    lines = answer.out.partition("\nNext:\n")[2].splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith("    ")]
    ends = [next(i for i, word in enumerate(words) if word.endswith(".toml")) for words in commands]
    return [" ".join(words[1:end]) for words, end in zip(commands, ends, strict=True)]


class Hints:
    """Commands that were printed, each with what printed it, and which of them did not work."""

    def __init__(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        self._cli = cli
        self._monkeypatch = monkeypatch
        self.seen: dict[str, str] = {}

    def run(self, *arguments: str) -> Answer:
        """Run a command and note what it advises."""
        answer = self._cli(*arguments)
        for backquoted, line in HINT.findall(answer.out + answer.err):
            self.seen.setdefault(backquoted or line, shlex.join(arguments))
        return answer

    def read_page(self, path: Path) -> None:
        """Note what a page advises."""
        for command in IN_PAGES.findall(path.read_text(encoding="utf-8")):
            self.seen.setdefault(html.unescape(command), str(path))

    def follow(self) -> list[str]:
        """Run all that was advised, up to where it trains, and return what did not work."""

        def stop(runner: Runner, *_: object) -> None:
            assert runner.location.path == Path("my own.db")
            raise KeyboardInterrupt

        self._monkeypatch.setattr(Runner, "_dispatch", stop)
        # Whoever follows a hint at a terminal is asked, and says yes.
        self._monkeypatch.setattr(confirmation, "has_terminal", lambda: True)
        self._monkeypatch.setattr(click, "confirm", lambda *_, **__: True)
        faults = []
        for command, source in list(self.seen.items()):
            arguments = shlex.split(command)[1:]
            if " ".join(arguments).startswith(BLOCKS):
                arguments = [*arguments, "--help"]
            if "PATH" not in arguments:
                answer = self._cli(*arguments)
                if answer.code not in (0, 130):
                    faults.append(f"{command} (of {source}): {answer.err}")
        return faults


def test_hints_of_a_study_with_overrides_and_a_storage_of_its_own(hints: Hints, study: str) -> None:
    mine = (study, *STORAGE)
    assert hints.run("dashboard", *STORAGE).code == 2
    assert hints.run("report", *mine).code == 2
    ended = hints.run("study", "run", *mine)
    assert ended.code == 0
    assert read_next(ended) == ["study run", "best confirm", "report"]
    assert hints.run("study", "run", *mine, *CHANGED).code == 0
    for command in (
        ("best", "show"),
        ("report",),
        ("study", "queue"),
        ("study", "show"),
        ("trial", "test", "--yes"),
    ):
        for overrides in ((), CHANGED):
            answer = hints.run(*command, *mine, *overrides)
            assert answer.code == 0, answer.err
    assert hints.run("study", "queue", *mine, "--param", "dropout_rate=0.5").code == 0
    pages = list(Path("reports").glob("*.html"))
    assert len(pages) == 2
    for page in pages:
        hints.read_page(page)
    assert hints.follow() == []
    assert len(hints.seen) > 15
    assert not Path("storage").exists()


def test_hints_where_something_is_missing(hints: Hints, study: str, stop_after: StopAfter) -> None:
    mine = (study, *STORAGE)
    with stop_after(3):
        stopped = hints.run("study", "run", *mine, "--data-dir", "my data")
    assert stopped.code == 130
    assert read_next(stopped) == ["study run"]
    assert stopped.out.rstrip().endswith("--storage 'my own.db' --data-dir 'my data'")
    assert hints.run("study", "export", *mine, "--out", "kill.json").code == 2
    assert hints.run("best", "show", *mine, *CHANGED).code == 2
    assert any(command.startswith("cifar-tune trial drop ") for command in hints.seen)
    data = ("--data-dir", "my data")
    assert hints.run("data", "status", *data).code == 0
    assert hints.run("weights", "status", *data).code == 0
    assert hints.run("study", "run", *mine, "--set", "weights=imagenet", *data).code == 2
    assert hints.run("study", "run", *mine, "--set", "data=pets", *data).code == 2
    assert "cifar-tune weights fetch --data-dir 'my data'" in hints.seen
    assert "cifar-tune data import PATH --name pets --data-dir 'my data'" in hints.seen
    assert hints.follow() == []


def test_a_name_alone_means_the_study_without_overrides(cli: Cli, study: str) -> None:
    only = ("--only", "kill/p=0.1", "--seeds", "1")
    assert cli("study", "run", study, *only, "--epochs", "2").code == 0
    with_overrides = cli("trial", "show", study, "0", "--json")  # there is no other
    assert with_overrides.record["study_name"] == "kill:quick:epochs=2"
    assert cli("study", "run", study, *only).code == 0
    for command in (("best", "show"), ("trial", "show"), ("report",)):
        trial = ("0",) if command == ("trial", "show") else ()
        answer = cli(*command, study, *trial, "--json")
        assert answer.code == 0, answer.err
        assert answer.record["study_name"] == "kill:quick"
    assert (
        "kill:quick:epochs=3: is not stored"
        in cli("best", "show", study, "--profile", "quick", "--epochs", "3").err
    )
    assert cli("best", "show", study, "--epochs", "2", "--json").code == 0
