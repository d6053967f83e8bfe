"""Runs a prepared study with its settings and its progress on the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from cifar_tune.cli.execution import Prepared, load_materials, run_prepared, settle_precision
from cifar_tune.search.progress import Bars, PlainLines

if TYPE_CHECKING:
    from cifar_tune.search.runner import RunOptions, StudyOutcome


def run_on_console(prepared: Prepared, console: Console, options: RunOptions) -> StudyOutcome:
    """Run what is left of a study, with its progress on the console."""
    materials = load_materials(prepared, options)
    prepared = announce(prepared, console)
    if console.is_terminal:
        with Bars(console) as bars:
            return run_prepared(prepared, materials, bars, options)
    return run_prepared(prepared, materials, PlainLines(console), options)


def announce(prepared: Prepared, console: Console) -> Prepared:
    """Print what is going to be run, on what, and return it with its precision settled."""
    from cifar_tune.training.device import describe_device

    spec, protocol = prepared.spec, prepared.spec.protocol
    weights = ", ".join(sorted(spec.weights())) or "none"
    console.print(Text.assemble((spec.study_name, "bold"), f"  {spec.title}"))
    console.print(f"profile {spec.profile_name}: {prepared.reason}")
    console.print(
        f"images {protocol.data}: {protocol.train_images:,} / {protocol.validation_images:,} at "
        f"{protocol.input_size} px, split {protocol.split}; pretrained weights: {weights}",
        soft_wrap=True,
    )
    console.print(
        f"device {describe_device(prepared.device)}, {prepared.workers}, storage "
        f"{prepared.location}",
        soft_wrap=True,
    )
    prepared, check = settle_precision(prepared)
    console.print(f"precision {check.precision}: {check.why}", soft_wrap=True)
    return prepared
