"""The command ``cifar-tune calibrate``."""

from __future__ import annotations

import dataclasses

from rich.box import SIMPLE_HEAD
from rich.progress import track
from rich.table import Table

from cifar_tune.cli.console import make_console, print_json
from cifar_tune.evaluation.calibration import FIGURES, Rate
from cifar_tune.evaluation.calibration import calibrate as simulate_and_count


def calibrate(rounds: int, *, as_json: bool) -> int:
    """Print how often intervals and verdicts are right; 1 if a figure is not what it should be."""
    stderr = make_console(to_stderr=True)
    rates = list(
        track(
            simulate_and_count(rounds), "simulating", total=FIGURES, console=stderr, transient=True
        )
    )
    if as_json:
        figures = [{**dataclasses.asdict(rate), "holds": rate.holds} for rate in rates]
        print_json({"rounds": rounds, "figures": figures})
    else:
        make_console().print(_table(rates))
        make_console().print(
            f"{rounds} simulated studies for each figure; ± is its binomial standard error. "
            "A figure holds if it is within what it should be, give or take three of them."
        )
    return 0 if all(rate.holds for rate in rates) else 1


def _table(rates: list[Rate]) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", show_edge=False)
    for name in ("what", "where"):
        table.add_column(name)
    for name in ("claims", "seeds", "measured", "should be", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for rate in rates:
        wanted = f"{100 * rate.low:.0f} to {100 * rate.high:.0f} %"
        if rate.low == 0:
            wanted = f"at most {100 * rate.high:.0f} %"
        elif rate.high == 1:
            wanted = f"at least {100 * rate.low:.0f} %"
        table.add_row(
            rate.what,
            rate.world,
            str(rate.family),
            str(rate.seeds),
            f"{100 * rate.rate:.1f} % ± {100 * rate.error:.1f}",
            wanted,
            "holds" if rate.holds else "does not hold",
            style="" if rate.holds else "red",
        )
    return table
