"""The best configuration of a study: where it stands, what fresh seeds say, what it is worth on the
test images, and how often those have been read."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cifar_tune.config.derived import PURPOSES, Purpose, derived_name, family
from cifar_tune.config.study_file import StudySpec
from cifar_tune.errors import InputError
from cifar_tune.evaluation.ablation import Ablation, read_ablations
from cifar_tune.evaluation.evidence import gather
from cifar_tune.evaluation.measure import compare, measure, replicates
from cifar_tune.evaluation.ranking import Candidate, Ranking, rank
from cifar_tune.evaluation.records import ContrastRecord, Evidence, Measured, TrialRecord
from cifar_tune.evaluation.test_reads import read_ledger
from cifar_tune.storage import studies as stored
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.storage.records import TrialSummary


@dataclass(frozen=True)
class TestUse:
    """How often the test images were read for a study and for those derived from it.

    Attributes:
        reads: rows of the ledger.
        configurations: of which they tell.
        trials_after: trials of the study, or of its confirmation, that were begun after the first.
    """

    reads: int
    configurations: int
    trials_after: int

    @property
    def is_flagged(self) -> bool:
        """Whether choosing among configurations can have had an eye on the test images."""
        return self.configurations > 1 or self.trials_after > 0

    def sentence(self) -> str:
        """The same in words."""
        if not self.reads:
            return "The test images have not been read for this study."
        times = "once" if self.reads == 1 else f"{self.reads} times"
        one = self.configurations == 1
        of = "one configuration" if one else f"{self.configurations} configurations"
        return f"The test images have been read {times} for this study, for {of}."

    def warnings(self) -> list[str]:
        """Why a choice among configurations may have been made with an eye on them."""
        said = []
        if self.configurations > 1:
            said.append(
                f"The test images were read for {self.configurations} configurations: whoever "
                "chooses among them by their test accuracies makes the test images validation "
                "images, and the chosen one's is then too high."
            )
        if self.trials_after:
            many = "1 trial was" if self.trials_after == 1 else f"{self.trials_after} trials were"
            said.append(
                f"{many} run after the first read of the test images: a choice among "
                "configurations since may have been made with those in sight."
            )
        return said


@dataclass(frozen=True)
class ConfirmedCandidate:
    """A configuration of a short list on fresh seeds.

    Attributes:
        val_accuracy: over the fresh seeds; None before the first is done.
        observed: the mean that it was put on the short list for.
        behind: how much better the confirmed best is, in pairs; None of itself.
    """

    candidate: Candidate
    val_accuracy: Measured | None
    observed: float
    behind: ContrastRecord | None

    @property
    def shrinkage(self) -> float | None:
        """What was observed first, less what fresh seeds gave."""
        return None if self.val_accuracy is None else self.observed - self.val_accuracy.mean


@dataclass(frozen=True)
class Confirmation:
    """A short list on fresh seeds, the highest mean first; ``best`` has all ``seeds``."""

    study_name: str
    seeds: int
    candidates: tuple[ConfirmedCandidate, ...]
    best: ConfirmedCandidate | None


@dataclass(frozen=True)
class Rerun:
    """A configuration trained again and read on the test images.

    Attributes:
        replicates: of each seed that is complete: its number, seed, accuracies and seconds; None
            where a figure does not exist.
    """

    study_name: str
    train_on: str
    candidate: Candidate
    val_accuracy: Measured | None
    test_accuracy: Measured | None
    seconds: Measured | None
    replicates: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Choice:
    """The configuration that a command is about, and why it is that one."""

    candidate: Candidate
    why: str


@dataclass(frozen=True)
class FreshRuns:
    """What was run beside a study: its short list, configurations for the test images, and those
    without some of their hyperparameters."""

    confirmation: Confirmation | None
    reruns: tuple[Rerun, ...]
    ablations: tuple[Ablation, ...]
    test_use: TestUse

    def rerun_of(self, candidate: Candidate, train_on: str) -> Rerun | None:
        """What a configuration gave when it was trained again on such images; None if it was
        not."""
        for one in self.reruns:
            if one.candidate.label == candidate.label and one.train_on == train_on:
                return one
        return None


@dataclass(frozen=True)
class BestRecord(FreshRuns):
    """All that is known of the best configuration of a study.

    Attributes:
        study_seed: from which the seeds of its trials derive.
        images: validation images that its trials were measured on.
    """

    study_name: str
    study_seed: int
    images: int
    ranking: Ranking


def compute_best(location: StorageLocation, spec: StudySpec, top: int | None = None) -> BestRecord:
    """All that is known of the best configuration of a stored study.

    Args:
        top: length of the short list; None as for ``likely_best.rank``.

    Raises:
        InputError: it has no complete trial.
        StorageError: the storage cannot be read.
    """
    study_seed, candidates = read_candidates(location, spec.study_name)
    fresh = read_fresh_runs(location, spec.study_name, candidates)
    return BestRecord(
        **vars(fresh),
        study_name=spec.study_name,
        study_seed=study_seed,
        images=spec.protocol.validation_images,
        ranking=rank(candidates, spec.protocol.validation_images, top),
    )


def choose(record: BestRecord, trial: int | None, name: str | None) -> Choice:
    """The configuration that is meant.

    Args:
        trial: its number, or that of one of its replicates; None leaves the choice.
        name: the named trial, with or without its replicate; likewise.

    Raises:
        InputError: there is no complete trial of that number or name.
    """
    everyone = [one.candidate for one in record.ranking.standings]
    if trial is not None:
        for one in everyone:
            if trial in one.numbers:
                return Choice(one, f"trial {trial}, as asked for")
        raise InputError(
            f"--trial {trial}: {record.study_name} has no complete trial of that number; "
            f"{_known(everyone)}"
        )
    if name is not None:
        for one in everyone:
            if name == one.label or name.rpartition("/seed=")[0] == one.label:
                return Choice(one, f"{one.label}, as asked for")
        raise InputError(
            f"--name {name}: {record.study_name} has no complete trial of that name; "
            f"{_known(everyone)}"
        )
    confirmation = record.confirmation
    if confirmation is not None and confirmation.best is not None:
        return Choice(
            confirmation.best.candidate,
            f"the best of {len(confirmation.candidates)} on {confirmation.seeds} fresh seeds",
        )
    first = record.ranking.standings[0].candidate
    return Choice(first, "the likely best by the study's own trials; `best confirm` tests that")


def _known(candidates: Sequence[Candidate]) -> str:
    names = (f"{one.label} ({', '.join(map(str, one.numbers))})" for one in candidates)
    return f"complete are, with their numbers: {', '.join(names)}"


# --- candidates ---------------------------------------------------------------------------------


def read_candidates(location: StorageLocation, study_name: str) -> tuple[int, list[Candidate]]:
    """The seed of a stored study, and its configurations that have complete trials.

    Raises:
        InputError: none is complete.
    """
    with explain_errors(location):
        study = stored.find_study(stored.open_to_read(location), study_name)
        candidates = [] if study is None else group(stored.read_study(study).trials)
    if study is None or not candidates:
        raise InputError(
            f"{study_name}: no trial is complete in {location}, so there is no best one; "
            f"`cifar-tune study run {study_name.partition(':')[0]}` continues it"
        )
    return study.user_attrs["seed"], candidates


def group(trials: Iterable[TrialSummary | TrialRecord]) -> list[Candidate]:
    """Complete trials by configuration, in the order of their first ones."""
    found: dict[str, list[TrialSummary | TrialRecord]] = {}
    for trial in trials:
        if trial.state == "complete":
            found.setdefault(_label(trial.name, trial.number), []).append(trial)
    return [
        Candidate(
            label=label,
            numbers=tuple(one.number for one in alike),
            outcomes=tuple(one.val_accuracy or 0.0 for one in alike),
            params=dict(alike[0].params),
            settings=dict(alike[0].settings),
        )
        for label, alike in found.items()
    ]


def _label(name: str | None, number: int) -> str:
    """What a configuration is called, by one of its trials."""
    model = (name or "").rpartition("/")[0]
    return model or f"sampled/trial-{number}"


# --- derived studies ----------------------------------------------------------------------------


def read_fresh_runs(
    location: StorageLocation, study_name: str, candidates: Sequence[Candidate]
) -> FreshRuns:
    """What was run beside a study.

    Args:
        candidates: its configurations.
    """
    use = _read_test_use(location, study_name)
    with explain_errors(location):
        storage = stored.open_to_read(location)
        derived = family(study_name)[1:]
        # To open a database takes longer than to look which studies it has.
        if all(stored.find_study(storage, name) is None for name in derived):
            return FreshRuns(None, (), (), use)
    again = {purpose: _gather(location, study_name, purpose) for purpose in PURPOSES[1:]}
    rerun = again["rerun"]
    return FreshRuns(
        confirmation=_read_confirmation(location, study_name, candidates),
        reruns=tuple(_read_reruns(again, candidates)),
        ablations=() if rerun is None else tuple(read_ablations(rerun, candidates)),
        test_use=use,
    )


def _read_confirmation(
    location: StorageLocation, study_name: str, candidates: Sequence[Candidate]
) -> Confirmation | None:
    """What fresh seeds say of a short list; None where none were run."""
    evidence = _gather(location, study_name, "confirm")
    if evidence is None:
        return None
    known = {one.label: one for one in candidates}
    measured = {
        label: measure(evidence, replicates(evidence, label), "val_accuracy")
        for label in evidence.definition["named"]
        if label in known
    }
    seeds = max((one.seeds for one in measured.values() if one is not None), default=0)
    done = [label for label, one in measured.items() if one is not None and one.seeds == seeds]
    best = max(done, key=lambda label: _mean(measured[label]), default=None)
    found = []
    for label, one in measured.items():
        behind = None
        if best is not None and label != best:
            compared = compare(evidence, best, label, "val_accuracy", 0.01)
            behind = None if isinstance(compared, str) else compared[1]
        found.append(ConfirmedCandidate(known[label], one, known[label].mean, behind))
    found.sort(key=lambda one: -_mean(one.val_accuracy))
    chosen = next((one for one in found if one.candidate.label == best), None)
    return Confirmation(derived_name(study_name, "confirm"), seeds, tuple(found), chosen)


def _read_reruns(
    again: Mapping[Purpose, Evidence | None], candidates: Sequence[Candidate]
) -> Iterable[Rerun]:
    """What configurations gave that were trained again for the test images."""
    known = {one.label: one for one in candidates}
    for purpose, evidence in again.items():
        for label in evidence.definition["named"] if evidence is not None else ():
            if label in known and evidence is not None:
                yield _read_rerun(evidence, known[label], purpose)


def _read_rerun(evidence: Evidence, candidate: Candidate, purpose: Purpose) -> Rerun:
    trials = replicates(evidence, candidate.label)
    trains_on_all = purpose == "rerun-all"
    return Rerun(
        study_name=evidence.study_name,
        train_on="train+val" if trains_on_all else "train",
        candidate=candidate,
        val_accuracy=None if trains_on_all else measure(evidence, trials, "val_accuracy"),
        test_accuracy=measure(evidence, trials, "test_accuracy"),
        seconds=measure(evidence, trials, "seconds"),
        replicates=tuple(
            {
                "number": trial.number,
                "replicate": trial.replicate,
                "seed": trial.seed,
                "val_accuracy": None if trains_on_all else trial.values.get("val_accuracy"),
                "test_accuracy": trial.values.get("test_accuracy"),
                "test_flip_accuracy": trial.values.get("test_flip_accuracy"),
                "seconds": round(trial.values["seconds"], 3),
            }
            for trial in trials
        ),
    )


def _gather(location: StorageLocation, study_name: str, purpose: Purpose) -> Evidence | None:
    name = derived_name(study_name, purpose)
    with explain_errors(location):
        study = stored.find_study(stored.open_to_read(location), name)
        if study is None or "named" not in study.user_attrs:
            return None
    return gather(location, name, f"cifar-tune best {purpose.partition('-')[0]}")


def _mean(measured: Measured | None) -> float:
    return -1.0 if measured is None else measured.mean


# --- the test images ----------------------------------------------------------------------------


def _read_test_use(location: StorageLocation, study_name: str) -> TestUse:
    """How often the test images were read for a study and for those derived from it."""
    names = family(study_name)
    with explain_errors(location):
        storage = stored.open_to_read(location)
        if storage is None:
            return TestUse(0, 0, 0)
        reads = [one for one in read_ledger(storage.engine) if one.result.study_name in names]
        searching = (study_name, derived_name(study_name, "confirm"))
        found = [stored.find_study(storage, name) for name in searching] if reads else []
        begun = [
            trial.datetime_start.astimezone(datetime.UTC)
            for study in found
            if study is not None
            for trial in study.get_trials(deepcopy=False)
            if trial.datetime_start is not None
        ]
    first = min((datetime.datetime.fromisoformat(one.time) for one in reads), default=None)
    return TestUse(
        reads=len(reads),
        configurations=len({_label(one.result.name, one.result.trial) for one in reads}),
        trials_after=0 if first is None else sum(one > first for one in begun),
    )
