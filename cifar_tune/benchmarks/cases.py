"""What is timed against the plain loop, and how: lanes in turn, medians with their spread."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import torch
from torch.utils.flop_counter import FlopCounterMode

from cifar_tune.benchmarks.lanes import Way, start_lane
from cifar_tune.benchmarks.process import BenchProcess
from cifar_tune.config.study_file import load_study_file, resolve
from cifar_tune.config.trial import Precision, TrialConfig
from cifar_tune.data.cifar10 import CLASSES
from cifar_tune.models.resnet import build_model, set_training
from cifar_tune.training.precision import check_precision
from cifar_tune.workers.kind import count_cores

EPOCHS = 20
"""Epochs of a trial, over which what is done once is shared out; as of the assignment's models."""
IMAGES = 1_280
LARGE_IMAGES = {"cpu": (64, 32), "cuda": (1_280, 128)}
"""At 224 px: images and batch size; a batch of 128 takes 8 GB of a machine's memory."""
PEAK_SIZE = {"cpu": 2048, "cuda": 8192}


@dataclass(frozen=True)
class Case:
    """What is trained; ``at_once`` lanes of ours train it, each with its share of cores."""

    name: str
    title: str
    config: TrialConfig
    at_once: int = 1


@dataclass(frozen=True)
class Timed:
    """One way of training a case.

    Attributes:
        images_per_second: By the median epoch.
        seconds: The seconds of each epoch that counts, in the order they were measured.
        share_of_peak: The floating-point operations a second that the plain network's convolutions
            and matrix products need, as a share of those of a large matrix product in the same
            precision on this machine.
        startup_seconds: The seconds from the start of the process to the end of its first epoch.
    """

    images_per_second: float
    seconds: tuple[float, ...]
    share_of_peak: float
    peak_bytes: int
    startup_seconds: float


@dataclass(frozen=True)
class CaseResult:
    """A case with what each way of training it took.

    Attributes:
        precision: The precision of ours; the others compute in fp32.
        ways: What each way took; ``tuned`` is missing where there is no compiler.
    """

    case: Case
    precision: str
    ways: dict[Way, Timed]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a JSON object shows it; what was not measured is None."""
        config = self.case.config
        record: dict[str, Any] = {
            "name": self.case.name,
            "title": self.case.title,
            "images": config.train_images,
            "batch_size": config.batch_size,
            "precision": self.precision,
        }
        prefixes: dict[Way, str] = {"plain": "plain", "tuned": "tuned_plain", "ours": "ours"}
        for way, prefix in prefixes.items():
            for field in fields(Timed):
                record[f"{prefix}_{field.name}"] = getattr(self.ways.get(way), field.name, None)
        keys: dict[Way, str] = {"plain": "ratio", "tuned": "ratio_tuned"}
        for way, key in keys.items():
            ratios = self.ratios(way) if way in self.ways else None
            record |= {key: ratios and statistics.median(ratios), f"{key}s": ratios}
        return record

    def ratios(self, way: Way) -> tuple[float, ...]:
        """Return seconds of another way over ours, round by round; above 1 ours is faster."""
        pairs = zip(self.ways[way].seconds, self.ways["ours"].seconds, strict=True)
        return tuple(theirs / ours for theirs, ours in pairs)


def list_cases(device: torch.device) -> list[Case]:
    """Return the cases: the assignment's models and its augmented recipe, on bundled images."""
    spec = resolve(load_study_file("transfer"), "quick")
    models = {
        named.name: replace(
            spec.named_config(named, seed=0), train_images=IMAGES, epochs=EPOCHS, cosine_t_max=200
        )
        for named in spec.named
    }
    final = resolve(load_study_file("final"), "quick")
    images, batch_size = LARGE_IMAGES.get(device.type, LARGE_IMAGES["cpu"])
    large = replace(
        final.named_config(final.named[0], seed=0),
        train_images=images,
        batch_size=batch_size,
        input_size=224,
        epochs=EPOCHS,
    )
    scratch = models["transfer/scratch"]
    cases = [
        Case("scratch", "32 px, from scratch", scratch),
        Case("finetune", "32 px, fine-tuned", models["transfer/finetune"]),
        Case("layer1-frozen", "32 px, layer1 frozen", models["transfer/model-a-running"]),
        Case("all-frozen", "32 px, all frozen", models["transfer/model-b-running"]),
        Case("augmented-224", "224 px, augmented", large),
    ]
    cores = count_cores()
    if device.type == "cpu" and cores > 1:
        cases.append(Case("at-once", f"32 px, {cores} trials at once", scratch, at_once=cores))
    return cases


OnRound = Callable[[str, Way, float], None]
"""Is told the case, the way and how many seconds an epoch took."""


def time_case(case: Case, device: torch.device, rounds: int, on_round: OnRound) -> CaseResult:
    """Time epochs of each way in turn, after a first one that does not count.

    Which of them goes first changes from round to round.

    Raises:
        DeviceError: One of them cannot be run here, for want of memory most likely.
    """
    precision = check_precision(case.config, device, count_cores() // case.at_once).precision
    ways = [way for way in get_args(Way) if way != "tuned" or can_compile()]
    lanes: dict[Way, list[BenchProcess]] = {}
    startup: dict[Way, float] = {}
    with ExitStack() as stack:
        for way in ways:
            lanes[way] = _start_lanes(case, way, precision, device, stack)
            startup[way] = max(lane.call("warm_up") for lane in lanes[way])
        seconds = _time_rounds(case, lanes, rounds, on_round)
        peaks = {way: sum(lane.call("peak_bytes") for lane in lanes[way]) for way in ways}
    images = case.config.train_images
    flops = count_flops(case.config) * images
    timed = {}
    for way in ways:
        peak = measure_peak(device, "bf16" if way == "ours" and precision == "bf16" else "fp32")
        median = statistics.median(seconds[way])
        timed[way] = Timed(
            images_per_second=images / median,
            seconds=tuple(seconds[way]),
            share_of_peak=flops / median / peak,
            peak_bytes=peaks[way],
            startup_seconds=startup[way],
        )
    return CaseResult(case, precision, timed)


def _start_lanes(
    case: Case, way: Way, precision: Precision, device: torch.device, stack: ExitStack
) -> list[BenchProcess]:
    config = replace(case.config, precision=precision) if way == "ours" else case.config
    count = case.at_once if way == "ours" else 1
    lanes = [start_lane(way, config, device, count_cores() // count) for _ in range(count)]
    return [stack.enter_context(closing(lane)) for lane in lanes]


def _time_rounds(
    case: Case, lanes: Mapping[Way, Sequence[BenchProcess]], rounds: int, on_round: OnRound
) -> dict[Way, list[float]]:
    ways = list(lanes)
    seconds: dict[Way, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        first = number % len(ways)
        for way in ways[first:] + ways[:first]:
            for lane in lanes[way]:
                lane.begin("epoch")
            took = statistics.mean(lane.end() for lane in lanes[way]) / len(lanes[way])
            seconds[way].append(took)
            on_round(case.name, way, took)
    return seconds


def count_flops(config: TrialConfig) -> float:
    """Return the floating-point operations of a training step of the plain network an image."""
    part = replace(config, batch_size=2)
    images = torch.empty(2, 3, part.input_size, part.input_size, device="meta")
    model = build_model(part, len(CLASSES)).to("meta")
    set_training(model, part)
    with FlopCounterMode(display=False) as counter:
        model(images).sum().backward()
    return float(counter.get_total_flops()) / 2


def measure_peak(device: torch.device, precision: str) -> float:
    """Return floating-point operations a second of a large matrix product, the best of ten."""
    size = PEAK_SIZE.get(device.type, PEAK_SIZE["cpu"])
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        product = left @ right
        float(product[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def can_compile() -> bool:
    """Return whether ``torch.compile`` has the C++ compiler that it needs."""
    return shutil.which(os.environ.get("CXX", "g++")) is not None
