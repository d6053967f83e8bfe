"""The note of a trial: what it was, what came of it, and the commands that make it again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cifar_tune.config.derived import Purpose, purpose_of
from cifar_tune.config.schema import PublishedFigures
from cifar_tune.config.study_file import StudySpec, name_in_commands
from cifar_tune.config.trial import QUANTITIES, SEARCHABLE
from cifar_tune.environment import make_environment
from cifar_tune.evaluation.named_trials import known_figures, protocol_differences
from cifar_tune.evaluation.wording import (
    format_differences,
    format_key,
    format_quantity,
    format_setting,
)
from cifar_tune.reports.markdown import code, code_block, pipe_table, plain
from cifar_tune.storage.invocations import name_options, storage_options, train_command
from cifar_tune.storage.location import StorageLocation
from cifar_tune.storage.records import TrialSummary
from cifar_tune.storage.trials import RETRIED
from cifar_tune.wording import format_count, format_duration, format_percent

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
    "epochs",
    "seed",
)
"""What a note shows of a configuration, in this order, after what is searched."""
_ENVIRONMENT = make_environment("cifar_tune.dashboard.notes", escapes=False)
_ENVIRONMENT.filters |= {
    "code": code,
    "count": format_count,
    "differences": format_differences,
    "duration": format_duration,
    "join_lines": lambda text: " ".join(filter(None, text.split("\n"))) + "\n",
    "percent": format_percent,
    "plain": plain,
    "thousands": "{:,}".format,
}
_ENVIRONMENT.globals |= {"code_block": code_block, "pipe_table": pipe_table}


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


def render_note(template: str, **values: Any) -> str:
    """Return a note as a template of this folder makes it."""
    text = _ENVIRONMENT.get_template(template).render(values)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")


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
    config = attributes.get("config", {})
    history = attributes.get("history", ())
    seconds = sum(epoch["seconds"] for epoch in history)
    reached: dict[str, float] = {}
    if trial.state == "complete" and history:
        reached = {key: history[-1][key] for key in ("train_accuracy", "val_accuracy")}
        reached["seconds"] = seconds
        if test_accuracy is not None:
            reached["test_accuracy"] = test_accuracy
    figures = study.figures.get(model)
    return render_note(
        "trial.md.j2",
        study=study,
        trial=trial,
        attributes={"queued": None, **attributes},
        config=config,
        device=attributes.get("facts", {}).get("device"),
        restarts=attributes.get("restarts", ()),
        retried=RETRIED,
        seconds=seconds,
        test_accuracy=test_accuracy,
        figures=figures,
        beside=_beside_published(figures, reached),
        configuration=_configuration(study, config),
        model=model,
        train_command=train_command(f"cifar-tune study run {study.arguments}", model, replicate),
        derived_command=derived_command(study, model, replicate.rpartition("=")[2]),
    )


def _beside_published(
    figures: PublishedFigures | None, reached: Mapping[str, float]
) -> list[tuple[str, str, str]]:
    """Return what a trial reached beside what is published of it, by quantity."""
    stated = {} if figures is None else known_figures(figures)
    if not stated or not reached:
        return []
    return [
        (
            format_key(key),
            format_quantity(key, reached[key]) if key in reached else "not known",
            format_quantity(key, stated[key]) if key in stated else "not stated",
        )
        for key in QUANTITIES
        if key in reached or key in stated
    ]


def _configuration(study: NotedStudy, config: Mapping[str, Any]) -> list[tuple[str, str]]:
    searched = [key for key in study.spec.space.ranges() if key in config]
    keys = [*searched, *(key for key in _SHOWN if key in config and key not in searched)]
    return [
        (
            f"**{format_key(key)}**" if key in searched else format_key(key),
            plain(_setting(key, config[key])),
        )
        for key in keys
    ]


def _setting(key: str, value: object) -> str:
    if key == "seed":
        return str(value)
    return f"{value:.4g}" if isinstance(value, float) else format_setting(value)


def derived_command(study: NotedStudy, model: str, seeds: str) -> str:
    """Return the command that trains the replicates of a configuration of a derived study."""
    if study.purpose == "confirm":
        return f"cifar-tune best confirm {study.arguments} --seeds {seeds}"
    command = f"cifar-tune best rerun {study.arguments} --name {shlex.quote(model)} --seeds {seeds}"
    return command + (" --train-on train+val" if study.purpose == "rerun-all" else "")
