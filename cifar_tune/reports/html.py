"""Shows a page as one HTML file that asks no other host for anything.

Scripts run only where their digest is in the page's own policy, so that a study's or a class's name
that found its way past the escaping would still not be run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import plotly.io
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cifar_tune.reports.blocks import Block, Chart, Page, Pictures, Table, number_columns

_TEMPLATES = Path(__file__).parent / "templates"
_RESERVED = ("figures", "top")
"""Ids that the template itself uses."""
_SHOWN_SOURCES = 12
"""Trials that a figure names before the rest is folded away."""


def render_page(page: Page) -> str:
    """Return the whole HTML document; the same page gives the same text.

    Raises:
        ValueError: An id is used twice or cannot be one.
    """
    check_ids(page)
    figures = figures_json(page)
    script = _read("page.js")
    plotly_js = _plotly_js() if figures else ""
    template = _environment().get_template("page.html")
    return template.render(
        page=page,
        policy=_policy([plotly_js, script] if plotly_js else [script]),
        style=Markup(_read("page.css")),
        script=Markup(script),
        figures=Markup(figures),
        plotly_js=Markup(plotly_js),
        shown_sources=_SHOWN_SOURCES,
    )


def check_ids(page: Page) -> None:
    """Check that every id can be one and is used once.

    Raises:
        ValueError: An id is not; the message names the first.
    """
    seen = set(_RESERVED)
    for id_, names_file in _ids(page):
        # Ids of figures and pictures become file names.
        pattern = r"[A-Za-z0-9][A-Za-z0-9._-]*" if names_file else r"\S+"
        if not re.fullmatch(pattern, id_):
            raise ValueError(f"{id_!r} cannot be an id")
        if id_ in seen:
            raise ValueError(f"the id {id_!r} is used twice")
        seen.add(id_)


def _ids(page: Page) -> Iterator[tuple[str, bool]]:
    """Yield every id of the page, with whether files are named after it."""
    for section in page.sections:
        yield section.id, False
        for block in section.blocks:
            if isinstance(block, Chart | Pictures):
                yield block.id, True
            elif isinstance(block, Table):
                yield block.id, False
                yield from ((row.id, False) for row in block.rows if row.id)


def figures_json(page: Page) -> str:
    """Return the page's figures by id, to stand inside ``<script>``; empty for none."""
    figures = ",\n".join(
        f"{json.dumps(block.id)}: {plotly.io.to_json(block.figure, engine='json')}"
        for section in page.sections
        for block in section.blocks
        if isinstance(block, Chart)
    )
    # "<" is in strings only, where this escape means the same: no text can end the script early.
    return "{" + figures.replace("<", "\\u003c") + "}" if figures else ""


def _policy(scripts: list[str]) -> str:
    """Return the page's content security policy.

    plotly.js sets the ``style`` of what it draws and adds a style element, whose content no digest
    given beforehand covers; hence ``unsafe-inline`` for styles, and for nothing else. It draws the
    cells of a heatmap as a ``data:`` image.
    """
    digests = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _plotly_js() -> str:
    from plotly.offline import get_plotlyjs

    code: str = get_plotlyjs()
    return code


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["kind"] = _kind
    environment.filters["number_columns"] = number_columns
    return environment


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _kind(block: Block) -> str:
    return type(block).__name__
