"""The report of a study: everything that the storage holds of it, as one record."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from typing import Any

from cifar_tune.config.study_file import LoadedStudyFile, StudySpec
from cifar_tune.evaluation.candidates import group
from cifar_tune.evaluation.claims import ClaimRecord, judge_claims
from cifar_tune.evaluation.confusion import ConfusionRecord, compute_confusion
from cifar_tune.evaluation.evidence import TrialRecord, gather
from cifar_tune.evaluation.fresh_runs import FreshRuns, read_fresh_runs
from cifar_tune.evaluation.invocations import name_options
from cifar_tune.evaluation.measure import replicates
from cifar_tune.evaluation.missing import MissingResult, find_missing
from cifar_tune.evaluation.named_trials import (
    ModelRecord,
    choose_pareto_quantity,
    compute_models,
    find_pareto_front,
    most_accurate,
)
from cifar_tune.evaluation.published import protocol_differences
from cifar_tune.evaluation.search_summary import SearchRecord, compute_search
from cifar_tune.evaluation.sweep import SweepRecord, compute_sweep
from cifar_tune.storage.location import StorageLocation

COLUMNS = (
    "part", "model", "trial", "seed", "state", "epoch", "quantity", "than", "value", "low", "high",
    "sd", "seeds", "images", "verdict",
)  # fmt: skip
"""Of a report's CSV. ``part`` says what a row is: ``measured``, ``published``, ``trial``,
``epoch``, ``claim``, ``class`` or ``confusion``."""


@dataclass(frozen=True)
class StudyDescription:
    """What a study file and its profile say of a study.

    Attributes:
        file_name: The study file's name.
        options: The options of the command line that name this study, such as
            ``--profile quick``.
        command: The command that runs the study.
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


@dataclass(frozen=True)
class ReportRecord(StudyDescription):
    """Everything that a report of a study states.

    Accuracies are fractions, times are seconds of training and validation.

    Attributes:
        is_comparable: Whether its protocol is that of the published figures, for all models.
        differences: What sets the protocols apart, as (key, published, here).
        pareto: The models that no other beats in accuracy and time together.
        pareto_quantity: The accuracy that was compared for that.
        fresh: What was run beside the study, and how often the test images were read for it.
    """

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
    missing: tuple[MissingResult, ...]

    @property
    def report_command(self) -> str:
        """The command that makes the report."""
        return self.command.replace("study run", "report", 1)

    @property
    def trained(self) -> list[ModelRecord]:
        """The models that have a complete replicate."""
        return [model for model in self.models if model.trials]

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON has it, without the pixels of images."""
        record = asdict(self)
        for image in (record["confusion"] or {}).get("most_wrong", ()):
            del image["pixels"]
        return record

    def to_rows(self) -> list[dict[str, object]]:
        """Return every number of the report, one a row, under the names of ``COLUMNS``."""
        return [
            {key: "" if row.get(key) is None else row[key] for key in COLUMNS}
            for part in (*self.models, *self.trials, *self.claims, self.confusion)
            if part is not None
            for row in part.to_rows()
        ]


def compute_report(
    location: StorageLocation, loaded: LoadedStudyFile, spec: StudySpec, name: str
) -> ReportRecord:
    """Return everything that is known of a stored study of the study file ``name``.

    Raises:
        InputError: The study is not stored.
        StorageError: The storage cannot be read.
    """
    description = _describe(loaded, spec, name)
    evidence = gather(location, spec.study_name, description.command)
    models = compute_models(evidence, loaded, spec, description.command)
    quantity, shown = choose_pareto_quantity(models), most_accurate(models)
    published = loaded.content.published
    differences = protocol_differences(loaded, spec)
    return ReportRecord(
        **vars(description),
        devices=evidence.devices,
        software=evidence.software,
        trials=evidence.trials,
        best=None if evidence.best is None else evidence.best.number,
        models=models,
        published_source=published.source if published else "",
        published_device=published.device if published else "",
        published_profile=published.profile if published else "",
        remarks=tuple(published.remarks) if published else (),
        is_comparable=published is not None and not differences,
        differences=differences,
        claims=judge_claims(evidence, loaded.content.claims),
        pareto=find_pareto_front(models, quantity),
        pareto_quantity=quantity,
        sweep=compute_sweep(evidence, spec),
        search=compute_search(evidence, spec),
        confusion=compute_confusion(evidence, shown, replicates(evidence, shown)),
        fresh=read_fresh_runs(location, spec.study_name, group(evidence.trials)),
        missing=tuple(find_missing(evidence, spec, models, name, description.command)),
    )


def _describe(loaded: LoadedStudyFile, spec: StudySpec, name: str) -> StudyDescription:
    options = name_options(spec)
    return StudyDescription(
        study_name=spec.study_name,
        file_name=loaded.name,
        title=loaded.content.title,
        description=" ".join(loaded.content.description.split()),
        profile=spec.profile_name,
        profile_description=loaded.content.profiles[spec.profile_name].description,
        options=options,
        command=f"cifar-tune study run {shlex.quote(name)} {options}",
        protocol=spec.protocol.model_dump(exclude_none=True),
    )
