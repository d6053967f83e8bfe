"""Writes blocks and tables as Markdown (GitHub's, https://github.github.com/gfm/)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cifar_tune.reports.blocks import (
    Block,
    Card,
    Cell,
    Command,
    Facts,
    Points,
    Prose,
    Table,
    number_columns,
)


def plain(text: str) -> str:
    """Return a text on one line that is shown as it is, whatever is in it."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&$])", r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Return a text on one line, in a fixed-width face."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{' '.join(text.split())}{pad}{fence}"


def code_block(lines: Iterable[str]) -> str:
    """Return commands, one a line, in a block of their own."""
    return "\n".join(["```sh", *lines, "```"])


def pipe_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[bool] = (),
    centred: int = 0,
) -> str:
    """Return a table of cells that are Markdown themselves.

    ``right`` says which columns are aligned to the right; the last ``centred`` columns are
    centred, for optuna-dashboard, which leaves no space between columns.
    """
    marks = ["---:" if is_right else "---" for is_right in right or [False] * len(columns)]
    marks[len(columns) - centred :] = [":---:"] * centred
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, marks, *rows))


def to_markdown(block: Block) -> str:
    """Return a block as Markdown; figures and small pictures are files and have none.

    Raises:
        TypeError: The block is one of those.
    """
    match block:
        case Prose():
            return block.text
        case Points():
            return "\n".join([f"**{block.title}**", "", *(f"- {point}" for point in block.points)])
        case Facts():
            return f"**{block.title}**\n\n{pipe_table(('', ''), block.rows)}"
        case Table():
            return _table(block)
        case Card():
            return f"- **{block.label}**: {block.title} {' '.join(block.lines)}"
        case Command():
            return f"{block.text}:\n\n{code_block([block.command])}"
        case _:
            raise TypeError(f"{type(block).__name__} is not shown as Markdown")


def _table(table: Table) -> str:
    rows = [tuple(map(_cell, row.cells)) for row in table.rows]
    cells = pipe_table(table.columns, rows, right=number_columns(table))
    return "\n\n".join(filter(None, [f"**{table.caption}**", cells, table.note]))


def _cell(cell: Cell) -> str:
    text = f"`{cell.text}`" if cell.is_code and cell.text else cell.text
    note = f"<sub>{cell.note}</sub>" if cell.note else ""
    return "<br>".join(filter(None, (text, note))).replace("|", "\\|")
