"""What is printed of a stranger's text commands no terminal, and any encoding will do."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from pathlib import Path

import pytest
from command_line import Cli
from rich.text import Text

from cifar_tune.cli.console import make_console, make_table, print_json
from cifar_tune.search.bars import Bars
from cifar_tune.search.progress import PlainLines

EVIL = "a\x1b]0;owned\x07\x1b[31mb\x9b2Jc\u202ed\x7f\udc80"
SHOWN = r"a\x1b]0;owned"
COMMANDS = ("\x1b", "\x9b", "\u202e", "\x7f", "\udc80", "\x07")


def check(printed: str) -> None:
    assert SHOWN in printed
    assert not [command for command in COMMANDS if command in printed]


def test_lines_tables_and_styled_texts(capsys: pytest.CaptureFixture[str]) -> None:
    console = make_console()
    table = make_table(EVIL)
    table.add_row(EVIL)
    for printed in (EVIL, Text(EVIL, style="bold"), table):
        console.print(printed)
        check(capsys.readouterr().out)


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    console = make_console()
    for observer in (PlainLines(console), Bars(console)):
        observer.noted(EVIL)
        check(capsys.readouterr().out)


def test_an_error_line(cli: Cli) -> None:
    answer = cli("study", "show", "dropout", "--profile", EVIL)
    assert answer.code == 2
    check(answer.err)


def test_json_says_the_same_in_other_letters(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": EVIL})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"name": EVIL}
    assert not [command for command in COMMANDS if command in printed]


def test_lines_tabs_and_letters_of_every_language_stay(capsys: pytest.CaptureFixture[str]) -> None:
    text = "猫\u3000été\n  狗 ±1.3\u00a0points"
    make_console().print(text, soft_wrap=True)
    assert capsys.readouterr().out == f"{text}\n"


def test_a_terminal_without_the_letters_of_a_title(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "studies").mkdir()
    shipped = Path(__file__).parents[3] / "studies" / "dropout.toml"
    text = shipped.read_text(encoding="utf-8").replace('title = "', 'title = "Été ', 1)
    (tmp_path / "studies" / "summer.toml").write_text(text, encoding="utf-8")
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert cli("study", "list").code == 0
    assert cli("study", "list", "--json").code == 0
    out.flush()
    printed = out.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert "\\xc9t\\xe9 " in printed
    record = json.loads(printed[printed.index("{") :])
    assert any(study["title"].startswith("Été ") for study in record["studies"])


def test_a_study_file_with_a_byte_order_mark(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    shipped = Path(__file__).parents[3] / "studies" / "dropout.toml"
    (tmp_path / "studies" / "marked.toml").write_bytes(b"\xef\xbb\xbf" + shipped.read_bytes())
    assert cli("study", "show", "marked").code == 0


def test_a_terminal_that_is_gone_is_done_without() -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(errno.EIO, "Input/output error")

        def fileno(self) -> int:
            return terminal

    read_end, terminal = os.pipe()
    console = make_console()
    console.file = Gone()
    console.print("epoch 1")
    assert os.fstat(terminal).st_rdev == Path(os.devnull).stat().st_rdev
    os.close(read_end)
    os.close(terminal)
