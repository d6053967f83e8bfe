"""The command line of what people ask a runner for: ``study queue``."""

from __future__ import annotations

from typing import Any

import click

from cifar_tune.options import options


@click.command("queue", epilog="Example: cifar-tune study queue dropout --param dropout_rate=0.25")
@click.argument("name")
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="KEY=VALUE",
    help="Value of a searched hyperparameter; the sampler draws the others. May be repeated.",
)
@click.option("--cancel", type=int, metavar="ID", help="Cancel a request that waits.")
@options("profile", "epochs", "set", "seed", "device", "storage", "data-dir", "json")
def queue(name: str, **given: Any) -> None:
    """Queue a trial of a study, or print what is queued.

    NAME is the name of a study file or its path. Values are checked against the search space. A run
    of the study takes the trial up, at once if one is going on, and trains it to its end: nothing
    that was asked for is pruned. Without --param, what is queued is printed.
    """
    from cifar_tune.commands import queue as queue_commands

    queue_commands.queue_trial(name, queue_commands.QueueOptions(**given))
