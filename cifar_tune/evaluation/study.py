"""The report of a study: everything that the storage holds of it, as one record."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cifar_tune.config.study_file import LoadedStudyFile, StudySpec, resolve
from cifar_tune.evaluation import named_trials
from cifar_tune.evaluation.answer import Answer
from cifar_tune.evaluation.candidates import Candidate, group
from cifar_tune.evaluation.claims import ClaimRecord, judge_claims
from cifar_tune.evaluation.compared import read_confirmed
from cifar_tune.evaluation.confusion import ConfusionRecord, compute_confusion
from cifar_tune.evaluation.evidence import Evidence, TrialRecord, gather
from cifar_tune.evaluation.fresh_runs import FreshRuns, read_fresh_runs, with_fresh_outcomes
from cifar_tune.evaluation.leader import compute_answer
from cifar_tune.evaluation.measure import replicates
from cifar_tune.evaluation.named_trials import ModelRecord, SweepRecord
from cifar_tune.evaluation.ranking import Ranking, rank
from cifar_tune.evaluation.search_summary import SearchRecord, compute_search
from cifar_tune.storage.invocations import name_options, study_arguments
from cifar_tune.storage.location import StorageLocation

COLUMNS = (
    "part", "model", "trial", "seed", "state", "epoch", "quantity", "than", "value", "low", "high",
    "sd", "seeds", "images", "verdict",
)  # fmt: skip
"""Of a report's CSV. ``part`` says what a row is: ``measured``, ``published``, ``trial``,
``epoch``, ``claim``, ``class`` or ``confusion``."""
SEEDS_WANTED = 3
"""Below this number of replicates a report says how to get more."""
MOST_RANKED = 500
"""A ranking of more configurations takes too long for a report."""
TRIALS_NAMED = 4
"""How many of the trials that lack something are named."""


@dataclass(frozen=True)
class MissingResult:
    """Something that a report lacks, and the command that fills it in."""

    what: str
    command: str


@dataclass(frozen=True)
class StudyDescription:
    """What a study file and its profile say of a study.

    Attributes:
        options: The options of the command line that name this study, such as
            ``--profile quick``.
        arguments: Those of a command that name this study, such as ``dropout --profile quick``.
        command: The command that runs the study.
    """

    study_name: str
    file_name: str
    title: str
    description: str
    profile: str
    profile_description: str
    options: str
    arguments: str
    command: str
    protocol: dict[str, Any]


@dataclass(frozen=True)
class ReportRecord(StudyDescription):
    """Everything that a report of a study states.

    Accuracies are fractions, times are seconds of training and validation.

    Attributes:
        answer: What it says of its question.
        is_comparable: Whether its protocol is that of the published figures, for all models.
        differences: What sets the protocols apart, as (key, published, here).
        pareto: The models that no other beats in accuracy and time together.
        pareto_quantity: The accuracy that was compared for that.
        ranking: The configurations as ``best show`` ranks them; None if too few or too many are
            complete.
        fresh: What was run beside the study, and how often the test images were read for it.
    """

    answer: Answer
    devices: tuple[str, ...]
    software: tuple[str, ...]
    trials: tuple[TrialRecord, ...]
    best: int | None
    models: tuple[ModelRecord, ...]
    published_source: str
    published_device: str
    published_command: str
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
    ranking: Ranking | None
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
        record = {**asdict(self), "answer": self.answer.to_dict()}
        if self.ranking is not None:
            shortlist = [standing.to_dict() for standing in self.ranking.shortlist]
            record["ranking"] = {"shortlist": shortlist, "seed_sd": self.ranking.seed_sd}
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
    location: StorageLocation,
    loaded: LoadedStudyFile,
    spec: StudySpec,
    named: StorageLocation | None,
) -> ReportRecord:
    """Return everything that is known of a stored study.

    ``named`` is the database that the commands name that a reader is told; None names none.

    Raises:
        InputError: The study is not stored.
        StorageError: The storage cannot be read.
    """
    description = _describe(loaded, spec, study_arguments(spec, named))
    confirmed = read_confirmed(location, spec.study_name)
    evidence = gather(location, spec.study_name, description.command)
    models = named_trials.compute_models(evidence, loaded, spec, description.command)
    quantity = named_trials.choose_pareto_quantity(models)
    shown = named_trials.most_accurate(models)
    published = loaded.content.published
    candidates = group(evidence.trials)
    fresh = read_fresh_runs(location, spec.study_name, candidates)
    differences = named_trials.protocol_differences(loaded, spec)
    return ReportRecord(
        **vars(description),
        answer=compute_answer(evidence, confirmed, spec, named),
        devices=evidence.devices,
        software=evidence.software,
        trials=evidence.trials,
        best=None if evidence.best is None else evidence.best.number,
        models=models,
        published_source=published.source if published else "",
        published_device=published.device if published else "",
        published_command=_published_command(loaded, named),
        remarks=tuple(published.remarks) if published else (),
        is_comparable=published is not None and not differences,
        differences=differences,
        claims=judge_claims(evidence, loaded.content.claims),
        pareto=named_trials.find_pareto_front(models, quantity),
        pareto_quantity=quantity,
        sweep=named_trials.compute_sweep(evidence, spec),
        search=compute_search(evidence, spec),
        confusion=compute_confusion(evidence, shown, replicates(evidence, shown)),
        fresh=fresh,
        ranking=_rank(spec, candidates, fresh),
        missing=tuple(_find_missing(evidence, spec, models, description)),
    )


def _describe(loaded: LoadedStudyFile, spec: StudySpec, arguments: str) -> StudyDescription:
    return StudyDescription(
        study_name=spec.study_name,
        file_name=loaded.name,
        title=loaded.content.title,
        description=" ".join(loaded.content.description.split()),
        profile=spec.profile_name,
        profile_description=loaded.content.profiles[spec.profile_name].description,
        options=name_options(spec),
        arguments=arguments,
        command=f"cifar-tune study run {arguments}",
        protocol=spec.protocol.model_dump(exclude_none=True),
    )


def _rank(spec: StudySpec, candidates: Sequence[Candidate], fresh: FreshRuns) -> Ranking | None:
    if not 2 <= len(candidates) <= MOST_RANKED:
        return None
    known = with_fresh_outcomes(candidates, fresh)
    protocol = spec.protocol
    return rank(known, protocol.validation_images, same_images=protocol.split == "fixed")


def _published_command(loaded: LoadedStudyFile, named: StorageLocation | None) -> str:
    """Return the command that runs the protocol of the published figures, if there are any."""
    published = loaded.content.published
    if published is None:
        return ""
    return f"cifar-tune study run {study_arguments(resolve(loaded, published.profile), named)}"


# --- what is missing -----------------------------------------------------------------------------


def _find_missing(
    evidence: Evidence,
    spec: StudySpec,
    models: Sequence[ModelRecord],
    description: StudyDescription,
) -> Iterator[MissingResult]:
    """Yield what is missing of the named trials."""
    run_command = description.command
    yield from _missing_replicates(spec, models, run_command)
    complete = [trial for trial in evidence.complete if trial.name]
    unread = [trial for trial in complete if "test_accuracy" not in trial.values]
    kept = [trial for trial in unread if trial.has_weights]
    lost = [trial for trial in unread if not trial.has_weights]
    test_command = f"cifar-tune trial test {description.arguments}"
    if kept:
        yield MissingResult(f"test accuracy of {_list(kept)}", test_command)
    if lost:
        what = (
            f"test accuracy of {_list(lost)}: their weights were not kept; with "
            f'keep_weights = "named" in profiles.{spec.profile_name} of the study file they are'
        )
        yield MissingResult(what, f"{run_command} --storage other.db")
    has_weights = any(trial.has_weights for trial in complete)
    if has_weights and not evidence.validation and not evidence.test:
        what = "answers on each image, of which the confusion matrix is made"
        yield MissingResult(what, test_command)


def _missing_replicates(
    spec: StudySpec, models: Sequence[ModelRecord], run_command: str
) -> Iterator[MissingResult]:
    wanted = max(spec.profile.seeds, SEEDS_WANTED)
    lacking = [model for model in models if len(model.trials) < wanted]
    if lacking:
        counts = ", ".join(f"{model.name} ({len(model.trials)})" for model in lacking)
        names = [] if len(lacking) == len(models) else [model.name for model in lacking]
        only = "".join(f" --only {shlex.quote(name)}" for name in names)
        what = f"replicates; of {wanted} seeds each there are {counts}"
        yield MissingResult(what, f"{run_command}{only} --seeds {wanted}")


def _list(trials: Sequence[TrialRecord]) -> str:
    names = ", ".join(trial.name for trial in trials[:TRIALS_NAMED])
    return names + (f" and {len(trials) - TRIALS_NAMED} more" if len(trials) > TRIALS_NAMED else "")
