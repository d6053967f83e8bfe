"""The command line of ``cifar-tune dashboard``; see ``cli``."""

from __future__ import annotations

from typing import Any

import click

from cifar_tune.options import options

_SERVED = ("host", "port", "token", "read-only", "open")


@click.command("dashboard", epilog="Example: cifar-tune dashboard --open")
@options("storage", *_SERVED)
def dashboard(storage: str | None, **given: Any) -> None:
    """Show stored studies in the browser with optuna-dashboard, also while they run.

    Other machines reach it with --host 0.0.0.0; then it needs a token, and is read-only unless
    --read-write is given. Ctrl-C stops it.
    """
    from cifar_tune.commands import dashboard as dashboard_commands

    dashboard_commands.show_dashboard(storage, dashboard_commands.ServerOptions(**given))
