"""``cifar-tune`` in processes of its own, to be killed, and a study file for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

NAMES, SEEDS, KEEP_BEST = ("kill/p=0.1", "kill/p=0.3", "kill/p=0.5"), 2, 2
LEAVE_SECONDS = 60.0

CLI = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)  # what follows is this script's, not the product's
from cifar_tune.search import costs
costs.MEASURE_SECONDS = costs.STEP_SECONDS_MOST = 0.1
from cifar_tune.cli.app import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
"""The command line, without the seconds of measuring for the plan."""

STUDY = """
title = "Killed at random moments"
description = "Tiny trials of one epoch."

[space.dropout_rate]
low = 0.0
high = 0.6

[space.learning_rate]
low = 1e-4
high = 1e-2
log = true

{named}
[profiles.quick]
description = "real images, as few as make a trial of a second or two"
seeds = {seeds}
trials = {trials}
keep_weights = "named"
keep_best = {keep_best}
sampler = {{ name = "random" }}
pruner = {{ name = "none" }}

[profiles.quick.protocol]
data = "bundled"
split = "fixed"
train_images = 96
validation_images = 200
input_size = 32
normalize_mean = [0.485, 0.456, 0.406]
normalize_std = [0.229, 0.224, 0.225]
augment_validation = false
weights = "none"
head = "dropout"
freeze_depth = 0
frozen_batch_norm = "batch"
augmentation_strength = 1.0
batch_size = 32
epochs = {epochs}
cosine_t_max = 200
"""
NAMED = """[[named]]
name = "{name}"
params = {{ dropout_rate = {rate}, learning_rate = 0.001 }}
"""


def write_study(
    path: Path,
    trials: int,
    epochs: int = 1,
    names: Sequence[str] = NAMES,
    keep_best: int = KEEP_BEST,
) -> None:
    """Write a study file with the random sampler and no pruner.

    Args:
        trials: how many are sampled, besides the named ones.
        names: of the named trials, each with its dropout rate.
    """
    named = "\n".join(NAMED.format(name=one, rate=one.partition("=")[2]) for one in names)
    text = STUDY.format(named=named, seeds=SEEDS, trials=trials, keep_best=keep_best, epochs=epochs)
    path.write_text(text, encoding="utf-8")


def named_trials() -> set[str]:
    """The full names of the study's named trials."""
    return {f"{name}/seed={k}" for name in NAMES for k in range(1, SEEDS + 1)}


_RUNNERS: list[Runner] = []


class Runner:
    """A ``cifar-tune`` process, with what it has printed so far.

    Args:
        folder: to run in.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        clean = {key: value for key, value in os.environ.items() if "CIFAR_TUNE" not in key}
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLI, *arguments],
            cwd=folder,
            env={
                **clean,
                "CIFAR_TUNE_DATA": str(folder / "no-data"),
                "CIFAR_TUNE_PRECISION": "fp32",  # as for commands in this process
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a Ctrl-C meant for this script is not its Ctrl-C
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        _RUNNERS.append(self)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def text(self) -> str:
        """All that it printed."""
        return "\n".join(self.lines)

    def is_running(self) -> bool:
        """Whether the process lives."""
        return self.process.poll() is None

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for something; False if the process ended before, or the time was up."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.is_running():
            if condition():
                return True
            time.sleep(0.01)
        return condition()

    def wait_for_line(self, part: str, seconds: float = 120.0) -> bool:
        """Wait until a line with ``part`` in it is printed."""
        return self.wait_for(lambda: part in self.text, seconds)

    def workers(self) -> list[psutil.Process]:
        """The processes that train, local ones or Ray's."""
        try:
            below = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [one for one in below if _is_worker(one)]

    def send(self, one: signal.Signals) -> None:
        """Send a signal to the runner alone."""
        self.process.send_signal(one)

    def end(self, seconds: float = LEAVE_SECONDS) -> int:
        """Wait for the end; the exit code. One that does not end is killed, and that is an error.

        Raises:
            TimeoutError: it did not end.
        """
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            self.process.kill()
            raise TimeoutError(f"did not end within {seconds:g} s:\n{self.text}") from error
        self._reader.join(5.0)  # workers that outlive it a moment hold the pipe
        return code


def _is_worker(process: psutil.Process) -> bool:
    try:
        command, parent = " ".join(process.cmdline()), process.parent()
        # The process that workers are forked from has the command line that they have.
        is_forked = parent is not None and parent.cmdline() == process.cmdline()
    except psutil.Error:
        return False
    is_local = "multiprocessing.forkserver" in command and is_forked
    return is_local or (command.startswith("ray::") and "IDLE" not in command)


def kill_process(process: psutil.Process) -> None:
    """SIGKILL, to a process that may have ended already."""
    with suppress(psutil.NoSuchProcess):
        process.kill()


def kill_all() -> None:
    """End all runners that were begun in this process, and with them their workers."""
    for runner in _RUNNERS:
        runner.process.kill()
        runner.process.wait()
    _RUNNERS.clear()


def are_gone(processes: Iterable[psutil.Process], seconds: float) -> bool:
    """Whether processes end within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(map(_lives, processes)):
            return True
        time.sleep(0.02)
    return False


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
