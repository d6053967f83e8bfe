"""The command line of ``dashboard``, ``serve`` and ``study queue``; see ``cli``."""

from __future__ import annotations

from typing import Any

import click

from cifar_tune.cli.options import options

_SERVED = ("host", "port", "token", "read-only", "open")


@click.command("dashboard", epilog="Example: cifar-tune dashboard --open")
@options("storage", *_SERVED)
def dashboard(storage: str | None, **given: Any) -> None:
    """Show stored studies in the browser with optuna-dashboard, also while they run.

    Other machines reach it with --host 0.0.0.0; then it needs a token, and is read-only unless
    --read-write is given. Ctrl-C stops it.
    """
    from cifar_tune.cli.commands import dashboard as dashboard_commands

    dashboard_commands.show_dashboard(storage, dashboard_commands.ServerOptions(**given))


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
    from cifar_tune.cli import queue as queue_commands

    queue_commands.queue_trial(name, queue_commands.QueueOptions(**given))


@click.command("serve", epilog="Example: cifar-tune serve transfer dropout --open")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@options(
    "profile",
    "seeds",
    "device",
    "workers",
    "per-gpu",
    "slots",
    "precision",
    "storage",
    "data-dir",
    *_SERVED,
)
def serve(names: tuple[str, ...], **given: Any) -> None:
    """Show studies in the browser, and run what is queued, in one process that stays.

    NAME is the name of a study file or its path: these studies are run first, one after another.
    Trials and studies are queued at /queue in the browser or by `cifar-tune study queue`. What was
    queued outlives the process: the same command goes on. Ctrl-C stops it.
    """
    from cifar_tune.cli import execution
    from cifar_tune.cli.commands import dashboard as dashboard_commands
    from cifar_tune.cli.commands import serve as serve_commands

    served = {key: given.pop(key) for key in ("host", "port", "token", "is_read_only", "opens")}
    serve_commands.serve(
        names,
        dashboard_commands.ServerOptions(**served),
        execution.StudyOptions(**given),
    )
