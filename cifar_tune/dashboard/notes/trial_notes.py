"""The note of a trial: what it was, what came of it, and the commands that make it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cifar_tune.config.derived import Purpose, purpose_of
from cifar_tune.config.schema import PublishedFigures
from cifar_tune.config.study_file import StudySpec, name_in_commands
from cifar_tune.config.trial import QUANTITIES, SEARCHABLE
from cifar_tune.evaluation.invocations import name_options, storage_options, train_command
from cifar_tune.evaluation.named_trials import known_figures, protocol_differences
from cifar_tune.evaluation.wording import (
    format_differences,
    format_key,
    format_quantity,
    format_setting,
)
from cifar_tune.reports.markdown import code_block, pipe_table, plain
from cifar_tune.storage.location import StorageLocation
from cifar_tune.storage.records import CANCELLED, DROPPED, REFUSED, TrialSummary
from cifar_tune.storage.trials import RETRIED
from cifar_tune.wording import format_count

_SHOWN = (
    "weights",
    "stem",
    "head",
    *SEARCHABLE,
    "optimizer",
    "frozen_batch_norm",
    "train_images",
    "validation_images",
    "input_size",
    "batch_size",
    "epochs",
    "seed",
)
"""What a note shows of a configuration, in this order, after what is searched."""


@dataclass(frozen=True)
class NotedStudy:
    """What the notes of all trials of a study have in common.

    Attributes:
        name: The study file as commands name it.
        options: Options of a command that say which of the file's studies, and where it is stored.
        purpose: What a derived study is for; None for one of a study file's own.
        figures: What is published of named trials, by their names.
        source: Where that is published, and on which device it was measured.
        differences: How the protocols differ, as ``protocol_differences`` has it.
    """

    spec: StudySpec
    name: str
    options: str
    purpose: Purpose | None
    figures: Mapping[str, PublishedFigures] = field(default_factory=dict)
    source: str = ""
    differences: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def of(cls, spec: StudySpec, location: StorageLocation) -> NotedStudy:
        """Return what the notes of a stored study have in common."""
        name = shlex.quote(name_in_commands(spec.source))
        options = " ".join(filter(None, (name_options(spec), storage_options(location))))
        purpose = purpose_of(spec.study_name)
        published = spec.source.content.published
        if published is None or spec.train_on != "train":
            return cls(spec, name, options, purpose)
        figures = {figure.name: figure for figure in published.figures}
        source = f"{published.source}, on {published.device}"
        differences = protocol_differences(spec.source, spec)
        return cls(spec, name, options, purpose, figures, source, differences)

    @property
    def arguments(self) -> str:
        """The arguments that name the study in a command."""
        return f"{self.name} {self.options}"


def trial_note(
    study: NotedStudy,
    trial: TrialSummary,
    attributes: Mapping[str, Any],
    test_accuracy: float | None = None,
) -> str:
    """Return the note of a trial from what is stored with it.

    ``test_accuracy`` is a fraction, or None where the test images were not read for the trial.
    """
    model, _, replicate = (trial.name or "").rpartition("/")
    parts = [
        f"## {plain(trial.name or f'Trial {trial.number}')}",
        " ".join(_sentences(study, trial, attributes, test_accuracy)),
        _beside_published(study, model, _reached(trial, attributes, test_accuracy)),
        _configuration(study, attributes.get("config", {})),
        code_block(_commands(study, trial, model, replicate)),
    ]
    return "\n\n".join(filter(None, parts))


# --- the result ---------------------------------------------------------------------------------


def _sentences(
    study: NotedStudy,
    trial: TrialSummary,
    attributes: Mapping[str, Any],
    test_accuracy: float | None,
) -> Iterator[str]:
    yield _outcome(trial, attributes.get("config", {}))
    if study.spec.train_on != "train":
        yield "It learnt from the validation images too: only the test images say what it is worth."
    if test_accuracy is not None:
        yield f"On the test images: {format_quantity('test_accuracy', test_accuracy)}."
    device = attributes.get("facts", {}).get("device")
    seconds = sum(epoch["seconds"] for epoch in attributes.get("history", ()))
    if device and trial.state != "waiting":
        took = f"Trained for {format_quantity('seconds', seconds)} on" if seconds else "On"
        yield f"{took} {plain(device)}."
    restarts = attributes.get("restarts", ())
    if restarts:
        times = format_count(len(restarts), "time")
        yield f"Continued {times}, the last time since {plain(restarts[-1]['why'])}."
    if "retry_of" in attributes:
        yield f"The second run of trial {attributes['retry_of']}."
    queued = attributes.get("queued")
    if queued:
        at = str(queued["at"])[:16].replace("T", " ")
        yield f"Queued from the {plain(str(queued['by']))} at {plain(at)} UTC."


def _outcome(trial: TrialSummary, config: Mapping[str, Any]) -> str:
    """Return state and result in one sentence, or two."""
    planned = config.get("epochs")
    accuracy = (
        "" if trial.val_accuracy is None else format_quantity("val_accuracy", trial.val_accuracy)
    )
    if trial.state == "complete":
        epochs = format_count(trial.epochs, "epoch")
        return f"**Complete**: validation accuracy {accuracy} after {epochs}."
    if trial.state == "pruned":
        return (
            f"**Pruned** after epoch {trial.epochs} of {planned}, at a validation accuracy of "
            f"{accuracy}: it fell behind the others."
        )
    if trial.state == "fail":
        return _failure(trial)
    if trial.state == "running":
        return (
            f"**Running**, {format_count(planned, 'epoch')} in all." if planned else "**Running**."
        )
    if trial.epochs:
        return (
            f"**Waiting to be continued** after epoch {trial.epochs} of {planned}, at a validation "
            f"accuracy of {accuracy}: the next run goes on with it."
        )
    return "**Waiting** to be begun."


def _failure(trial: TrialSummary) -> str:
    if trial.outcome == CANCELLED:
        return "**Cancelled** before it was begun."
    if trial.outcome == REFUSED:
        message = str((trial.failure or {}).get("message", ""))
        return f"**Refused**, since it does not fit this study: {plain(message)}."
    if trial.outcome == DROPPED:
        epochs = format_count(trial.epochs, "epoch")
        return f"**Dropped** after {epochs}: it was not to be gone on with."
    failure = trial.failure or {}
    place = f" in epoch {failure['epoch']}" if "epoch" in failure else ""
    lines = str(failure.get("message", "for an unknown reason")).splitlines()
    is_retried = failure.get("kind", "error") in RETRIED
    again = " The next run trains it again." if is_retried else ""
    return f"**Failed**{place}: {plain(lines[0])}.{again}"


def _reached(
    trial: TrialSummary, attributes: Mapping[str, Any], test_accuracy: float | None
) -> dict[str, float]:
    """Return the quantities of a trial that is complete."""
    history = attributes.get("history", ())
    if trial.state != "complete" or not history:
        return {}
    reached = {key: history[-1][key] for key in ("train_accuracy", "val_accuracy")}
    reached["seconds"] = sum(epoch["seconds"] for epoch in history)
    return reached if test_accuracy is None else {**reached, "test_accuracy": test_accuracy}


def _beside_published(study: NotedStudy, model: str, reached: Mapping[str, float]) -> str:
    """Return a table of what is published of a named trial, with this one's figures."""
    figures = study.figures.get(model)
    stated = {} if figures is None else known_figures(figures)
    if figures is None or not stated or not reached:
        return ""
    rows = [
        (
            format_key(key),
            format_quantity(key, reached[key]) if key in reached else "not known",
            format_quantity(key, stated[key]) if key in stated else "not stated",
        )
        for key in QUANTITIES
        if key in reached or key in stated
    ]
    parts = [pipe_table(("", "this trial", plain(study.source)), rows, centred=2)]
    if figures.note:
        parts.append(plain(figures.note))
    if study.differences:
        parts.append(f"Not to be compared: {plain(format_differences(study.differences))}.")
    else:
        parts.append("One run each, under the same protocol, on different devices.")
    return "\n\n".join(parts)


# --- what makes it again ------------------------------------------------------------------------


def _configuration(study: NotedStudy, config: Mapping[str, Any]) -> str:
    searched = [key for key in study.spec.space.ranges() if key in config]
    keys = [*searched, *(key for key in _SHOWN if key in config and key not in searched)]
    rows = [
        (
            f"**{format_key(key)}**" if key in searched else format_key(key),
            plain(_setting(key, config[key])),
        )
        for key in keys
    ]
    return pipe_table(("configuration", ""), rows) if rows else ""


def _setting(key: str, value: object) -> str:
    if key == "seed":
        return str(value)
    return f"{value:.4g}" if isinstance(value, float) else format_setting(value)


def _commands(study: NotedStudy, trial: TrialSummary, model: str, replicate: str) -> Iterator[str]:
    seeds = replicate.rpartition("=")[2]
    if study.purpose is not None:
        # Trials of a derived study are made by the commands that it is made by.
        yield derived_command(study, model, seeds)
        return
    if trial.state in ("complete", "pruned"):
        yield f"cifar-tune trial rerun {study.name} {trial.number} {study.options}"
    yield f"cifar-tune trial show {study.name} {trial.number} {study.options}"
    if model:
        yield train_command(f"cifar-tune study run {study.arguments}", model, replicate)


def derived_command(study: NotedStudy, model: str, seeds: str) -> str:
    """Return the command that trains the replicates of a configuration of a derived study."""
    if study.purpose == "confirm":
        return f"cifar-tune best confirm {study.arguments} --seeds {seeds}"
    command = f"cifar-tune best rerun {study.arguments} --name {shlex.quote(model)} --seeds {seeds}"
    return command + (" --train-on train+val" if study.purpose == "rerun-all" else "")
