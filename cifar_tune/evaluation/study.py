"""The report of a study: everything that the storage holds of it, as one record."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cifar_tune.config.study_file import LoadedStudyFile, StudySpec, resolve
from cifar_tune.config.trial import QUANTITIES
from cifar_tune.evaluation.best import group, read_fresh_runs
from cifar_tune.evaluation.claims import judge_claims
from cifar_tune.evaluation.confusion import compute_confusion
from cifar_tune.evaluation.evidence import gather
from cifar_tune.evaluation.invocations import name_options
from cifar_tune.evaluation.measure import measure, replicates
from cifar_tune.evaluation.published import known_figures, protocol_differences
from cifar_tune.evaluation.records import Evidence, Missing, ModelRecord, TrialRecord
from cifar_tune.evaluation.search_summary import compute_search, compute_sweep
from cifar_tune.storage.location import StorageLocation

if TYPE_CHECKING:
    from cifar_tune.evaluation.best import FreshRuns
from cifar_tune.evaluation.records import ClaimRecord, ConfusionRecord, SearchRecord, SweepRecord

SEEDS_WANTED = 3
"""Below this number of replicates a report says how to get more."""
SHOWN = 4
"""How many of the trials that lack something are named."""


def compute_report(
    location: StorageLocation, loaded: LoadedStudyFile, spec: StudySpec, name: str
) -> ReportRecord:
    """Everything that is known of a stored study.

    Args:
        name: of the study file or its path, as the user gave it.

    Raises:
        InputError: the study is not stored.
        StorageError: the storage cannot be read.
    """
    options = name_options(spec)
    run = f"cifar-tune study run {shlex.quote(name)} {options}"
    evidence = gather(location, spec.study_name, run)
    ranges = {key: one.model_dump() for key, one in spec.space.ranges().items()}
    configs = {
        named.name: dataclasses.asdict(spec.named_config(named, seed=0)) for named in spec.named
    }
    published = loaded.content.published
    models = _models(evidence, loaded, spec, run)
    pareto_quantity = _pareto_quantity(models)
    complete = [one for one in evidence.trials if one.state == "complete"]
    best = max(complete, key=lambda one: (one.values["val_accuracy"], -one.number), default=None)
    shown = _most_accurate(models)
    differences = protocol_differences(loaded, spec)
    candidates = group(evidence.trials)
    return ReportRecord(
        study_name=spec.study_name,
        file_name=loaded.name,
        title=loaded.content.title,
        description=" ".join(loaded.content.description.split()),
        profile=spec.profile_name,
        profile_description=loaded.content.profiles[spec.profile_name].description,
        options=options,
        command=run,
        protocol=spec.protocol.model_dump(exclude_none=True),
        devices=tuple(dict.fromkeys(one.device for one in evidence.trials if one.device)),
        software=evidence.software,
        trials=evidence.trials,
        best=best.number if best is not None else None,
        models=models,
        published_source=published.source if published else "",
        published_device=published.device if published else "",
        published_profile=published.profile if published else "",
        remarks=tuple(published.remarks) if published else (),
        is_comparable=published is not None and not differences,
        differences=differences,
        claims=judge_claims(evidence, loaded.content.claims),
        pareto=_pareto(models, pareto_quantity),
        pareto_quantity=pareto_quantity,
        sweep=compute_sweep(evidence, configs, {key for key, one in ranges.items() if one["log"]}),
        search=compute_search(evidence, ranges),
        confusion=compute_confusion(evidence, shown, replicates(evidence, shown)),
        fresh=read_fresh_runs(location, spec.study_name, candidates),
        missing=tuple(_missing(evidence, spec, models, name, run)),
    )


def _models(
    evidence: Evidence, loaded: LoadedStudyFile, spec: StudySpec, run: str
) -> tuple[ModelRecord, ...]:
    published = loaded.content.published
    theirs = resolve(loaded, published.profile) if published else None
    stated = {one.name: one for one in published.figures} if published else {}
    found = []
    for named in spec.named:
        trials = replicates(evidence, named.name)
        measured = {key: measure(evidence, trials, key) for key in QUANTITIES}
        figures = stated.get(named.name)
        found.append(
            ModelRecord(
                name=named.name,
                own={**named.params, **named.settings.given()},
                measured={key: one for key, one in measured.items() if one is not None},
                published=known_figures(figures) if figures else {},
                # Precision is none of the protocol: a study has it from the machine.
                is_comparable=theirs is not None
                and theirs.named_config(named, seed=0)
                == dataclasses.replace(spec, precision=None).named_config(named, seed=0),
                note=figures.note if figures else "",
                trials=tuple(trial.number for trial in trials),
                command=f"{run} --only {shlex.quote(named.name)}",
            )
        )
    return tuple(found)


def _pareto_quantity(models: tuple[ModelRecord, ...]) -> str:
    """The test accuracy where every model that was trained has one, else that on validation."""
    trained = [model for model in models if model.trials]
    all_read = all("test_accuracy" in model.measured for model in trained)
    return "test_accuracy" if trained and all_read else "val_accuracy"


def _pareto(models: tuple[ModelRecord, ...], quantity: str) -> tuple[str, ...]:
    """Models that no other equals or beats in mean accuracy and mean time, the fastest first."""
    known: list[tuple[float, float, str]] = sorted(
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


def _most_accurate(models: tuple[ModelRecord, ...]) -> str:
    known: Mapping[str, Any] = {
        model.name: model.measured["val_accuracy"].mean
        for model in models
        if "val_accuracy" in model.measured
    }
    return max(known, key=lambda name: known[name], default="")


def _missing(
    evidence: Evidence, spec: StudySpec, models: tuple[ModelRecord, ...], name: str, run: str
) -> Iterator[Missing]:
    wanted = max(spec.seeds, SEEDS_WANTED)
    lacking = [model for model in models if len(model.trials) < wanted]
    if lacking:
        counts = ", ".join(f"{one.name} ({len(one.trials)})" for one in lacking)
        every = len(lacking) == len(models)
        only = "" if every else "".join(f" --only {shlex.quote(one.name)}" for one in lacking)
        what = f"replicates; of {wanted} seeds each there are {counts}"
        yield Missing(what, f"{run}{only} --seeds {wanted}")
    complete = [one for one in evidence.trials if one.name and one.state == "complete"]
    kept = [one for one in complete if one.has_weights]
    unread = [one for one in complete if "test_accuracy" not in one.values]
    test = f"cifar-tune trial test {shlex.quote(name)} {name_options(spec)}"
    if any(one.has_weights for one in unread):
        yield Missing(f"test accuracy of {_list(one for one in unread if one.has_weights)}", test)
    lost = [one for one in unread if not one.has_weights]
    if lost:
        what = (
            f"test accuracy of {_list(lost)}: their weights were not kept; with "
            f'keep_weights = "named" in profiles.{spec.profile_name} of the study file they are'
        )
        yield Missing(what, f"{run} --storage other.db")
    if kept and not evidence.validation and not evidence.test:
        yield Missing("answers on each image, of which the confusion matrix is made", test)


def _list(trials: Iterable[TrialRecord]) -> str:
    """The first few of some trials, and how many more there are."""
    names = [trial.name for trial in trials]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


@dataclass(frozen=True)
class ReportRecord:
    """Everything that a report of a study states.

    Attributes:
        file_name: the study file's name.
        command: runs the study.
        options: of the command line that name this study, e.g. ``--profile quick``.
        is_comparable: whether its protocol is that of the published figures, for all models.
        differences: (key, published, here), where it is not.
        pareto: models that no other beats in accuracy and time together; ``pareto_quantity`` is
            the accuracy that was compared.
        fresh: what was run beside the study, and how often the test images were read for it.
    """

    study_name: str
    file_name: str
    title: str
    description: str
    profile: str
    profile_description: str
    options: str
    command: str
    protocol: dict[str, Any]
    devices: tuple[str, ...]
    software: tuple[str, ...]
    trials: tuple[TrialRecord, ...]
    best: int | None
    models: tuple[ModelRecord, ...]
    published_source: str
    published_device: str
    published_profile: str
    remarks: tuple[str, ...]
    is_comparable: bool
    differences: tuple[tuple[str, str, str], ...]
    claims: tuple[ClaimRecord, ...]
    pareto: tuple[str, ...]
    pareto_quantity: str
    sweep: SweepRecord | None
    search: SearchRecord | None
    confusion: ConfusionRecord | None
    fresh: FreshRuns
    missing: tuple[Missing, ...]
