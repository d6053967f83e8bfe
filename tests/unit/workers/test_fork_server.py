"""Processes that are started from a script do not run the script again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import multiprocessing
import os
from cifar_tune.workers.local.fork_server import hidden_main_module

print("begun", flush=True)
process = multiprocessing.get_context("spawn").Process(target=os.getpid)
with hidden_main_module():
    process.start()
process.join()
print(process.exitcode, __name__)
"""


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("begun\n0 __main__\n", "")
