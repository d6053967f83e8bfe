"""A whole study against plain Optuna and the plain loop, to the same best validation accuracy."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch

from cifar_tune.benchmarks.plain_loop import PlainLoop
from cifar_tune.benchmarks.process import BenchProcess
from cifar_tune.config.seeds import derive_seed
from cifar_tune.config.study_file import load_study_file, resolve
from cifar_tune.data.search_data import load_search_data
from cifar_tune.errors import DeviceError
from cifar_tune.search.samplers import distributions
from cifar_tune.storage import studies as stored
from cifar_tune.storage.location import locate_storage

PROFILE = "quick"
MOST_TIMES = 3
"""As many trials as ours has a plain search, until it gives up."""

Ended = tuple[float, float]
"""The end of a trial: seconds from the start of the study, and its accuracy."""
OnTrial = Callable[[str, float, float], None]
"""Is told whose trial ended, after how many seconds, with which accuracy."""


@dataclass(frozen=True)
class StudyResult:
    """Two searches of one space with one protocol.

    Attributes:
        target: The validation accuracy to reach, the best of ours.
        plain_seconds: The seconds of the plain search to the first trial that reached the target,
            or to its last one.
        ours_seconds: The seconds of ours to the first trial that reached it.
        is_reached: Whether the plain search reached it.
        plain: The plain search's trials, in the order in which they ended; ``ours`` likewise.
    """

    target: float
    plain_seconds: float
    ours_seconds: float
    is_reached: bool
    plain: tuple[Ended, ...]
    ours: tuple[Ended, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a JSON object shows it."""
        return {
            "target_val_accuracy": self.target,
            "plain_seconds": self.plain_seconds,
            "ours_seconds": self.ours_seconds,
            "ratio": self.ratio,
            "plain_reached_it": self.is_reached,
            "plain_trials": len(self.plain),
            "ours_trials": len(self.ours),
            "plain_best_val_accuracy": max(accuracy for _, accuracy in self.plain),
        }

    @property
    def ratio(self) -> float:
        """Above 1 ours is faster; where the plain search gave up, it is at least so much."""
        return self.plain_seconds / self.ours_seconds


def compare_study(name: str, device: torch.device, seed: int, on_trial: OnTrial) -> StudyResult:
    """Run the quick profile of a study, then plain Optuna with the plain loop until it is as good.

    Plain Optuna is a study as it comes: its default sampler and pruner, one trial after
    another, until one is as good as the best of ours or there were three times as many. Both have
    a process of their own, whose start counts. The study file has no pretrained weights; ``seed``
    is that of both searches.

    Raises:
        DeviceError: One of the two failed.
    """
    ours = _run_ours(name, device, seed)
    for seconds, accuracy in ours:
        on_trial("ours", seconds, accuracy)
    target = max(accuracy for _, accuracy in ours)
    plain = _run_plain(name, target, MOST_TIMES * len(ours), device, seed, on_trial)
    ours_seconds = next(seconds for seconds, accuracy in ours if accuracy >= target)
    plain_seconds, last_accuracy = plain[-1]
    is_reached = last_accuracy >= target
    return StudyResult(target, plain_seconds, ours_seconds, is_reached, tuple(plain), tuple(ours))


def _run_ours(name: str, device: torch.device, seed: int) -> list[Ended]:
    """Run the study and return all of its trials, pruned ones too."""
    with tempfile.TemporaryDirectory(prefix="cifar-tune-bench-") as folder:
        database = Path(folder) / "bench.db"
        options = ["--profile", PROFILE, "--device", str(device), "--seed", str(seed)]
        options += ["--storage", str(database), "--json"]
        command = [sys.executable, "-m", "cifar_tune", "study", "run", name, *options]
        begun = time.time()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise DeviceError(f"bench: {' '.join(command)} failed: {done.stderr[-2000:]}")
        study_name = json.loads(done.stdout)["study_name"]
        location = locate_storage(str(database))
        trials = stored.open_study(location, study_name)[1].get_trials(deepcopy=False)
    return sorted(
        (trial.datetime_complete.timestamp() - begun, trial.intermediate_values[trial.last_step])
        for trial in trials
        if trial.datetime_complete is not None and trial.last_step is not None
    )


def _run_plain(
    name: str, target: float, trials: int, device: torch.device, seed: int, on_trial: OnTrial
) -> list[Ended]:
    """Run plain trials until one reaches the target, at most so many."""
    begun = time.time()
    ended: list[Ended] = []
    with closing(BenchProcess("the plain study", PlainSearch, name, str(device), seed)) as process:
        while len(ended) < trials and (not ended or ended[-1][1] < target):
            moment, accuracy = process.call("run_trial")
            ended.append((moment - begun, accuracy))
            on_trial("plain", *ended[-1])
    return ended


class PlainSearch:
    """The same space, searched as a user of Optuna and torchvision would."""

    def __init__(self, name: str, device_name: str, seed: int) -> None:
        self._spec = resolve(load_study_file(name), PROFILE)
        self._data = load_search_data(self._spec.protocol.data, Path())
        self._device, self._seed = torch.device(device_name), seed
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=seed)  # Optuna's default, with a seed
        self._study = optuna.create_study(direction="maximize", sampler=sampler)

    def run_trial(self) -> Ended:
        """Return the moment (Unix time) at which another trial ended, and its accuracy."""
        trial = self._study.ask(dict(distributions(self._spec.space)))
        seed = derive_seed(self._seed, "plain", trial.number)
        config = self._spec.config(trial.params, seed=seed)
        split = self._data.split(config)
        loop = PlainLoop(split.train.copy(), config, None, self._device)
        accuracy = 0.0
        for epoch in range(1, config.epochs + 1):
            loop.train_epoch()
            accuracy = loop.accuracy(split.validation.copy())
            trial.report(accuracy, epoch)
            if epoch < config.epochs and trial.should_prune():
                self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            self._study.tell(trial, accuracy)
        return time.time(), accuracy
