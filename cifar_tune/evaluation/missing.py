"""What a report of a study lacks, and the commands that fill it in."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cifar_tune.config.study_file import StudySpec
from cifar_tune.evaluation.evidence import Evidence, TrialRecord
from cifar_tune.evaluation.invocations import name_options
from cifar_tune.evaluation.named_trials import ModelRecord

SEEDS_WANTED = 3
"""Below this number of replicates a report says how to get more."""
SHOWN = 4
"""How many of the trials that lack something are named."""


@dataclass(frozen=True)
class MissingResult:
    """Something that a report lacks, and the command that fills it in."""

    what: str
    command: str


def find_missing(
    evidence: Evidence, spec: StudySpec, models: Sequence[ModelRecord], name: str, run_command: str
) -> Iterator[MissingResult]:
    """Yield what is missing of the named trials of the study file ``name``."""
    yield from _missing_replicates(spec, models, run_command)
    complete = [trial for trial in evidence.complete if trial.name]
    unread = [trial for trial in complete if "test_accuracy" not in trial.values]
    kept = [trial for trial in unread if trial.has_weights]
    lost = [trial for trial in unread if not trial.has_weights]
    test_command = f"cifar-tune trial test {shlex.quote(name)} {name_options(spec)}"
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
    """Return the names of the first few trials, and how many more there are."""
    names = ", ".join(trial.name for trial in trials[:SHOWN])
    return names + (f" and {len(trials) - SHOWN} more" if len(trials) > SHOWN else "")
