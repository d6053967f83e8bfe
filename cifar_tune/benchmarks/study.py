"""A whole study against plain Optuna and the plain loop, to the same best validation accuracy."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch

from cifar_tune.benchmarks.plain_loop import PlainLoop
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
"""Of a complete trial: seconds from the start of the study to its end, and its accuracy."""


@dataclass(frozen=True)
class StudyResult:
    """Two searches of one space with one protocol.

    Attributes:
        target: validation accuracy, the best of ours.
        plain_seconds, ours_seconds: from the start to the first trial that reached it; of the plain
            search, if none did, to its last one.
        is_reached: whether the plain search did.
        plain, ours: their trials, in the order in which they ended.
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


def compare_study(
    name: str, device: torch.device, seed: int, on_trial: Callable[[str, float, float], None]
) -> StudyResult:
    """Run the quick profile of a study, then plain Optuna with the plain loop until it is as good.

    Plain Optuna is a study as it comes: its default sampler and pruner, one trial after
    another, until one is as good as the best of ours or there were three times as many. Both have
    a process of their own, whose start counts.

    Args:
        name: of a study file or its path; one without pretrained weights.
        seed: of both searches.
        on_trial: told whose trial ended, after how many seconds, with which accuracy.

    Raises:
        DeviceError: one of the two failed.
    """
    ours = _run_ours(name, device, seed)
    for one in ours:
        on_trial("ours", *one)
    target = max(accuracy for _, accuracy in ours)
    plain = _run_plain(name, target, MOST_TIMES * len(ours), device, seed, on_trial)
    ours_seconds = next(seconds for seconds, accuracy in ours if accuracy >= target)
    plain_seconds, last_accuracy = plain[-1]
    is_reached = last_accuracy >= target
    return StudyResult(target, plain_seconds, ours_seconds, is_reached, tuple(plain), tuple(ours))


def _run_ours(name: str, device: torch.device, seed: int) -> list[Ended]:
    """All trials of the study, pruned ones too."""
    with tempfile.TemporaryDirectory(prefix="cifar-tune-bench-") as folder:
        database = Path(folder) / "bench.db"
        given = ["--profile", PROFILE, "--device", str(device), "--seed", str(seed)]
        given += ["--storage", str(database), "--json"]
        command = [sys.executable, "-m", "cifar_tune", "study", "run", name, *given]
        begun = time.time()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise DeviceError(f"bench: {' '.join(command)} failed: {done.stderr[-2000:]}")
        study_name = json.loads(done.stdout)["study_name"]
        trials = _ended_trials(database, study_name)
    ended = [
        (one.datetime_complete.timestamp() - begun, one.intermediate_values[one.last_step])
        for one in trials
        if one.datetime_complete is not None and one.last_step is not None
    ]
    return sorted(ended)


def _ended_trials(database: Path, study_name: str) -> list[optuna.trial.FrozenTrial]:
    study = stored.find_study(stored.open_to_read(locate_storage(str(database))), study_name)
    assert study is not None, "it was stored just now"
    return study.get_trials(deepcopy=False)


def _run_plain(
    name: str,
    target: float,
    trials: int,
    device: torch.device,
    seed: int,
    on_trial: Callable[[str, float, float], None],
) -> list[Ended]:
    """Trials until one reaches the target, at most so many."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_search_plainly, args=(theirs, name, trials, str(device), seed)
    )
    begun = time.time()
    process.start()
    theirs.close()
    ended: list[Ended] = []
    try:
        while len(ended) < trials and (not ended or ended[-1][1] < target):
            moment, accuracy = ours.recv()
            ended.append((moment - begun, accuracy))
            on_trial("plain", *ended[-1])
    except EOFError:
        raise DeviceError("bench: the plain study ended (out of memory?)") from None
    finally:
        process.kill()
        process.join()
    return ended


def _search_plainly(line: Any, name: str, trials: int, device_name: str, seed: int) -> None:
    """Search the same space as a user of Optuna and torchvision would."""
    spec = resolve(load_study_file(name), PROFILE)
    data = load_search_data(spec.protocol.data, Path())
    space = dict(distributions(spec.space))

    def train(trial: optuna.Trial) -> float:
        config = spec.config(trial.params, seed=derive_seed(seed, "plain", trial.number))
        split = data.split(config)
        loop = PlainLoop(split.train.copy(), config, None, torch.device(device_name))
        accuracy = 0.0
        for epoch in range(1, config.epochs + 1):
            loop.train_epoch()
            accuracy = loop.accuracy(split.validation.copy())
            trial.report(accuracy, epoch)
            if epoch < config.epochs and trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, accuracy)
        return accuracy

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed)  # Optuna's default, with a seed
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(trials):
        accuracy = train(study.ask(space))
        line.send((time.time(), accuracy))
    line.recv()  # until the other end is closed
