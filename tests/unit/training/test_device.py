"""Freed memory is kept from step to step, and handed back after a measurement."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import psutil, torch
from cifar_tune.training.device import keep_freed_memory, return_freed_memory

def held():
    before = psutil.Process().memory_info().rss
    block = torch.ones(50_000_000)
    del block
    return (psutil.Process().memory_info().rss - before) // 1_000_000

keep_freed_memory()
print(held())
return_freed_memory()
print(held())
keep_freed_memory()
print(held())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_freed_memory_is_kept_until_it_is_handed_back() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    kept, handed_back, kept_again = map(int, run.stdout.split())
    assert kept > 150  # of 200 MB
    assert handed_back < 20
    assert kept_again > 150
