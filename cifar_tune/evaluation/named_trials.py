"""The named trials of a study over their replicates, beside what was published of them."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cifar_tune.config.study_file import LoadedStudyFile, StudySpec, resolve
from cifar_tune.config.trial import QUANTITIES
from cifar_tune.evaluation.evidence import Evidence
from cifar_tune.evaluation.measure import measure, replicates
from cifar_tune.evaluation.published import known_figures
from cifar_tune.evaluation.quantities import Measured


@dataclass(frozen=True)
class ModelRecord:
    """A named trial with all its replicates.

    Attributes:
        own: What sets it apart from the protocol.
        measured: The quantities that are known.
        published: The quantities that a publication states.
        is_comparable: Whether those were measured under the same configuration, whatever differs
            in the protocol of other models.
        note: What the published quantities should be read with.
        trials: The numbers of the complete replicates.
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
            yield {
                "part": "published",
                "model": self.name,
                "quantity": quantity,
                "value": stated,
            }


def compute_models(
    evidence: Evidence, loaded: LoadedStudyFile, spec: StudySpec, run_command: str
) -> tuple[ModelRecord, ...]:
    """Return each named trial of a study, whose trials ``run_command`` trains."""
    published = loaded.content.published
    theirs = resolve(loaded, published.profile) if published else None
    # Precision is none of the protocol: a study has it from the machine.
    ours = dataclasses.replace(spec, precision=None)
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
                measured={key: found for key, found in measured.items() if found is not None},
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
