"""The named trials of a study: over their replicates, beside what was published, and as a sweep."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cifar_tune.config.schema import PublishedFigures
from cifar_tune.config.study_file import LoadedStudyFile, StudySpec, resolve
from cifar_tune.config.trial import QUANTITIES
from cifar_tune.evaluation.evidence import Evidence
from cifar_tune.evaluation.measure import measure, replicates
from cifar_tune.evaluation.quantities import Measured
from cifar_tune.evaluation.wording import format_setting


@dataclass(frozen=True)
class ModelRecord:
    """A named trial with all its replicates.

    Attributes:
        own: What sets it apart from the protocol.
        is_comparable: Whether the published quantities were measured under the same configuration,
            whatever differs in the protocol of other models.
        note: What the published quantities should be read with.
        command: The command that trains it.
    """

    name: str
    own: dict[str, Any]
    measured: dict[str, Measured]
    published: dict[str, float]
    is_comparable: bool
    note: str
    trials: tuple[int, ...]
    command: str

    def to_rows(self) -> Iterator[dict[str, object]]:
        """Yield the quantities as rows of a report's CSV."""
        for quantity, measured in self.measured.items():
            model = {"part": "measured", "model": self.name, "quantity": quantity}
            yield {**model, **measured.to_row()}
        for quantity, stated in self.published.items():
            model = {"part": "published", "model": self.name, "quantity": quantity}
            yield {**model, "value": stated}


def compute_models(
    evidence: Evidence, loaded: LoadedStudyFile, spec: StudySpec, run_command: str
) -> tuple[ModelRecord, ...]:
    """Return each named trial of a study, whose trials ``run_command`` trains."""
    published = loaded.content.published
    theirs = resolve(loaded, published.profile) if published else None
    # Precision is none of the protocol: a study has it from the machine.
    ours = replace(spec, precision=None)
    stated = {figures.name: figures for figures in published.figures} if published else {}
    models = []
    for named in spec.named:
        trials = replicates(evidence, named.name)
        measured = {key: measure(evidence, trials, key) for key in QUANTITIES}
        figures = stated.get(named.name)
        models.append(
            ModelRecord(
                name=named.name,
                own={**named.params, **named.settings.given()},
                measured={key: value for key, value in measured.items() if value is not None},
                published=known_figures(figures) if figures else {},
                is_comparable=theirs is not None
                and theirs.named_config(named, seed=0) == ours.named_config(named, seed=0),
                note=figures.note if figures else "",
                trials=tuple(trial.number for trial in trials),
                command=f"{run_command} --only {shlex.quote(named.name)}",
            )
        )
    return tuple(models)


def most_accurate(models: Sequence[ModelRecord]) -> str:
    """Return the name of the model with the highest mean validation accuracy; empty if none."""
    known = [model for model in models if "val_accuracy" in model.measured]
    best = max(known, key=lambda model: model.measured["val_accuracy"].mean, default=None)
    return "" if best is None else best.name


def choose_pareto_quantity(models: Sequence[ModelRecord]) -> str:
    """Return the test accuracy if every model that was trained has one, else the validation's."""
    trained = [model for model in models if model.trials]
    all_read = all("test_accuracy" in model.measured for model in trained)
    return "test_accuracy" if trained and all_read else "val_accuracy"


def find_pareto_front(models: Sequence[ModelRecord], quantity: str) -> tuple[str, ...]:
    """Return the models that no other equals or beats in mean accuracy and mean time.

    The fastest comes first.
    """
    known = sorted(
        (model.measured["seconds"].mean, -model.measured[quantity].mean, model.name)
        for model in models
        if {"seconds", quantity} <= model.measured.keys()
    )
    front: list[str] = []
    best = 1.0
    for _, negative, name in known:
        if negative < best:
            front.append(name)
            best = negative
    return tuple(front)


# --- beside what was published ------------------------------------------------------------------


def known_figures(figures: PublishedFigures) -> dict[str, float]:
    """Return what is stated of a named trial, by quantity."""
    return figures.model_dump(include={*QUANTITIES}, exclude_none=True)


def protocol_differences(
    loaded: LoadedStudyFile, spec: StudySpec
) -> tuple[tuple[str, str, str], ...]:
    """Return how a study's protocol differs from the published one, as (key, there, here)."""
    published = loaded.content.published
    if published is None:
        return ()
    theirs = loaded.content.profiles[published.profile].protocol.model_dump()
    ours = spec.protocol.model_dump()
    return tuple(
        (key, format_setting(theirs[key]), format_setting(ours[key]))
        for key in ours
        if theirs[key] != ours[key]
    )


# --- as a sweep ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class SweepRecord:
    """Named trials that differ in one hyperparameter alone.

    Attributes:
        points: (value, model).
        others: Sampled trials as (value, validation accuracy, number, state).
    """

    parameter: str
    is_log: bool
    points: tuple[tuple[float, str], ...]
    others: tuple[tuple[float, float, int, str], ...]


def compute_sweep(evidence: Evidence, spec: StudySpec) -> SweepRecord | None:
    """Return what all named trials differ in, if it is one hyperparameter and a number."""
    configs = {named.name: asdict(spec.named_config(named, seed=0)) for named in spec.named}
    if len(configs) < 2:
        return None
    first = next(iter(configs.values()))
    varied = [
        key
        for key in first
        if key != "seed" and len({str(config[key]) for config in configs.values()}) > 1
    ]
    if len(varied) != 1 or not isinstance(first[varied[0]], int | float):
        return None
    (key,) = varied
    searched = spec.space.ranges().get(key)
    return SweepRecord(
        parameter=key,
        is_log=searched is not None and searched.log,
        points=tuple(sorted((float(config[key]), name) for name, config in configs.items())),
        others=tuple(
            (float(trial.params[key]), trial.values["val_accuracy"], trial.number, trial.state)
            for trial in evidence.trials
            if not trial.name and trial.history and key in trial.params
        ),
    )
