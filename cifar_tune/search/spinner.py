"""Says on a terminal what is waited for; nothing that takes time to load is imported before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rich.live import Live


class Spinner:
    """Shows on a terminal what is waited for. What is printed meanwhile stands above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def __enter__(self) -> Spinner:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def show(self, text: str) -> None:
        """Show a text, in place of the one before; standard error is left to messages."""
        if not self._console.is_terminal or self._console.stderr or self._console.quiet:
            return
        from rich import live, spinner

        shown = spinner.Spinner("dots", Text(text), style="green")
        if self._live is None:
            self._live = live.Live(
                shown, console=self._console, transient=True, refresh_per_second=8
            )
            self._live.start(refresh=True)  # at once: to load a library may keep other threads out
        else:
            self._live.update(shown, refresh=True)

    def stop(self) -> None:
        """Take the text away."""
        if self._live is not None:
            self._live.stop()
            self._live = None
