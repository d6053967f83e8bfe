"""The command ``cifar-tune bench``."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from cifar_tune.cli.console import make_console, print_json
from cifar_tune.errors import InputError

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from cifar_tune.benchmarks.cases import CaseResult
    from cifar_tune.benchmarks.lanes import Way
    from cifar_tune.benchmarks.study import StudyResult

STUDY = "study"


def bench(rounds: int, device_name: str | None, only: Sequence[str], *, as_json: bool) -> None:
    """Time the plain loop, the tuned plain loop and ours, in turn, and print all."""
    from cifar_tune.benchmarks.cases import list_cases, time_case
    from cifar_tune.benchmarks.plain_loop import software_line
    from cifar_tune.training.device import choose_device, describe_device

    device = choose_device(device_name)
    cases = list_cases(device)
    known = [*(case.name for case in cases), STUDY]
    for name in only:
        if name not in known:
            raise InputError(f"--only {name}: expected one of {', '.join(known)}")
    console = make_console(to_stderr=as_json)
    console.print(f"{describe_device(device)}; {software_line()}")
    results = []
    for case in cases:
        if not only or case.name in only:
            results.append(time_case(case, device, rounds, _tell(console)))
    studies = []
    if not only or STUDY in only:
        studies = [_compare_study(device, seed, console) for seed in range(rounds)]
    if as_json:
        shown = [_case_record(result) for result in results]
        record: dict[str, Any] = {"device": describe_device(device), "cases": shown}
        print_json({**record, "study": _study_record(studies) if studies else None})
        return
    if results:
        console.print(_make_table(results))
    for study in studies:
        console.print(_study_line(study))
    if studies:
        console.print(f"Studies: ratio {_spread([study.ratio for study in studies])}.")


def _tell(console: Console) -> Any:
    def told(case: str, way: str, seconds: float) -> None:
        console.print(f"  {case:<14}{way:<6}{seconds:9.3f} s")

    return told


def _study_line(study: StudyResult) -> str:
    given_up = "" if study.is_reached else " without reaching it"
    return (
        f"Study dropout:quick to a validation accuracy of {100 * study.target:.1f} %: ours "
        f"{study.ours_seconds:.0f} s; plain Optuna and the plain loop {len(study.plain)} trials in "
        f"{study.plain_seconds:.0f} s{given_up}; ratio {'' if study.is_reached else '> '}"
        f"{study.ratio:.1f}."
    )


def _compare_study(device: torch.device, seed: int, console: Console) -> StudyResult:
    from cifar_tune.benchmarks.study import compare_study

    def told(whose: str, seconds: float, accuracy: float) -> None:
        console.print(f"  study         {whose:<6}{seconds:9.1f} s  {100 * accuracy:.1f} %")

    return compare_study("dropout", device, seed, told)


def _make_table(results: Sequence[CaseResult]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("case")
    for heading in ("plain", "tuned", "ours", "ours / plain", "ours / tuned", "peak", "memory"):
        table.add_column(heading, justify="right")
    for result in results:
        rates = [
            f"{result.ways[way].images_per_second:,.0f}/s" if way in result.ways else "-"
            for way in ("plain", "tuned", "ours")
        ]
        ratios = [
            _spread(result.ratios(way)) if way in result.ways else "-" for way in ("plain", "tuned")
        ]
        ours = result.ways["ours"]
        share = f"{100 * ours.peak_share:.0f} % {result.precision}"
        table.add_row(result.case.title, *rates, *ratios, share, f"{ours.peak_bytes / 1e9:.1f} GB")
    return table


def _spread(ratios: Sequence[float]) -> str:
    digits = 1 if statistics.median(ratios) >= 10 else 2
    low, middle, high = (
        f"{value:.{digits}f}" for value in (min(ratios), statistics.median(ratios), max(ratios))
    )
    return f"{middle} ({low} to {high})"


def _case_record(result: CaseResult) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": result.case.name,
        "title": result.case.title,
        "images": result.case.config.train_images,
        "batch_size": result.case.config.batch_size,
        "precision": result.precision,
    }
    prefixes = {"plain": "plain", "tuned": "tuned_plain", "ours": "ours"}
    found = {prefixes[way]: timed for way, timed in result.ways.items()}
    for prefix in prefixes.values():
        timed = found.get(prefix)
        figures = {
            "images_per_second": timed and timed.images_per_second,
            "seconds": timed and list(timed.seconds),
            "share_of_peak": timed and timed.peak_share,
            "peak_bytes": timed and timed.peak_bytes,
            "startup_seconds": timed and timed.startup_seconds,
        }
        record |= {f"{prefix}_{key}": value for key, value in figures.items()}
    keys: dict[Way, str] = {"plain": "ratio", "tuned": "ratio_tuned"}
    for way, key in keys.items():
        ratios = result.ratios(way) if way in result.ways else None
        record[key] = ratios and statistics.median(ratios)
        record[f"{key}s"] = ratios and list(ratios)
    return record


def _study_record(studies: Sequence[StudyResult]) -> dict[str, Any]:
    ratios = [study.ratio for study in studies]
    rounds = [_round_record(study) for study in studies]
    return {"ratio": statistics.median(ratios), "ratios": ratios, "rounds": rounds}


def _round_record(study: StudyResult) -> dict[str, Any]:
    return {
        "target_val_accuracy": study.target,
        "plain_seconds": study.plain_seconds,
        "ours_seconds": study.ours_seconds,
        "ratio": study.ratio,
        "plain_reached_it": study.is_reached,
        "plain_trials": len(study.plain),
        "ours_trials": len(study.ours),
        "plain_best_val_accuracy": max(accuracy for _, accuracy in study.plain),
    }
