"""What an export of a study holds, as models that prove all of it before anything is written.

Whoever sends a file can give it a right digest, so that its content is believed only as far as
these models check it.
"""

from __future__ import annotations

import datetime
import json
from typing import Annotated, Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cifar_tune.config.checked import Count, Digest, Finite, Fraction, Label, Moment, Positive, Text
from cifar_tune.config.derived import family, origin_of
from cifar_tune.config.faults import read_record
from cifar_tune.config.space import fault
from cifar_tune.errors import InputError, StorageError
from cifar_tune.evaluation.export.study_predictions import ExportedAnswers
from cifar_tune.evaluation.test_reads import TestRead
from cifar_tune.storage.attributes import StudyAttributes, check_trial
from cifar_tune.storage.origin import is_foreign, list_all_trials, read_own_attributes
from cifar_tune.storage.study_folders import ATTRIBUTE as FOLDERS

Step = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")]
SAME = 1e-9
"""Two figures for one accuracy differ by less."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ExportedTrial(_Part):
    """A trial that is at its end."""

    number: Count
    state: Literal["complete", "pruned", "fail"]
    value: Fraction | None
    params: dict[Label, Finite]
    distributions: dict[Label, dict[str, Any]]
    attributes: dict[Label, Any]
    val_accuracy: dict[Step, Fraction]
    begun: Moment | None
    ended: Moment | None

    @model_validator(mode="after")
    def _is_a_trial(self) -> ExportedTrial:
        try:
            trial = self.to_frozen()
        except (ValueError, KeyError, TypeError, ArithmeticError, AttributeError) as error:
            reason = str(error) or type(error).__name__
            raise fault(f"trial {self.number}", f"what Optuna can store: {reason:.200}") from error
        attributes = read_own_attributes(trial)
        try:
            check_trial(trial, attributes, "attributes")
        except StorageError as error:
            raise fault(str(error), f"trial {self.number} as a run stores it") from error
        if self.state == "complete":
            last = attributes["history"][-1]["val_accuracy"]
            if self.value is None or abs(last - self.value) > SAME:
                raise fault(f"value = {self.value}", f"{last}, which its last epoch had")
        return self

    def to_frozen(self) -> FrozenTrial:
        """Return the trial as Optuna stores it."""
        frozen = create_trial(
            state=TrialState[self.state.upper()],
            value=self.value,
            params=self.params,
            distributions={
                name: json_to_distribution(json.dumps(distribution))
                for name, distribution in self.distributions.items()
            },
            user_attrs=self.attributes,
            intermediate_values={int(step): value for step, value in self.val_accuracy.items()},
        )
        frozen.datetime_start = _as_local(self.begun)
        frozen.datetime_complete = _as_local(self.ended)
        return frozen


def describe_trial(trial: FrozenTrial) -> dict[str, Any]:
    """Return a stored trial as an export has it."""
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value,
        "params": trial.params,
        "distributions": {
            name: json.loads(distribution_to_json(distribution))
            for name, distribution in trial.distributions.items()
        },
        "attributes": dict(sorted(trial.user_attrs.items())),
        "val_accuracy": {str(step): value for step, value in trial.intermediate_values.items()},
        "begun": _as_utc(trial.datetime_start),
        "ended": _as_utc(trial.datetime_complete),
    }


def _as_utc(moment: datetime.datetime | None) -> str | None:
    """Return Optuna's local time without a zone as ISO 8601 in UTC."""
    return None if moment is None else moment.astimezone(datetime.UTC).isoformat()


def _as_local(moment: str | None) -> datetime.datetime | None:
    if moment is None:
        return None
    return datetime.datetime.fromisoformat(moment).astimezone().replace(tzinfo=None)


def _without_content(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial that another program made as one that only has a number."""
    if not is_foreign(trial):
        return trial
    empty = create_trial(state=TrialState.FAIL)
    empty.number, empty.datetime_start, empty.datetime_complete = trial.number, None, None
    return empty


class ExportedStudy(_Part):
    """A study whose trials are at their end."""

    study_name: Label
    attributes: dict[Label, Any]
    trials: list[ExportedTrial]

    @model_validator(mode="after")
    def _is_a_study(self) -> ExportedStudy:
        try:
            read_record(StudyAttributes, self.attributes, "attributes", InputError)
        except InputError as error:
            raise fault(str(error), "a study as a run stores it") from error
        file_name, _, rest = origin_of(self.study_name).partition(":")
        if file_name in ("", ".", "..") or "/" in file_name or not rest:
            raise fault(f"study_name = {self.study_name!r}", "the name of a study file, : and more")
        if [trial.number for trial in self.trials] != list(range(len(self.trials))):
            raise fault("trials", "numbers in order, from 0")
        self._check_distributions()
        return self

    def _check_distributions(self) -> None:
        """Check that a hyperparameter is of one kind in all trials, as Optuna wants it."""
        known: dict[str, BaseDistribution] = {}
        for trial in self.trials:
            for name, one in trial.to_frozen().distributions.items():
                try:
                    check_distribution_compatibility(known.setdefault(name, one), one)
                except ValueError as error:
                    raise fault(f"trial {trial.number}: {name}", "the others' kind") from error

    @classmethod
    def of(cls, study: optuna.Study, advice: str = "") -> ExportedStudy:
        """Return a stored study as an export has it.

        ``advice`` says what to do where trials have not ended.

        Raises:
            InputError: Trials of it still run or wait, or are not as this program stores them.
        """
        trials = list(map(_without_content, list_all_trials(study)))
        unfinished = [trial.number for trial in trials if not trial.state.is_finished()]
        if unfinished:
            numbers = ", ".join(map(str, unfinished))
            raise InputError(
                f"study {study.study_name}: trials {numbers} are not at their end{advice}"
            )
        content = {
            "study_name": study.study_name,
            "attributes": {
                key: study.user_attrs[key] for key in sorted(study.user_attrs.keys() - {FOLDERS})
            },
            "trials": list(map(describe_trial, trials)),
        }
        return read_record(cls, content, f"study {study.study_name}", InputError)


class StudyExport(_Part):
    """A study, and those derived from it; ``answers`` is None in a file of format 1."""

    format: Positive
    cifar_tune: Text
    studies: Annotated[list[ExportedStudy], Field(min_length=1)]
    answers: ExportedAnswers | None = None
    test_reads: list[TestRead]
    sha256: Digest

    @model_validator(mode="after")
    def _belongs_together(self) -> StudyExport:
        if self.format > 1 and self.answers is None:
            raise fault("answers", "those of its trials; they are missing")
        names = [study.study_name for study in self.studies]
        related = family(origin_of(names[0]))
        strangers = [name for name in names if name not in related or names.count(name) > 1]
        if strangers:
            raise fault(f"study {strangers[0]!r}", f"one study of each name: {', '.join(related)}")
        for read in self.test_reads:
            if read.result.study_name not in related:
                raise fault(
                    f"a read of the test images for study {read.result.study_name!r}",
                    f"reads for {', '.join(names)} only",
                )
        return self
