"""The commands that measure: ``cifar-tune bench``, ``overhead`` and ``calibrate``."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from cifar_tune.cli.console import (
    LOADING,
    make_console,
    make_table,
    print_json,
)
from cifar_tune.cli.help import command
from cifar_tune.cli.options import number_option, options
from cifar_tune.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from cifar_tune.benchmarks.cases import CaseResult
    from cifar_tune.benchmarks.study import StudyResult
    from cifar_tune.evaluation.calibration import Rate

STUDY = "study"


# --- speed --------------------------------------------------------------------------------------


@command("bench", waits_for=LOADING, epilog="Example: cifar-tune bench --only scratch --rounds 5")
@number_option("--rounds", "Epochs of each case, and whole studies.", default=3)
@click.option(
    "--only",
    multiple=True,
    metavar="CASE",
    help="Only this case: scratch, finetune, layer1-frozen, all-frozen, augmented-224, at-once or "
    "study. May be repeated.",
)
@options("device", "json")
def bench(rounds: int, only: tuple[str, ...], device: str | None, as_json: bool) -> None:
    """Time training against a plain and a tuned PyTorch loop.

    All are timed in turn on this machine. The plain loop is as the course assignment trained:
    DataLoader, PIL transforms, Adam, fp32. The tuned one has loader workers, channels-last memory
    and torch.compile besides. Last, a whole study against plain Optuna and the plain loop. All of
    it takes about an hour on two cores.
    """
    from cifar_tune.benchmarks.cases import list_cases, time_case
    from cifar_tune.benchmarks.plain_loop import software_line
    from cifar_tune.benchmarks.study import compare_study
    from cifar_tune.training.device import choose_device, describe_device

    chosen = choose_device(device)
    cases = list_cases(chosen)
    known = [*(case.name for case in cases), STUDY]
    for name in only:
        if name not in known:
            raise InputError(f"--only {name}: expected one of {', '.join(known)}")
    console = make_console(to_stderr=as_json)
    console.print(f"{describe_device(chosen)}; {software_line()}")

    def print_epoch(case: str, way: str, seconds: float) -> None:
        console.print(f"  {case:<14}{way:<6}{seconds:9.3f} s")

    def print_trial(whose: str, seconds: float, accuracy: float) -> None:
        console.print(f"  {STUDY:<14}{whose:<6}{seconds:9.1f} s  {100 * accuracy:.1f} %")

    wanted = only or known
    results = [
        time_case(case, chosen, rounds, print_epoch) for case in cases if case.name in wanted
    ]
    seeds = range(rounds if STUDY in wanted else 0)
    studies = [compare_study("dropout", chosen, seed, print_trial) for seed in seeds]
    if as_json:
        timed = [result.to_dict() for result in results]
        summary = _summarize_studies(studies) if studies else None
        print_json({"device": describe_device(chosen), "cases": timed, "study": summary})
    else:
        _print_bench(console, results, studies)


def _summarize_studies(studies: Sequence[StudyResult]) -> dict[str, object]:
    ratios = [study.ratio for study in studies]
    rounds = [study.to_dict() for study in studies]
    return {"ratio": statistics.median(ratios), "ratios": ratios, "rounds": rounds}


def _print_bench(
    console: Console, results: Sequence[CaseResult], studies: Sequence[StudyResult]
) -> None:
    if results:
        console.print(_make_speed_table(results))
    for study in studies:
        reached = "" if study.is_reached else " without reaching it"
        console.print(
            f"Study dropout:quick to a validation accuracy of {100 * study.target:.1f} %: ours "
            f"{study.ours_seconds:.0f} s; plain Optuna and the plain loop {len(study.plain)} "
            f"trials in {study.plain_seconds:.0f} s{reached}; ratio "
            f"{'' if study.is_reached else '> '}{study.ratio:.1f}."
        )
    if studies:
        console.print(f"Studies: ratio {_format_spread([study.ratio for study in studies])}.")


def _make_speed_table(results: Sequence[CaseResult]) -> Table:
    headings = ("case", "plain", "tuned", "ours", "ours / plain", "ours / tuned", "peak", "memory")
    table = make_table(*headings, box=None, pad_edge=False, padding=(0, 1))
    for result in results:
        rates = [
            f"{result.ways[way].images_per_second:,.0f}/s" if way in result.ways else "-"
            for way in ("plain", "tuned", "ours")
        ]
        ratios = [
            _format_spread(result.ratios(way)) if way in result.ways else "-"
            for way in ("plain", "tuned")
        ]
        ours = result.ways["ours"]
        share = f"{100 * ours.share_of_peak:.0f} % {result.precision}"
        table.add_row(result.case.title, *rates, *ratios, share, f"{ours.peak_bytes / 1e9:.1f} GB")
    return table


def _format_spread(ratios: Sequence[float]) -> str:
    digits = 1 if statistics.median(ratios) >= 10 else 2
    low, middle, high = (
        f"{value:.{digits}f}" for value in (min(ratios), statistics.median(ratios), max(ratios))
    )
    return f"{middle} ({low} to {high})"


# --- what the runner itself costs ---------------------------------------------------------------


@command("overhead", waits_for=LOADING, epilog="Example: cifar-tune overhead --finished 5000")
@number_option("--finished", "Finished trials that the study has.", default=1000)
@number_option("--trials", "To be measured.", least=4, default=30)
@options("json")
def overhead(finished: int, trials: int, as_json: bool) -> None:
    """Measure the overhead of a study beside its training.

    That is asking, recording, pruning and telling. A temporary SQLite database is filled with
    finished trials, and a study is run on it whose workers train nothing.
    """
    from cifar_tune.benchmarks.overhead import EPOCHS, measure_overhead

    console = make_console(to_stderr=as_json)
    measured = measure_overhead(finished, trials, console.print)
    if as_json:
        print_json(dataclasses.asdict(measured))
        return
    console.print(
        f"With {measured.finished:,} finished trials in SQLite, over {measured.trials} trials:\n"
        f"  an epoch (report, prune, progress)  median {measured.epoch_median:.1f} ms, "
        f"90th percentile {measured.epoch_high:.1f} ms\n"
        f"  a trial (ask, record, tell)         median {measured.trial_median:.1f} ms, "
        f"90th percentile {measured.trial_high:.1f} ms\n"
        f"  all of it                           {measured.mean_per_epoch:.1f} ms for each epoch\n"
        f"That is {100 * measured.share:.2f} % of a trial of {EPOCHS} epochs of one second."
    )


# --- how often verdicts are right ---------------------------------------------------------------


@command("calibrate", waits_for=LOADING, epilog="Example: cifar-tune calibrate --rounds 200")
@number_option("--rounds", "Simulated studies for each figure.", least=20, default=200)
@options("json")
def calibrate(rounds: int, as_json: bool) -> None:
    """Simulate studies to see how often verdicts are right.

    Rankings are judged too. Ends with 1 if one of the figures is not what it should be.
    """
    from rich.progress import track

    from cifar_tune.evaluation.calibration import FIGURES
    from cifar_tune.evaluation.calibration import calibrate as simulate
    from cifar_tune.evaluation.calibration_of_ranking import RANKING_FIGURES, calibrate_ranking

    stderr, figures = make_console(to_stderr=True), FIGURES + RANKING_FIGURES
    simulated = itertools.chain(simulate(rounds), calibrate_ranking(rounds))
    rates = list(track(simulated, "simulating", total=figures, console=stderr, transient=True))
    if as_json:
        print_json({"rounds": rounds, "figures": [dataclasses.asdict(rate) for rate in rates]})
    else:
        make_console().print(_make_calibration_table(rates))
        make_console().print(
            f"{rounds} simulated studies for each figure; ± is its standard error. "
            "A figure holds if it is within what it should be, give or take three of them."
        )
    sys.exit(0 if all(rate.holds for rate in rates) else 1)


def _make_calibration_table(rates: Sequence[Rate]) -> Table:
    headings = ("claims", "seeds", "measured", "should be", "")
    figures = [Column(heading, justify="right", no_wrap=True) for heading in headings]
    table = Table("what", "where", *figures, box=SIMPLE_HEAD, header_style="bold", show_edge=False)
    for rate in rates:
        measured, wanted = _format_rate(rate)
        table.add_row(
            rate.what,
            rate.world,
            str(rate.family),
            str(rate.seeds),
            measured,
            wanted,
            "holds" if rate.holds else "does not hold",
            style="" if rate.holds else "red",
        )
    return table


def _format_rate(rate: Rate) -> tuple[str, str]:
    """Return what was measured and what it should be."""
    low, high = 100 * rate.low, 100 * rate.high
    if rate.unit == "points":
        measured = f"{100 * rate.rate:+.1f} ± {100 * rate.error:.1f} points"
        return measured, f"{low:+.1f} to {high:+.1f} points"
    measured = f"{100 * rate.rate:.1f} % ± {100 * rate.error:.1f}"
    if rate.low == 0:
        return measured, f"at most {high:g} %"
    return measured, f"at least {low:.0f} %" if rate.high == 1 else f"{low:.0f} to {high:.0f} %"
