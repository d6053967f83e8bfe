"""Shows blocks of a page as Markdown (GitHub Flavored Markdown, https://github.github.com/gfm/)."""

from __future__ import annotations

from collections.abc import Sequence

from cifar_tune.reports.blocks import Block, Card, Cell, Command, Facts, Points, Prose, Table


def to_markdown(block: Block) -> str:
    """A block as Markdown; figures and small pictures are files and have none.

    Raises:
        TypeError: the block is one of those.
    """
    match block:
        case Prose():
            return block.text
        case Points():
            return "\n".join([f"**{block.title}**", "", *(f"- {one}" for one in block.points)])
        case Facts():
            return f"**{block.title}**\n\n{pipe_table(('', ''), block.rows)}"
        case Table():
            return _table(block)
        case Card():
            lines = " ".join(block.lines)
            return f"- **{block.label}**: {block.title} {lines}"
        case Command():
            return f"{block.text}:\n\n```sh\n{block.command}\n```"
        case _:
            raise TypeError(f"{type(block).__name__} is not shown as Markdown")


def pipe_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[bool] = ()
) -> str:
    """A table; ``numbers`` says which columns are aligned to the right."""
    aligned = numbers or (False,) * len(columns)
    lines = [columns, ["---:" if one else "---" for one in aligned], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _table(table: Table) -> str:
    numbers = tuple(
        2 * sum(row.cells[place].is_number for row in table.rows) > len(table.rows)
        for place in range(len(table.columns))
    )
    rows = [tuple(map(_cell, row.cells)) for row in table.rows]
    parts = [f"**{table.caption}**", pipe_table(table.columns, rows, numbers), table.note]
    return "\n\n".join(filter(None, parts))


def _cell(cell: Cell) -> str:
    text = f"`{cell.text}`" if cell.is_code and cell.text else cell.text
    note = f"<sub>{cell.note}</sub>" if cell.note else ""
    return "<br>".join(filter(None, (text, note))).replace("|", "\\|")
