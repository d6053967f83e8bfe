"""Calls commands with wrong inputs, for the fuzzer of all readers."""

from __future__ import annotations

import random
import re
import traceback
from pathlib import Path

from command_line import Answer, Cli

COMMANDS_A_TERMINAL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Attacker:
    """Calls commands with wrong inputs, and takes down what must not happen."""

    def __init__(self, cli: Cli, folder: Path, source: random.Random) -> None:
        self.cli = cli
        self.folder = folder
        self.source = source
        self.faults: list[str] = []

    def call(self, *arguments: str) -> Answer | None:
        """Call a command, which may refuse; None where it did not end as it must."""
        try:
            answer = self.cli(*arguments)
        except BaseException as error:  # also what is none of Exception's, such as pytest's own
            if isinstance(error, KeyboardInterrupt):
                raise
            self.add("traceback", arguments, "".join(traceback.format_exception(error)[-4:]))
            return None
        printed = answer.out + answer.err
        if "Traceback" in printed:
            self.add("traceback", arguments, printed)
        if COMMANDS_A_TERMINAL.search(printed):
            self.add("escape", arguments, ascii(printed))
        if answer.code not in (0, 1, 2):
            self.add(f"exit code {answer.code}", arguments, printed)
        return answer

    def add(self, kind: str, what: object, detail: str) -> None:
        self.faults.append(f"{kind}: {what!r:.300}\n{detail[-1500:]}")

    def check_outside(self) -> None:
        """Look for files beside the folder that commands were called in."""
        allowed = set(self.folder.parents) | {self.folder}
        for path in self.folder.parents[2].rglob("*"):
            if self.folder not in path.parents and path not in allowed:
                self.add("outside", str(path), "")
