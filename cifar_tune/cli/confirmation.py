"""Asks before a command does what cannot be undone."""

from __future__ import annotations

import sys

import click

from cifar_tune.cli.console import make_console
from cifar_tune.errors import InputError

yes_option = click.option(
    "--yes", "is_confirmed", is_flag=True, help="Do not ask; needed where there is no terminal."
)


def confirm(notice: str, question: str, command: str, *, is_confirmed: bool) -> None:
    """Return if the answer is yes, or was given with ``--yes``; otherwise end with 1.

    The notice is printed first in either case, on stderr, and so is the question.

    Raises:
        InputError: There is no terminal to ask at; the message begins with ``command``.
    """
    check_answerable(command, is_confirmed=is_confirmed)
    console = make_console(to_stderr=True)
    console.print(notice, soft_wrap=True)
    if not is_confirmed and not click.confirm(question, err=True):
        console.print("Nothing was done.")
        raise click.exceptions.Exit(1)


def check_answerable(command: str, *, is_confirmed: bool) -> None:
    """Check that a question was answered with ``--yes``, or that there is a terminal to ask at.

    Raises:
        InputError: Neither is so; the message begins with ``command``.
    """
    if not is_confirmed and not has_terminal():
        raise InputError(f"{command}: asks first, and there is no terminal; --yes confirms it")


def has_terminal() -> bool:
    """Return whether someone can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()
