"""``cifar-tune serve`` in a process of its own, and ways to ask it."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import requests
from processes import Runner

SECONDS = 120.0


class Served:
    """A service; within ``with``, it is ended after.

    Args:
        folder: to run in, with its database ``s.db``.
        names: of the studies that it runs first.
    """

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        arguments = ("serve", *names, "--port", "0", "--workers", "inline", "--storage", "s.db")
        self.runner = Runner(folder, *arguments)
        assert self.runner.wait_for_line("Ctrl-C stops it"), self.runner.text
        found = re.search(r"http://127\.0\.0\.1:\d+", self.runner.text)
        assert found is not None
        self.url = found.group()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.send(signal.SIGTERM)
        assert self.runner.end() == 0

    def post(self, path: str, **fields: str) -> requests.Response:
        """Send a form as a page of the service does."""
        origin = {"Origin": self.url}
        return requests.post(f"{self.url}{path}", fields, headers=origin, timeout=SECONDS)

    def get(self, path: str) -> str:
        """The text of a page."""
        answer = requests.get(f"{self.url}{path}", timeout=SECONDS)
        assert answer.ok, answer.text
        return answer.text

    def wait_for(self, part: str) -> None:
        """Wait for a line of what it prints."""
        assert self.runner.wait_for_line(part), self.runner.text

    def wait_until(self, part: str) -> None:
        """Wait until the page says something of what goes on."""
        assert self.runner.wait_for(lambda: part in self.get("/queue/now"), SECONDS)
