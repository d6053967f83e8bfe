"""Documents of a user's own, filled in from the storage."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from command_line import Cli
from made_up import MadeUp

DATABASE = "storage/cifar-tune.db"
TEMPLATE = "results.md.j2"


@pytest.fixture
def stored(cli: Cli) -> Cli:
    """The command line, in a folder where three seeds of four models are stored."""
    made = MadeUp(Path(DATABASE).absolute(), "transfer", "quick")
    made.spec = made.spec.with_profile(seeds=3)
    made.add_named()
    return cli


def write(text: str) -> None:
    Path(TEMPLATE).write_text(text, encoding="utf-8")


def test_numbers_tables_and_figures_come_from_the_storage(stored: Cli) -> None:
    write(
        "{% set transfer = study('transfer') %}\n"
        "{% set found = transfer.measured('transfer/model-a', 'test_accuracy') %}\n"
        "It has {{ found.mean | percent }} ({{ found | interval }}), the report\n"
        "{{ published('transfer', 'transfer/model-a', 'test_accuracy') | percent }}.\n"
        "\n{{ transfer.table('results-table') }}\n"
        "\n{{ transfer.claims() }}\n"
        "{{ transfer.claim('pretraining-helps').verdict }}\n"
        "\n{{ runs(transfer) }}\n"
        "\n{{ transfer.chart('accuracies') }}\n"
        "{{ '{{' }} stays\n"
    )
    answer = stored("report", TEMPLATE)
    assert answer.code == 0, answer.err
    text = Path("results.md").read_text(encoding="utf-8")
    record = stored("report", "transfer", "--json").record
    model = next(one for one in record["models"] if one["name"] == "transfer/model-a")
    measured = model["measured"]["test_accuracy"]
    mean, low, high = (f"{100 * measured[key]:.1f}" for key in ("mean", "low", "high"))
    assert f"It has {mean} % ({low} to {high} %), the report\n79.1 %.\n" in text
    row = next(line for line in text.splitlines() if line.startswith("| `model-a`"))
    assert f"| 3 | {100 * model['measured']['train_accuracy']['mean']:.1f} %" in row
    assert f"{mean} %<br><sub>{low}\N{EN DASH}{high}</sub>" in row
    claim = next(one for one in record["claims"] if one["name"] == "pretraining-helps")
    assert f"- **{claim['verdict']}**: {claim['text']}" in text
    assert f"\n{claim['verdict']}\n" in text
    assert "| `transfer:quick` | 12 complete | 60 |" in text
    assert "{{ stays" in text
    assert "![" not in text  # figures are asked for with a folder
    assert "<!-- data sha256:" in text

    assert stored("report", TEMPLATE, "--check").code == 0
    changed = text.replace(f"It has {mean} %", "It has 99.9 %")
    Path("results.md").write_text(changed, encoding="utf-8")
    answer = stored("report", TEMPLATE, "--check")
    assert answer.code == 1
    assert "error: results.md:1: is 'It has 99.9 %" in answer.err
    assert Path("results.md").read_text(encoding="utf-8") == changed
    assert stored("report", TEMPLATE, "--check", "--out", "none.md").code == 2


@pytest.mark.skipif(
    not any(map(shutil.which, ("chromium", "google-chrome", "chrome"))),
    reason="figures are drawn by Chrome or Chromium, and none is on PATH",
)
def test_a_figure_says_of_which_data_it_is(stored: Cli) -> None:
    write("{{ study('transfer').chart('curves-compared') }}\n")
    answer = stored("report", TEMPLATE, "--out", "docs/results.md", "--figures", "docs/figures")
    assert answer.code == 0, answer.err
    assert "1 figures in docs/figures" in answer.out
    text = Path("docs/results.md").read_text(encoding="utf-8")
    link = re.search(r"!\[[^\]]+\]\(([^)]+)\)", text)
    digest = re.search(r"<!-- data sha256:[0-9a-f]{64} -->", text)
    assert link is not None
    assert digest is not None
    svg = Path("docs", link[1]).read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert digest[0] in svg
    check = ("report", TEMPLATE, "--out", "docs/results.md", "--figures", "docs/figures", "--check")
    assert stored(*check).code == 0
    Path("docs", link[1]).write_text(svg.replace(digest[0], ""), encoding="utf-8")
    answer = stored(*check)
    assert answer.code == 1
    assert "shows other data than are stored" in answer.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n{{ study('transfer').measured('x', 'seconds') }}", ":2: transfer:quick has no sec"),
        ("a\n{{ study('nothing') }}", ":2: unknown study 'nothing'"),
        ("a\n\n{{ study('dropout') }}", ":3: dropout: is not stored"),
        ("{{ study('transfer').table('x') }}", "has no table 'x'; expected one of: results-table"),
        ("{{ study('transfer').chart('x') }}", "has no chart 'x'"),
        ("{{ study('transfer').claim('x') }}", "has no claim x"),
        ("{{ published('dropout', 'x', 'test_accuracy') }}", "no published test_accuracy of x"),
        ("a\n{% for %}", ":2: Expected"),
        ("{{ unknown.thing }}", ":1: 'unknown' is undefined"),
        ("{{ ''.__class__.__mro__ }}", ":1: access to attribute '__class__'"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(stored: Cli, text: str, said: str) -> None:
    write(text)
    Path("results.md").write_text("as it was", encoding="utf-8")
    answer = stored("report", TEMPLATE)
    assert answer.code == 2
    assert f"error: {TEMPLATE}" in answer.err
    assert said in answer.err
    assert "Traceback" not in answer.err
    assert Path("results.md").read_text(encoding="utf-8") == "as it was"


@pytest.mark.parametrize(
    "options",
    [
        ("--json",),
        ("--csv",),
        ("--profile", "quick"),
        ("--epochs", "2"),
        ("--set", "batch_size=64"),
        ("--trial", "1"),
        ("--figure-format", "png"),
    ],
    ids=" ".join,
)
def test_options_of_other_reports_are_refused(cli: Cli, options: tuple[str, ...]) -> None:
    write("text")
    answer = cli("report", TEMPLATE, *options)
    assert answer.code == 2
    assert f"error: {options[0]}" in answer.err
    assert not Path("results.md").exists()


def test_a_template_that_is_not_there(cli: Cli) -> None:
    answer = cli("report", TEMPLATE)
    assert answer.code == 2
    assert f"error: {TEMPLATE}: cannot be read" in answer.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ 1/0 }}", "division by zero"),
        ("{{ study(5) }}", "study(5): expected names in quotes"),
        ("{{ study('transfer', 5) }}", "expected names in quotes"),
        ("{{ published(5, 'a', 'b') }}", "expected a name in quotes"),
        ("{{ 0.5|percent(10**9) }}", "1,000,000"),
        ("{{ 'x'|percent }}", "Unknown format code"),
        ("{{ None|percent }}", "unsupported operand"),
        ("{{ range(10**9)|list }}", "1,000,000"),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            "1,000,",
        ),
        ("{{ 'x' * 10**9 }}", "67,108,864"),
        ("{{ 10**(10**9) }}", "1,000,000"),
        ("{{ 'x'|center(10**9) }}", "1,000,000"),
        ("{{ 'x'.ljust(10**9) }}", "1,000,000"),
        ("{{ '%999999999d' % 1 }}", "widths below"),
        ("{{ '%999999999d'|format(1) }}", "widths below"),
        ("{{ '{:999999999}'.format(1) }}", "widths below"),
        ("{{ [].append }}{{ ().__class__.__bases__ }}", "unsafe"),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "recursion"),
    ],
)
def test_what_a_template_computes_has_bounds(cli: Cli, text: str, said: str) -> None:
    write(f"\n{text}\n")
    answer = cli("report", TEMPLATE)
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert line.startswith(f"error: {TEMPLATE}:2: ")
    assert said in line
    assert not Path("results.md").exists()


def test_what_a_template_computes_within_bounds(cli: Cli) -> None:
    write(
        "{{ 0.1234|percent(2) }} {{ 'ab' * 3 }} {{ '%03d' % 7 }} {{ '{:>4}'.format(1) }} "
        "{{ 2**10 }} {% for i in range(3) %}{{ i }}{% endfor %} {{ [1] + [2] }} {{ 7 % 4 }}"
    )
    assert cli("report", TEMPLATE).code == 0
    expected = "12.34 % ababab 007    1 1024 012 [1, 2] 3"
    assert Path("results.md").read_text(encoding="utf-8") == expected
