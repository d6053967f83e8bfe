"""How often the time of a study lies within the range that its run printed before it began.

Run as ``python tests/support/plan_times.py --runs 20``; prints a line a run and their count.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time

import click

from cifar_tune.search.budget import parse_duration

STUDIES = ("dropout", "transfer", "freeze-depth", "learning-rate", "augmentation")
EXPECTED = re.compile(r"^time +about (.+) \((.+) to (.+)\)")


def time_run(study: str, options: list[str], folder: str) -> tuple[float, float, float, float]:
    """Run a study; return what was expected, the least, the most, and what it took, in seconds."""
    command = [sys.executable, "-u", "-m", "cifar_tune", "study", "run", study, *options]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        planned: list[float] = []
        start = time.monotonic()
        for line in process.stdout:
            match = EXPECTED.search(line)
            if match is not None:
                start = time.monotonic()
                planned = [parse_duration(text.replace(" ", "")) for text in match.groups()]
    taken = time.monotonic() - start
    assert process.returncode == 0, command
    expected, least, most = planned
    return expected, least, most, taken


def main() -> None:
    """Run studies of the quick profile in turn, each in a new folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--trials", default="2", help="sampled trials of a study that searches")
    parser.add_argument(
        "--epochs", default=None, help="epochs of a trial; by default the profile's"
    )
    arguments = parser.parse_args()
    within = 0
    for number in range(arguments.runs):
        study = STUDIES[number % len(STUDIES)]
        options = ["--profile", "quick"]
        options += ["--trials", arguments.trials] * (study != "transfer")
        options += ["--epochs", arguments.epochs] * (arguments.epochs is not None)
        with tempfile.TemporaryDirectory() as folder:
            expected, least, most, taken = time_run(study, options, folder)
        is_within = least <= taken <= most
        within += is_within
        outcome = "" if is_within else "  outside"
        click.echo(
            f"{study:14} expected {expected:4.0f} s, {least:4.0f} to {most:4.0f} s; "
            f"took {taken:4.0f} s = {taken / expected:.2f} of it{outcome}"
        )
    click.echo(f"{within} of {arguments.runs} within the range")


if __name__ == "__main__":
    main()
