"""The best configuration of a study: where it stands, and what was run of it since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cifar_tune.config.names import model_of, resolve_name, suggest_name
from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.wording import format_params
from cifar_tune.errors import InputError
from cifar_tune.evaluation.candidates import Candidate, group
from cifar_tune.evaluation.dataframes import import_pandas
from cifar_tune.evaluation.fresh_runs import FreshRuns, read_fresh_runs, with_fresh_outcomes
from cifar_tune.evaluation.ranking import Ranking, Standing, rank
from cifar_tune.notebook import render_table
from cifar_tune.storage import studies as stored
from cifar_tune.storage.invocations import study_arguments
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.wording import format_accuracy, format_percent

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Choice:
    """The configuration that a command is about, and why it is that one."""

    candidate: Candidate
    why: str


@dataclass(frozen=True)
class BestRecord(FreshRuns):
    """All that is known of the best configuration of a study.

    Attributes:
        location: Where it is stored.
        study_seed: The seed from which those of its trials derive.
        ranking: By all that is known, fresh seeds included.
        shortlist: What a confirmation trains: the first few by the study's own trials, so that
            fresh seeds do not change who is tried.

    Example:
        >>> best = ct.best_trials("dropout")
        >>> best.likely_best.label, best.ranking.lead, best.ranking.expected_lead
        >>> best.to_frame()
    """

    spec: StudySpec
    location: StorageLocation
    study_seed: int
    ranking: Ranking
    shortlist: tuple[Candidate, ...]

    @property
    def likely_best(self) -> Candidate:
        """The confirmed best, or else the first of the ranking."""
        if self.confirmation is not None and self.confirmation.best is not None:
            return self.confirmation.best.candidate
        return self.ranking.standings[0].candidate

    def to_frame(self) -> pd.DataFrame:
        """Return the ranking as a pandas DataFrame, one row a configuration, the best first.

        Accuracies are fractions: ``val_accuracy`` is the mean over ``trials``, ``expected`` that on
        new seeds, ``low`` and ``high`` the 95 % interval of the true mean, and ``fresh_accuracy``
        the mean over ``fresh_seeds`` of a confirmation.

        Raises:
            InputError: pandas is not installed (``cifar-tune[notebook]``).
        """
        return import_pandas().DataFrame(list(map(_frame_row, self.ranking.standings)))  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        """Show which study it is, and the likely best configuration."""
        return f"<BestRecord of {self.spec.study_name}: likely best: {self.likely_best.label}>"

    def _repr_html_(self) -> str:
        """Show the ranking in a notebook."""
        ranking = self.ranking
        rows = [
            (
                standing.candidate.label,
                format_params(standing.candidate.own),
                len(standing.candidate.measured),
                format_accuracy(standing.candidate.mean),
                format_accuracy(standing.expected),
                f"{format_accuracy(standing.low)} to {format_accuracy(standing.high)}",
                format_percent(standing.probability, 0),
            )
            for standing in ranking.standings
        ]
        columns = (
            "configuration",
            "values",
            "seeds",
            "validation accuracy",
            "expected on new seeds",
            "95 % interval",
            "probability of being the best",
        )
        text = f"best by validation: {ranking.observed_best.candidate.label}; "
        text += f"likely best: {self.likely_best.label}"
        return render_table(self.spec.study_name, text, columns, rows, self.test_use.sentence())

    def to_dict(self) -> dict[str, Any]:
        """Return the ranking and what was run since, as JSON has them."""
        ranking = self.ranking
        return {
            "validation_images": self.spec.protocol.validation_images,
            "observed_best": ranking.observed_best.candidate.label,
            "likely_best": self.likely_best.label,
            "lead": ranking.lead,
            "expected_lead": ranking.expected_lead,
            "seed_sd": ranking.seed_sd,
            "assumed_seed_sd": ranking.assumed_seed_sd,
            "shortlist": [standing.to_dict() for standing in ranking.shortlist],
            "confirmation": self.confirmation and self.confirmation.to_dict(),
            "reruns": [rerun.to_dict() for rerun in self.reruns],
            "ablations": [ablation.to_dict() for ablation in self.ablations],
            "test_use": self.test_use.to_dict(),
        }


def _frame_row(standing: Standing) -> dict[str, Any]:
    candidate = standing.candidate
    fresh = candidate.fresh
    return {
        "name": candidate.label,
        "trials": len(candidate.outcomes),
        "val_accuracy": candidate.mean,
        "expected": standing.expected,
        "low": standing.low,
        "high": standing.high,
        "probability_of_best": standing.probability,
        "fresh_seeds": len(fresh),
        "fresh_accuracy": sum(fresh) / len(fresh) if fresh else None,
        **{f"params.{key}": value for key, value in candidate.params.items()},
        **{f"settings.{key}": value for key, value in candidate.settings.items()},
    }


def compute_best(location: StorageLocation, spec: StudySpec, top: int | None = None) -> BestRecord:
    """Return all that is known of the best configuration of a stored study.

    The short list has ``top`` configurations, by default as many as ``rank`` takes.

    Raises:
        InputError: The study has no complete trial.
        StorageError: The storage cannot be read.
    """
    with explain_errors(location):
        study = stored.find_study(stored.open_to_read(location), spec.study_name)
        candidates = [] if study is None else group(stored.read_study(study).trials)
    if study is None or not candidates:
        command = f"cifar-tune study run {study_arguments(spec, location)}"
        raise InputError(
            f"{spec.study_name}: no trial is complete in {location}; `{command}` continues it"
        )
    fresh = read_fresh_runs(location, spec.study_name, candidates)
    images, same_images = spec.protocol.validation_images, spec.protocol.split == "fixed"
    own = ranking = rank(candidates, images, top, same_images=same_images)
    known = with_fresh_outcomes(candidates, fresh)
    if known != candidates:
        ranking = rank(known, images, top, same_images=same_images)
    return BestRecord(
        **vars(fresh),
        spec=spec,
        location=location,
        study_seed=study.user_attrs["seed"],
        ranking=ranking,
        shortlist=tuple(standing.candidate for standing in own.shortlist),
    )


def choose(record: BestRecord, trial: int | None, name: str | None) -> Choice:
    """Return the configuration of the trial of that number, or of that name.

    The name may be without its replicate. With neither it is the confirmed best, or the likely one.

    Raises:
        InputError: There is no complete trial of that number or name.
    """
    candidates = [standing.candidate for standing in record.ranking.standings]
    if trial is not None or name is not None:
        option = f"--name {name}" if trial is None else f"--trial {trial}"
        label = _find_label(candidates, name, option) if trial is None else None
        for candidate in candidates:
            if trial in candidate.numbers:
                return Choice(candidate, f"trial {trial}, as requested")
            if candidate.label == label:
                return Choice(candidate, f"{label}, as requested")
        known = ", ".join(
            f"{candidate.label} ({', '.join(map(str, candidate.numbers))})"
            for candidate in candidates
        )
        raise InputError(
            f"{option}: {record.spec.study_name} has no complete trial of that "
            f"{'name' if trial is None else 'number'}; complete are, with their numbers: {known}"
            f"{suggest_name(name or '', (candidate.label for candidate in candidates))}"
        )
    confirmation = record.confirmation
    if confirmation is not None and confirmation.best is not None:
        count, seeds = len(confirmation.candidates), confirmation.seeds
        why = f"best of {count} configurations on {seeds} fresh seeds"
        return Choice(confirmation.best.candidate, why)
    return Choice(
        record.likely_best, "the most probable best by the study's own trials, not confirmed yet"
    )


def _find_label(candidates: Sequence[Candidate], name: str | None, option: str) -> str | None:
    """Return the label that a name stands for, which may have a replicate."""
    labels = [candidate.label for candidate in candidates]
    return resolve_name(model_of(name or ""), labels, option)
