"""The commands ``cifar-tune trial show`` and ``cifar-tune trial rerun``."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from cifar_tune import paths
from cifar_tune.cli.console import find_by_name, make_console, print_json
from cifar_tune.storage.location import StorageLocation
from cifar_tune.storage.records import describe_failure, trial_label
from cifar_tune.wording import format_accuracy, format_duration

if TYPE_CHECKING:
    from cifar_tune.evaluation.reproduce import Reproduction
    from cifar_tune.evaluation.trial import TrialDossier
    from cifar_tune.training.records import EpochMetrics


def show_trial(
    name: str,
    trial_name: str,
    profile: str | None,
    epochs: int | None,
    settings: tuple[str, ...],
    storage: str | None,
    as_json: bool,
) -> None:
    """Print everything that made a trial, and what came of it."""
    dossier, location = _read(name, trial_name, profile, epochs, settings, storage)
    if as_json:
        print_json({"storage": str(location), **_record(dossier)})
        return
    console = make_console()
    trial = dossier.summary
    console.print(Text.assemble((f"{dossier.study_name}, {trial_label(trial)}", "bold")))
    for key, value in _lines(dossier):
        console.print(f"  {key}: {value}", soft_wrap=True)
    for title, values in (("configuration", dossier.config), ("made with", _flat(dossier.facts))):
        if values:
            console.print(title, style="bold")
        for key, value in values.items():
            console.print(f"  {key}: {value}", soft_wrap=True)
    if dossier.history:
        console.print("epochs", style="bold")
    for one in dossier.history:
        console.print(
            f"  {one.epoch}: training {format_accuracy(one.train_accuracy)}, loss "
            f"{one.train_loss:.4f}; validation {format_accuracy(one.val_accuracy)}, loss "
            f"{one.val_loss:.4f}; {format_duration(one.seconds)}"
        )


def rerun_trial(
    name: str,
    trial_name: str,
    profile: str | None,
    epochs: int | None,
    settings: tuple[str, ...],
    device: str | None,
    storage: str | None,
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Train a trial again and say whether it came out the same: the exit code is 0 if it did."""
    dossier, _ = _read(name, trial_name, profile, epochs, settings, storage)

    from cifar_tune.evaluation.reproduce import reproduce
    from cifar_tune.training.device import choose_device

    console = make_console(to_stderr=as_json)
    expected = sum(one.seconds for one in dossier.history)
    console.print(
        f"{dossier.study_name}, {trial_label(dossier.summary)}: {len(dossier.history)} epochs, "
        f"which took {format_duration(expected)} then"
    )

    def on_epoch(stored: EpochMetrics, again: EpochMetrics) -> None:
        console.print(
            f"epoch {again.epoch}: validation accuracy {format_accuracy(again.val_accuracy)}, "
            f"stored {format_accuracy(stored.val_accuracy)}"
        )

    with tempfile.TemporaryDirectory(prefix="cifar-tune-") as folder:
        found = reproduce(
            dossier, paths.data_root(data_dir), choose_device(device), Path(folder), on_epoch
        )
    if as_json:
        print_json(_reproduction(dossier, found))
    else:
        for line in _verdict(found):
            console.print(line, soft_wrap=True)
    return 1 if found.agreement == "no" else 0


def _read(
    name: str,
    trial_name: str,
    profile: str | None,
    epochs: int | None,
    settings: tuple[str, ...],
    storage: str | None,
) -> tuple[TrialDossier, StorageLocation]:
    spec, location = find_by_name(name, profile, epochs, settings, storage)

    from cifar_tune.evaluation.trial import read_dossier

    return read_dossier(location, spec.study_name, trial_name), location


def _lines(dossier: TrialDossier) -> Iterator[tuple[str, str]]:
    trial = dossier.summary
    yield "state", trial.state
    if trial.failure:
        yield "failure", describe_failure(trial)
    if trial.val_accuracy is not None:
        yield "validation accuracy", format_accuracy(trial.val_accuracy)
    if trial.seconds is not None:
        yield "time", format_duration(trial.seconds)
    definition = dossier.definition
    yield "study", f"seed {definition.get('seed')}, profile {definition.get('profile')}"
    if dossier.weights_sha256 is None:
        yield "weights", "not kept"
    else:
        where = dossier.weights_file or "no longer on the disk"
        yield "weights", f"{where} (SHA-256 {dossier.weights_sha256})"
    for restart in dossier.restarts:
        place = f"after epoch {restart.get('epochs', 0)}, step {restart.get('steps', 0)}"
        yield "continued", f"{place}, since {restart['why']}"
    for read in dossier.test_reads:
        yield "test images", f"read {read.time}: {read.result.accuracy:.4f}"


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Nested mappings on one level, for a reader."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= {f"{key}, {part}": inner for part, inner in value.items()}
        else:
            found[key] = value
    return found


def _record(dossier: TrialDossier) -> dict[str, Any]:
    record = dataclasses.asdict(dossier)
    record["weights_file"] = str(dossier.weights_file) if dossier.weights_file else None
    return record


def _verdict(found: Reproduction) -> Iterator[str]:
    stored, again = found.accuracies
    for one in found.differences:
        yield f"differs: {one}"
    yield (
        f"Final validation accuracy {100 * again:.2f} %, stored {100 * stored:.2f} %"
        + {None: "", True: "; the same weights", False: "; other weights"}[found.weights]
        + "."
    )
    if found.agreement == "bit for bit":
        yield "Reproduced bit for bit: every figure of every epoch is the same."
    elif found.agreement == "within the seed spread":
        yield (
            f"Reproduced within the seed spread: up to {100 * found.largest:.1f} points are "
            f"explained by {found.basis}."
        )
    elif found.differences:
        yield (
            f"Not reproduced: more than the {100 * found.largest:.1f} points that are explained "
            f"by {found.basis}."
        )
    else:
        yield "Not reproduced: nothing differs, and so every figure should have been the same."


def _reproduction(dossier: TrialDossier, found: Reproduction) -> dict[str, Any]:
    return {
        "study_name": dossier.study_name,
        "trial": dossier.number,
        "agreement": found.agreement,
        "reproduced": found.agreement != "no",
        "differences": list(found.differences),
        "same_weights": found.weights,
        "explained_difference": found.largest,
        "explained_by": found.basis,
        "epochs": [
            {"stored": dataclasses.asdict(one), "again": dataclasses.asdict(two)}
            for one, two in found.epochs
        ],
    }
