"""Shows a page as one HTML file that asks no other host for anything.

Figures are SVG elements of the page, so it is whole without scripts. The page's own script runs
only since its digest is in the page's policy, so that a study's or a class's name that found its
way past the escaping would still not be run.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from markupsafe import Markup, escape

from cifar_tune.environment import make_environment
from cifar_tune.errors import StorageError
from cifar_tune.files import write_text
from cifar_tune.reports.blocks import Chart, Page, Pictures, Table, number_columns
from cifar_tune.reports.theme import HALF, NARROW, WIDE, for_page, report_style, to_svg

_TEMPLATES = Path(__file__).parent / "templates"
_RESERVED = ("top",)
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
    environment = make_environment("cifar_tune.reports", escapes=True)
    environment.filters.update(
        base64=_base64,
        kind=lambda block: type(block).__name__,
        number_columns=number_columns,
        plots=_draw,
    )
    html = environment.get_template("page.html").render(
        page=page,
        policy=_policy(script),
        style=Markup(style),
        script=Markup(script),
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
    for block in page.blocks:
        if isinstance(block, Chart | Pictures):
            check(block.id, _FILE_ID)
        elif isinstance(block, Table):
            for id_ in (block.id, *(row.id for row in block.rows if row.id)):
                check(id_)


def _draw(chart: Chart) -> list[tuple[str, Markup]]:
    """Return a figure for a page and for a phone, each with the name of its style."""
    # Nothing is fetched, and no text of matplotlib's is HTML: it escapes what it writes.
    label = str(escape(f"{chart.title}. {chart.caption}"))
    with report_style():
        return [
            (name, Markup(for_page(to_svg(chart.draw(width), f"{chart.id}-{name}"), label)))
            for name, width in (("wide", HALF if chart.is_half else WIDE), ("narrow", NARROW))
        ]


def _policy(script: str) -> str:
    """Return the page's content security policy.

    What matplotlib draws has its style in attributes, which no digest covers; hence
    ``unsafe-inline`` for styles, and for nothing else.
    """
    digest = _base64(hashlib.sha256(script.encode()).digest())
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
