"""What a page is made of: plain blocks, made from a report's record and shown by ``html``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # it takes a while to load, which a run that writes notes need not wait for
    from matplotlib.figure import Figure

Tone = Literal["plain", "good", "bad", "unsure", "missing"]
"""How something is coloured; never the only way in which it is told apart."""


@dataclass(frozen=True)
class Prose:
    """A paragraph of text."""

    text: str


@dataclass(frozen=True)
class Box:
    """A short remark that stands out, such as that a run was a quick one, with what to type."""

    title: str
    text: str
    command: str = ""


@dataclass(frozen=True)
class Points:
    """A list of remarks, folded away below its title."""

    title: str
    points: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Names with their values, such as the settings of a protocol."""

    title: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        note: said in small below the text.
        link: ``id`` of the element of this page that it leads to; empty for none.
        is_number: aligned to the right, in figures of one width.
        is_code: in a fixed-width face, may be selected as one.
    """

    text: str
    note: str = ""
    link: str = ""
    tone: Tone = "plain"
    is_number: bool = False
    is_code: bool = False


def number_cell(text: str, *, note: str = "", link: str = "", tone: Tone = "plain") -> Cell:
    """Return a cell in the figures of a number, aligned to the right."""
    return Cell(text, note=note, link=link, tone=tone, is_number=True)


@dataclass(frozen=True)
class Row:
    """A row of a table; ``id`` where something leads to it."""

    cells: tuple[Cell, ...]
    id: str = ""


@dataclass(frozen=True)
class Table:
    """A table. One that ``is_long`` is folded away until it is asked for, and not printed."""

    id: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""
    is_long: bool = False


def number_columns(table: Table) -> list[bool]:
    """Return for each column whether most of its cells are numbers, aligned to the right."""
    columns = range(len(table.columns))
    numbers = [sum(row.cells[column].is_number for row in table.rows) for column in columns]
    return [2 * count > len(table.rows) for count in numbers]


@dataclass(frozen=True)
class Chart:
    """A figure.

    Attributes:
        id: unique in the page; its file name where figures are written.
        caption: what is seen, with units, and how many runs it is made of.
        draw: returns the figure for a width in CSS pixels.
        is_half: whether it takes half of the page's width, where there is room for two.
    """

    id: str
    title: str
    caption: str
    draw: Callable[[int], Figure]
    is_half: bool = False


@dataclass(frozen=True)
class Tile:
    """A small picture: PNG bytes, shown ``width`` CSS pixels wide with hard pixel edges."""

    png: bytes
    alt: str
    title: str = ""
    note: str = ""
    width: int = 96


@dataclass(frozen=True)
class Pictures:
    """Small pictures side by side."""

    id: str
    title: str
    caption: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Card:
    """A judgement in one line, ``label`` (such as ``supported``) and title, that opens.

    Attributes:
        lines: what stands below it, once it is opened.
        command: what to do next, if anything.
        measure: the number that it rests on, beside the title.
    """

    label: str
    tone: Tone
    title: str
    lines: tuple[str, ...]
    command: str = ""
    measure: str = ""


@dataclass(frozen=True)
class Missing:
    """Something that is not there, and the command that fills it; shown where it would be."""

    what: str
    command: str


@dataclass(frozen=True)
class Command:
    """A command to copy, with what it does."""

    text: str
    command: str


Block = Prose | Box | Points | Facts | Table | Chart | Pictures | Card | Missing | Command


@dataclass(frozen=True)
class Section:
    """A part of a page, with an entry in its contents."""

    id: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
        lead: the answer in a sentence or two, above everything else.
        warning: what a reader must know before comparing anything, e.g. that it is a quick run.
        subtitle: what the report is about, in small below the title.
        opening: blocks between the lead and the contents.
        commands: what to type, at the end of the page.
    """

    title: str
    lead: str
    warning: str
    sections: tuple[Section, ...]
    footer: str
    subtitle: str = ""
    opening: tuple[Block, ...] = ()
    commands: tuple[Command, ...] = ()

    @property
    def blocks(self) -> list[Block]:
        """The blocks of the opening and of all sections, in order."""
        inside = (block for section in self.sections for block in section.blocks)
        return [*self.opening, *inside]
