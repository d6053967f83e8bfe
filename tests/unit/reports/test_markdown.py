"""Blocks and tables as Markdown."""

from __future__ import annotations

import pytest

from cifar_tune.reports.blocks import (
    Card,
    Cell,
    Command,
    Facts,
    Pictures,
    Points,
    Prose,
    Row,
    Table,
    number_cell,
    number_columns,
)
from cifar_tune.reports.markdown import code, code_block, pipe_table, plain, to_markdown

TABLE = Table(
    "t",
    "Results",
    ("model", "accuracy"),
    (
        Row((Cell("a|b", is_code=True), number_cell("50 %", note="sd 1"))),
        Row((Cell("", is_code=True), number_cell("60 %"))),
    ),
    note="A note.",
)


def test_a_text_is_shown_as_it_is() -> None:
    assert plain("*a*\n <b> [c](d) $x$ a|b") == r"\*a\* \<b\> \[c\](d) \$x\$ a\|b"


@pytest.mark.parametrize(
    ("text", "shown"), [("a  b", "`a b`"), ("a`b", "`` a`b ``"), ("a``b", "``` a``b ```")]
)
def test_code_holds_its_own_ticks(text: str, shown: str) -> None:
    assert code(text) == shown


def test_commands_stand_in_a_block() -> None:
    assert code_block(["one", "two"]) == "```sh\none\ntwo\n```"


def test_columns_are_aligned() -> None:
    assert pipe_table(("a", "b"), [("1", "2")], right=(False, True)).splitlines() == [
        "| a | b |",
        "| --- | ---: |",
        "| 1 | 2 |",
    ]
    assert "| --- | :---: | :---: |" in pipe_table(("a", "b", "c"), [], centred=2)
    assert "| --- | --- |" in pipe_table(("a", "b"), [])


def test_numbers_are_aligned_where_most_cells_are_numbers() -> None:
    assert number_columns(TABLE) == [False, True]


def test_every_block_of_text_has_markdown() -> None:
    assert to_markdown(Prose("text")) == "text"
    assert to_markdown(Points("What", ("one", "two"))) == "**What**\n\n- one\n- two"
    assert to_markdown(Facts("F", (("k", "v"),))) == "**F**\n\n|  |  |\n| --- | --- |\n| k | v |"
    assert to_markdown(Card("supported", "good", "Claim.", ("Why.",))) == (
        "- **supported**: Claim. Why."
    )
    assert to_markdown(Command("Run", "cifar-tune")) == "Run:\n\n```sh\ncifar-tune\n```"
    assert to_markdown(TABLE) == (
        "**Results**\n\n| model | accuracy |\n| --- | ---: |\n"
        "| `a\\|b` | 50 %<br><sub>sd 1</sub> |\n|  | 60 % |\n\nA note."
    )


def test_pictures_have_none() -> None:
    with pytest.raises(TypeError, match="Pictures is not shown as Markdown"):
        to_markdown(Pictures("p", "", "", ()))
