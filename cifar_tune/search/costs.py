"""Seconds that a step of training and of validation takes here, measured before a plan is made."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.cifar10 import CLASSES
from cifar_tune.data.loader import DeviceSplit
from cifar_tune.data.synthetic import config_for_noise, random_images
from cifar_tune.models.resnet import seed_dropouts
from cifar_tune.search.plan import Costs, StepTimes, example_config, find_ends
from cifar_tune.training.device import keep_freed_memory, return_freed_memory, torch_threads
from cifar_tune.training.network import TrainingNetwork
from cifar_tune.training.optimizer import make_optimizer
from cifar_tune.training.trainer import evaluate, train_epoch
from cifar_tune.training.weight_average import make_average
from cifar_tune.workers.kind import WorkerChoice, count_cores

MEASURE_SECONDS = 1.0
MEASURE_STEPS = 10
STEP_SECONDS_MOST = 1.0
FIRST_IMAGES = 8

Run = Callable[[int], float]


def measure_costs(spec: StudySpec, device: torch.device, workers: WorkerChoice) -> Costs:
    """Time the steps of a study's trials at the least and the greatest freeze depth they have.

    So it is done with the least and the greatest batch size where they differ.

    Trials that will share the processor of this machine share it here too: two that run at once
    take longer than one alone.
    """
    example = example_config(spec)
    shallow, deep = find_ends(spec, "freeze_depth")
    is_shared = device.type == "cpu" and workers.pool.has_processes_here
    at_once = workers.at_once if is_shared else 1
    least, most = find_ends(spec, "batch_size")
    with torch_threads(workers.threads):
        times = {
            (depth, size): measure_steps(
                replace(example, freeze_depth=depth, batch_size=size), device, at_once
            )
            for depth in {shallow, deep}
            for size in {least, most}
        }
    return_freed_memory()  # a trial that is trained in this process keeps it anew
    small, large = (
        Costs(shallow, times[shallow, size], deep, times[deep, size], size)
        for size in (least, most)
    )
    return large if least == most else replace(large, small=small)


def measure_steps(config: TrialConfig, device: torch.device, at_once: int = 1) -> StepTimes:
    """Time single training steps and validation batches, for a few seconds.

    Random images serve: how long a step takes does not depend on what they show. Where a full
    batch would take too long it is measured with fewer images and scaled up. More trials at once
    than there are cores are taken to wait for one another.
    """
    keep_freed_memory()
    measured = min(at_once, count_cores())
    with ThreadPoolExecutor(measured) as threads:
        times = list(threads.map(lambda _: _measure_alone(config, device), range(measured)))
    training = [seconds for steps, _ in times for seconds in steps]
    validation = [seconds for _, batches in times for seconds in batches]
    waiting = at_once / measured
    low, median, high = np.percentile(training, [10, 50, 90]) * waiting
    return StepTimes(
        float(low), float(median), float(high), statistics.median(validation) * waiting
    )


def _measure_alone(config: TrialConfig, device: torch.device) -> tuple[list[float], list[float]]:
    """Return the seconds of training steps and of validation batches of a full batch."""
    step, check = _timed_steps(config_for_noise(config), device)
    step(FIRST_IMAGES)  # the first one also sets up memory and kernels
    fitting = int(FIRST_IMAGES * STEP_SECONDS_MOST / step(FIRST_IMAGES))
    images = max(min(fitting, config.batch_size), min(FIRST_IMAGES, config.batch_size))
    scale = config.batch_size / images
    step(images)
    check(images)
    deadline = time.perf_counter() + MEASURE_SECONDS
    training, validation = [step(images) * scale], [check(images) * scale]
    while len(training) < MEASURE_STEPS and time.perf_counter() < deadline:
        training.append(step(images) * scale)
        if len(validation) < len(training) // 4:
            validation.append(check(images) * scale)
    return training, validation


def _timed_steps(config: TrialConfig, device: torch.device) -> tuple[Run, Run]:
    """Return functions that train on, and evaluate, so many images and return the seconds."""
    images = random_images(max(config.batch_size, FIRST_IMAGES))
    network = TrainingNetwork(config, len(CLASSES), None, device)
    model = network.model
    optimizer = make_optimizer(model, config, make_average(model, config))
    training = network.place_training(images, None)
    validation = network.place_validation(images, None)
    seed_dropouts(model, config, 1)

    def timed(run: Callable[[TrialConfig, DeviceSplit], object], split: DeviceSplit) -> Run:
        def run_batch(count: int) -> float:
            part = replace(split, rows=split.rows[:count])
            start = time.perf_counter()
            run(replace(config, batch_size=count, train_images=count), part)
            return time.perf_counter() - start

        return run_batch

    def train(one_batch: TrialConfig, part: DeviceSplit) -> object:
        return train_epoch(model, optimizer, part, one_batch, 1)

    def check(one_batch: TrialConfig, part: DeviceSplit) -> object:
        return evaluate(model, part, one_batch, 1)

    return timed(train, training), timed(check, validation)
