"""What the documents say of the code's layout is so."""

from __future__ import annotations

import ast
import re

import pytest
from places import REPOSITORY

PACKAGE = REPOSITORY / "cifar_tune"
PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_the_page_names_every_room(room: str) -> None:
    assert f"`{room}/`" in PAGE


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_says_where_to_begin_reading(room: str) -> None:
    source = (PACKAGE / room / "__init__.py").read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    assert 4 <= len(docstring.splitlines()) <= 9
    assert "Begin reading with" in " ".join(docstring.split())
    for name in re.findall(r"``(\w+\.py)``", docstring):
        assert (PACKAGE / room / name).is_file()


@pytest.mark.parametrize("place", sorted(set(re.findall(r"`(\w+/[\w/]+\.py(?::\w+)?)`", PAGE))))
def test_what_the_page_names_is_there(place: str) -> None:
    path, _, name = place.partition(":")
    root = REPOSITORY if path.startswith("tests/") else PACKAGE
    tree = ast.parse((root / path).read_text(encoding="utf-8"))
    names = {getattr(node, "name", None) for node in tree.body}
    names |= {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    assert not name or name in names
