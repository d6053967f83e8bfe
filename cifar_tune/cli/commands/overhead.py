"""The command ``cifar-tune overhead``."""

from __future__ import annotations

import dataclasses

from cifar_tune.cli.console import make_console, print_json


def overhead(finished: int, trials: int, *, as_json: bool) -> None:
    """Measure what the runner itself costs and print it."""
    from cifar_tune.benchmarks.overhead import EPOCHS, measure_overhead

    console = make_console(to_stderr=as_json)
    found = measure_overhead(finished, trials, console.print)
    if as_json:
        print_json(dataclasses.asdict(found))
        return
    console.print(
        f"With {found.finished:,} finished trials in SQLite, over {found.trials} trials:\n"
        f"  an epoch (report, prune, progress)  median {found.epoch_median:.1f} ms, "
        f"90th percentile {found.epoch_high:.1f} ms\n"
        f"  a trial (ask, record, tell)         median {found.trial_median:.1f} ms, "
        f"90th percentile {found.trial_high:.1f} ms\n"
        f"  all of it                           {found.mean_per_epoch:.1f} ms for each epoch\n"
        f"That is {100 * found.share:.2f} % of a trial of {EPOCHS} epochs of one second."
    )
