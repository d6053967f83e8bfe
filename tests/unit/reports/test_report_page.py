"""A page is one file that runs only its own scripts, asks no other host and shows names as text."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import io
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from PIL import Image

from cifar_tune.reports import theme
from cifar_tune.reports.blocks import (
    Block,
    Box,
    Card,
    Cell,
    Chart,
    Command,
    Facts,
    Missing,
    Page,
    Pictures,
    Points,
    Prose,
    Row,
    Section,
    Table,
    Tile,
)
from cifar_tune.reports.figure_files import write_figures
from cifar_tune.reports.html import render_page
from cifar_tune.training.pictures import palette

HOSTILE = "<script>alert('x')</script> \" onload=\"x & </script> <!-- \u2028 ]]>"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
NO_BROWSER = "neither chromium nor google-chrome is on PATH"


def chart(name: str = "curves", **changes: Any) -> Chart:
    def draw(width: int) -> Figure:
        figure, (axes,) = theme.make_axes(width, 200)
        axes.plot([1, 2, 3], [0.5, 0.6, 0.7], label=HOSTILE)
        axes.set_title(f"$x {HOSTILE}")
        axes.set_xlabel(f"epoch, {width} px")
        theme.use_percent(axes)
        theme.add_legend(figure, [axes], 1)
        return figure

    settings = {"title": "Curves", "caption": "Two runs."}
    return Chart(id=name, draw=draw, **(settings | changes))


def table(name: str = "trials", rows: int = 2, **changes: Any) -> Table:
    cells = tuple(
        Row((Cell(f"trial {row}"), Cell("0.5", is_number=True)), id=f"trial-{row}")
        for row in range(rows)
    )
    return Table(name, "Trials", ("Trial", "Accuracy"), cells, **changes)


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (2, 2), "red").save(file, "PNG")
    return file.getvalue()


def page(*blocks: Block, **changes: Any) -> Page:
    settings: dict[str, Any] = {"title": "A page", "lead": "", "warning": "", "footer": ""}
    sections = (Section("results", "Results", blocks),)
    return Page(sections=sections, **(settings | changes))


def full_page() -> Page:
    cells = (
        Cell(HOSTILE, note=HOSTILE),
        Cell("supported", tone="good", link="trial-1"),
        Cell("cifar-tune", is_code=True),
    )
    return page(
        Prose("A paragraph."),
        Facts("Settings", (("epochs", "3"), (HOSTILE, HOSTILE))),
        Table(
            "verdicts", "Verdicts", ("What", "Verdict", "Command"), (Row(cells),), note="A note."
        ),
        table(rows=20, is_long=True),
        chart(),
        chart("others", title=HOSTILE, caption=HOSTILE, is_half=True),
        Pictures("tiles", "Mistakes", "Most confident.", (Tile(png(), HOSTILE, "cat", "99 %"),)),
        Points("Remarks", ("First remark.", HOSTILE)),
        Card("supported", "good", "A claim", ("First line.", HOSTILE), command="cifar-tune next"),
        Missing("weights of trial 3", "cifar-tune trial rerun 3"),
        Command("Once more:", "cifar-tune study run"),
        title=HOSTILE,
        subtitle="What it is about.",
        opening=(Box("Next", HOSTILE, "cifar-tune settle"),),
        commands=(Command("Again", "cifar-tune report"),),
        lead="The answer.",
        warning="A quick run.",
        footer="Made by a test.",
    )


@dataclass
class Found:
    """What a parser finds in a page."""

    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    scripts: list[tuple[str, str]] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)
    text: str = ""

    def values(self, tag: str, name: str) -> list[str]:
        return [value for where, key, value in self.attributes if (where, key) == (tag, name)]

    @property
    def run(self) -> list[str]:
        """The scripts that a browser runs."""
        return [script for _, script in self.scripts]


class _Parser(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found = Found()
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.attributes += [(tag, name, value or "") for name, value in attrs]
        self._inside = tag
        if tag == "script":
            self.found.scripts.append((dict(attrs).get("type") or "", ""))

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            kind, script = self.found.scripts[-1]
            self.found.scripts[-1] = (kind, script + data)
        elif self._inside == "style":
            self.found.styles.append(data)
        else:
            self.found.text += data


def parse(document: str) -> Found:
    parser = _Parser()
    parser.feed(document)
    parser.close()
    return parser.found


@pytest.fixture(scope="module")
def document() -> str:
    return render_page(full_page())


@pytest.fixture(scope="module")
def found(document: str) -> Found:
    return parse(document)


def test_every_kind_of_block_is_shown(found: Found) -> None:
    for text in (
        "A paragraph.",
        "epochs",
        "A note.",
        "20 rows",
        "What it is about.",
        "cifar-tune settle",
        "cifar-tune report",
        "Two runs.",
        "Mistakes",
        "First remark.",
        "First line.",
        "cifar-tune next",
        "Missing:",
        "cifar-tune trial rerun 3",
        "Once more:",
        "The answer.",
        "A quick run.",
        "Made by a test.",
    ):
        assert text in found.text
    assert found.values("img", "src") == [
        f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    ]
    assert found.values("figure", "id") == ["curves", "others"]
    assert {"#results", "#trial-1"} <= set(found.values("a", "href"))


def test_names_are_shown_as_text(document: str, found: Found) -> None:
    assert HOSTILE in found.text
    assert HOSTILE in found.values("img", "alt")
    assert len(found.scripts) == 1  # a name that is taken for one is a second
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    assert "alert('x')</script>" not in document


def test_figures_are_drawn_for_a_page_and_for_a_phone(document: str, found: Found) -> None:
    for width in (theme.WIDE, theme.HALF, theme.NARROW):
        assert f"epoch, {width} px" in found.text
    assert found.text.count(f"$x {HOSTILE}") == 4  # no dollar begins a formula
    assert found.values("svg", "role") == ["img"] * 4
    ids = re.findall(r' id="([^"]+)"', document)
    assert len(ids) == len(set(ids))
    for reference in re.findall(r'(?:url\(#|xlink:href="#)([^)"]+)', document):
        assert reference in ids


def test_policy_names_the_scripts_and_no_others(found: Found) -> None:
    (policy,) = [value for value in found.values("meta", "content") if "script-src" in value]
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    digests = [hashlib.sha256(script.encode()).digest() for script in found.run]
    allowed = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    assert sorted(rules["script-src"]) == sorted(allowed)
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == ["'none'"]
    assert rules["img-src"] == ["data:"]


def test_page_refers_to_no_other_host(found: Found) -> None:
    for tag, name, value in found.attributes:
        if name in {"src", "href", "srcset", "action", "data", "poster", "style"}:
            is_of_figure = name == "style" and not re.search(r"url\((?!#)|//", value)
            assert is_of_figure or value.startswith(("#", "data:")), (tag, name, value)
    for style in found.styles:
        assert not re.search(r"url\(|@import|//", style)
    own_script = found.run[-1]
    assert not re.search(r"https?:|fetch\(|XMLHttpRequest|import\(", own_script)


def test_a_page_is_small(document: str) -> None:
    assert "plotly" not in document
    assert len(document) < 200_000
    assert len(render_page(page(Prose("No figure.")))) < 30_000


def test_same_page_is_the_same_text(document: str) -> None:
    assert render_page(full_page()) == document


@pytest.mark.parametrize(
    "blocks",
    [
        (chart(), chart()),
        (table("trial-0"),),
        (chart("results"),),
        (table("top"),),
        (chart("../escaped"),),
        (table(""),),
        (table("two words"),),
    ],
)
def test_ids_that_clash_or_cannot_be_are_refused(blocks: tuple[Block, ...]) -> None:
    with pytest.raises(ValueError, match=r"used twice|cannot be an id"):
        render_page(page(*blocks))


def brightness(colour: str) -> float:
    """Relative luminance after WCAG."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((brightness(one), brightness(other)))
    return (light + 0.05) / (dark + 0.05)


def test_colours_stand_on_both_pages(found: Found) -> None:
    for colour in palette.COLOURS:
        assert min(contrast(colour, "#ffffff"), contrast(colour, "#14161a")) >= 3
    (style,) = found.styles
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w{6});", part))
        for part in style.split("@media screen")[:2]
    )
    for colours in (light, dark):
        for name in ("text", "muted", "link", "good", "bad", "unsure", "missing"):
            assert contrast(colours[name], colours["page"]) >= 4.5
            assert contrast(colours[name], colours["surface"]) >= 4.5


def test_figures_take_the_colours_of_the_page(document: str) -> None:
    figures = "".join(re.findall(r"<svg.*?</svg>", document, flags=re.DOTALL))
    for colour in (palette.TEXT, palette.LINE, palette.GRID):
        assert colour not in figures
    for variable in ("text", "plot-line", "plot-grid"):
        assert f"var(--{variable})" in figures


@pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
def test_browser_shows_figures_and_refuses_nothing(document: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(document, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000", "--dump-dom"]
    command = [str(BROWSER), *flags, path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.count("<svg") == 4
    assert "<span>cifar-tune</span> <span>settle</span>" in done.stdout  # the script has run
    assert "Content Security Policy" not in done.stderr


def test_pictures_are_written_without_a_browser(tmp_path: Path) -> None:
    blocks = Pictures("tiles", "", "", (Tile(png(), "a"), Tile(png(), "b")))
    paths = write_figures(page(blocks), tmp_path / "new")
    assert [path.name for path in paths] == ["tiles-1.png", "tiles-2.png"]
    assert {path.read_bytes() for path in paths} == {png()}


def test_figure_files_are_whole_and_the_same_each_time(tmp_path: Path) -> None:
    paths = write_figures(full_page(), tmp_path)
    assert [path.name for path in paths] == ["curves.svg", "others.svg", "tiles-1.png"]
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}
    first = paths[0].read_text(encoding="utf-8")
    assert 'fill="#ffffff"' in first
    assert "epoch, 960 px" in first
    assert "epoch, 460 px" in paths[1].read_text(encoding="utf-8")
    assert "<!-- data sha256:" in first
    ElementTree.fromstring(first)  # it is well-formed
    assert write_figures(page(chart()), tmp_path)[0].read_text(encoding="utf-8") == first
    (drawn,) = write_figures(page(chart()), tmp_path, "png")
    with Image.open(drawn) as image:
        assert image.size == (1920, 400)


def test_the_digest_of_a_figure_is_that_of_its_data() -> None:
    def digest(*values: float, colour: str = "red") -> str:
        figure, (axes,) = theme.make_axes(300, 200)
        axes.plot(range(len(values)), values, color=colour)
        return theme.digest_comment(figure)

    assert digest(0.1, 0.2) == digest(0.1, 0.2, colour="blue")
    assert digest(0.1, 0.2) != digest(0.1, 0.21)
