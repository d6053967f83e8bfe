"""How results show themselves in a notebook: a line, a table and a note, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def render_table(
    title: str, text: str, columns: Sequence[str], rows: Iterable[Sequence[object]], note: str = ""
) -> str:
    """Return the HTML of a table under a title; all texts are escaped, and may be anyone's."""
    from cifar_tune.environment import make_environment

    template = make_environment("cifar_tune", escapes=True).get_template("notebook.html")
    return template.render(title=title, text=text, columns=columns, rows=list(rows), note=note)
