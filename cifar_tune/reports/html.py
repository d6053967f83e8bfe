"""Shows a page as one HTML file that asks no other host for anything.

Scripts run only where their digest is in the page's own policy, so that a study's or a class's name
that found its way past the escaping would still not be run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import plotly.io
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from cifar_tune.errors import StorageError
from cifar_tune.files import write_text
from cifar_tune.reports.blocks import Chart, Page, Pictures, Table, number_columns
from cifar_tune.reports.environment import make_environment

_TEMPLATES = Path(__file__).parent / "templates"
_RESERVED = ("figures", "top")
"""Ids that the template itself uses."""
_FILE_ID = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""Ids of figures and pictures become file names."""


def render_page(page: Page) -> str:
    """Return the whole HTML document; the same page gives the same text.

    Raises:
        ValueError: An id is used twice or cannot be one.
    """
    check_ids(page)
    style, script = (
        (_TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js")
    )
    figures = _figures_json(page)
    plotly_js = get_plotlyjs() if figures else ""
    environment = make_environment("cifar_tune.reports", escapes=True)
    environment.filters.update(
        base64=_base64, kind=lambda block: type(block).__name__, number_columns=number_columns
    )
    html = environment.get_template("page.html").render(
        page=page,
        policy=_policy([plotly_js, script] if figures else [script]),
        style=Markup(style),
        script=Markup(script),
        figures=Markup(figures),
        plotly_js=Markup(plotly_js),
    )
    return f"{html}\n"


def write_page(page: Page, path: Path) -> int:
    """Write the HTML document to a file, and return how many bytes it has.

    Raises:
        StorageError: It cannot be written.
    """
    return write_text(render_page(page), path, StorageError)


def check_ids(page: Page) -> None:
    """Check that every id can be one and is used once.

    Raises:
        ValueError: An id is not; the message names the first.
    """
    seen = set(_RESERVED)

    def check(id_: str, pattern: str = r"\S+") -> None:
        if not re.fullmatch(pattern, id_):
            raise ValueError(f"{id_!r} cannot be an id")
        if id_ in seen:
            raise ValueError(f"the id {id_!r} is used twice")
        seen.add(id_)

    for section in page.sections:
        check(section.id)
        for block in section.blocks:
            if isinstance(block, Chart | Pictures):
                check(block.id, _FILE_ID)
            elif isinstance(block, Table):
                for id_ in (block.id, *(row.id for row in block.rows if row.id)):
                    check(id_)


def _figures_json(page: Page) -> str:
    """Return the page's figures by id, to stand inside ``<script>``; empty for none."""
    figures = ",\n".join(
        f"{json.dumps(block.id)}: {plotly.io.to_json(block.figure, engine='json')}"
        for block in page.blocks
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
    digests = (_base64(hashlib.sha256(script.encode()).digest()) for script in scripts)
    sources = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
