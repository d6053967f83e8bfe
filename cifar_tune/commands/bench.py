"""The command ``cifar-tune bench``."""

from __future__ import annotations

import statistics
from typing import Any

from cifar_tune import paths
from cifar_tune.commands.shared import make_console, print_json
from cifar_tune.study_file import load_study_file, resolve


def bench(rounds: int, device_name: str | None, *, as_json: bool) -> None:
    """Time epochs of the plain loop and of ours, in turn, and print both."""
    from cifar_tune.bench import compare_epochs, software_line
    from cifar_tune.data.source import load_search_data
    from cifar_tune.device import choose_device, describe_device

    device = choose_device(device_name)
    spec = resolve(load_study_file("dropout"), "quick")
    config = spec.config(spec.named[0].params, seed=0)
    console = make_console(to_stderr=as_json)
    console.print(f"{describe_device(device)}; {software_line()}")
    result = compare_epochs(
        config,
        load_search_data("bundled", paths.data_root()),
        device,
        rounds,
        lambda name, seconds: console.print(f"  {name:<6}{seconds:8.2f} s"),
    )
    record: dict[str, Any] = {"device": describe_device(device), "images": result.images}
    for name, values in (("plain", result.plain_seconds), ("ours", result.ours_seconds)):
        median = statistics.median(values)
        record[f"{name}_seconds"] = list(values)
        record[f"{name}_images_per_second"] = result.images / median
        if not as_json:
            console.print(
                f"{name:<6} median {median:.2f} s ({min(values):.2f} to {max(values):.2f}), "
                f"{result.images / median:.0f} images/s",
            )
    record["ratio"] = statistics.median(result.ratios)
    if as_json:
        print_json(record)
        return
    console.print(
        f"plain / ours: median {record['ratio']:.2f} "
        f"({min(result.ratios):.2f} to {max(result.ratios):.2f}) over {rounds} rounds",
    )
