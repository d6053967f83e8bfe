"""Studies beside each other: how they differ, and what the models that they share are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cifar_tune.config.schema import NamedTrial
from cifar_tune.config.study_file import StudySpec
from cifar_tune.errors import InputError
from cifar_tune.evaluation.differences import Difference, list_differences
from cifar_tune.evaluation.evidence import Evidence, TrialRecord, gather
from cifar_tune.evaluation.measure import compare, measure, replicates
from cifar_tune.evaluation.quantities import ContrastRecord, Measured
from cifar_tune.storage.invocations import study_arguments
from cifar_tune.storage.location import StorageLocation
from cifar_tune.training.predictions import Answers

COMPARED = ("val_accuracy", "test_accuracy", "seconds")
"""The quantities that are compared."""
_OF_VALIDATION_IMAGES = ("data", "split", "train_images", "validation_images", "augment_validation")
"""Keys of a protocol that decide which validation images a trial is evaluated on, and how."""


@dataclass(frozen=True)
class ComparedStudy:
    """One of the studies.

    Attributes:
        trials: How many trials are stored.
        complete: How many of them are complete.
        best: The highest validation accuracy; it was selected, so new seeds score lower on average.
    """

    study_name: str
    title: str
    trials: int
    complete: int
    best: float | None
    best_label: str


@dataclass(frozen=True)
class ComparedQuantity:
    """A quantity of a model in each study, beside the first study.

    Attributes:
        quantity: Its name, one of ``COMPARED``.
        measured: The quantity in each study; None where the study has none.
        contrasts: The quantity in each study less that in the first; None for the first one, and
            where ``reasons`` says why they are not compared.
        reasons: Why a study is not compared with the first; empty where it is.
    """

    quantity: str
    measured: tuple[Measured | None, ...]
    contrasts: tuple[ContrastRecord | None, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ComparedModel:
    """A named trial that at least two studies have.

    Two named trials are the same model where they have the same values of all that a named trial
    of these studies sets.

    Attributes:
        names: Its name in each study; None where the study does not have it.
        own: Those values.
        is_identical: Whether its full configuration is the same in all studies that have it.
    """

    names: tuple[str | None, ...]
    own: dict[str, Any]
    is_identical: bool
    quantities: tuple[ComparedQuantity, ...]


@dataclass(frozen=True)
class StudyComparison:
    """Studies, how their protocols and search spaces differ, and the models that they share."""

    studies: tuple[ComparedStudy, ...]
    protocol: tuple[Difference, ...]
    search: tuple[Difference, ...]
    models: tuple[ComparedModel, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as a JSON object shows it."""
        return asdict(self)


def compare_studies(specs: Sequence[StudySpec], location: StorageLocation) -> StudyComparison:
    """Compare stored studies with the first of them.

    Raises:
        InputError: Fewer than two studies are given, or one twice, or one is not stored.
        StorageError: The storage cannot be read.
    """
    names = [spec.study_name for spec in specs]
    if len(set(names)) < max(2, len(names)):
        raise InputError(f"{', '.join(names)}: expected two studies or more, each once")
    evidences = [
        gather(location, spec.study_name, f"cifar-tune study run {study_arguments(spec, location)}")
        for spec in specs
    ]
    definitions = [evidence.definition for evidence in evidences]
    protocols = [
        {**definition.get("protocol", {}), "precision": definition.get("precision", "fp32")}
        for definition in definitions
    ]
    searches = [
        {**definition.get("space", {}), **_search_settings(definition)}
        for definition in definitions
    ]
    joined = _join(evidences)
    return StudyComparison(
        studies=tuple(map(_describe, specs, evidences)),
        protocol=list_differences(protocols),
        search=list_differences(searches),
        models=tuple(
            _compare_model(joined, evidences, own, names) for own, names in _match_models(specs)
        ),
    )


def _describe(spec: StudySpec, evidence: Evidence) -> ComparedStudy:
    best = evidence.best
    return ComparedStudy(
        study_name=spec.study_name,
        title=spec.title,
        trials=len(evidence.trials),
        complete=len(evidence.complete),
        best=None if best is None else best.val_accuracy,
        best_label="" if best is None else best.label,
    )


def _search_settings(definition: Mapping[str, Any]) -> dict[str, Any]:
    return {key: definition.get(key) for key in ("sampler", "pruner", "seed")}


def _match_models(
    specs: Sequence[StudySpec],
) -> list[tuple[dict[str, Any], tuple[str | None, ...]]]:
    """Return what each shared model sets, and its name in each study.

    What one study's named trial sets for itself, another's may have from its protocol.
    """
    keys = {key for spec in specs for named in spec.named for key in _own(named)}
    found: list[tuple[dict[str, Any], list[str | None]]] = []
    for place, spec in enumerate(specs):
        for named in spec.named:
            config = vars(spec.named_config(named, seed=0))
            own = {key: config[key] for key in config if key in keys}
            row = next((names for known, names in found if known == own), None)
            if row is None:
                row = [None] * len(specs)
                found.append((own, row))
            row[place] = row[place] or named.name
    return [(own, tuple(names)) for own, names in found if len(list(filter(None, names))) > 1]


def _own(named: NamedTrial) -> dict[str, Any]:
    return {**named.params, **named.settings.given()}


def _join(evidences: Sequence[Evidence]) -> Evidence:
    """Return the trials of all studies as those of one, with numbers and models of their own."""
    trials: list[TrialRecord] = []
    validation: dict[int, Answers] = {}
    test: dict[int, Answers] = {}
    reads = []
    offset = 0
    for place, evidence in enumerate(evidences):
        for trial in evidence.trials:
            model = _model_name(place, trial.model)
            trials.append(replace(trial, number=trial.number + offset, model=model))
        validation |= {number + offset: kept for number, kept in evidence.validation.items()}
        test |= {number + offset: kept for number, kept in evidence.test.items()}
        reads += [
            replace(read, result=replace(read.result, trial=read.result.trial + offset))
            for read in evidence.test_reads
        ]
        offset += 1 + max((trial.number for trial in evidence.trials), default=0)
    return replace(
        evidences[0],
        trials=tuple(trials),
        test_reads=tuple(reads),
        validation=validation,
        test=test,
    )


def _model_name(place: int, model: str) -> str:
    return f"{place}:{model}" if model else ""


def _compare_model(
    joined: Evidence,
    evidences: Sequence[Evidence],
    own: dict[str, Any],
    names: tuple[str | None, ...],
) -> ComparedModel:
    configs = [
        [_without_seed(trial) for trial in replicates(evidence, name)]
        for evidence, name in zip(evidences, names, strict=True)
        if name is not None
    ]
    known = [config for of_study in configs for config in of_study]
    return ComparedModel(
        names=names,
        own=own,
        is_identical=all(configs) and all(config == known[0] for config in known),
        quantities=tuple(
            _compare_quantity(joined, evidences, names, quantity) for quantity in COMPARED
        ),
    )


def _without_seed(trial: TrialRecord) -> dict[str, Any]:
    return {key: value for key, value in trial.config.items() if key != "seed"}


def _compare_quantity(
    joined: Evidence,
    evidences: Sequence[Evidence],
    names: tuple[str | None, ...],
    quantity: str,
) -> ComparedQuantity:
    measured: list[Measured | None] = []
    contrasts: list[ContrastRecord | None] = []
    reasons: list[str] = []
    first = next(place for place, name in enumerate(names) if name is not None)
    for place, (evidence, name) in enumerate(zip(evidences, names, strict=True)):
        if name is None:
            measured.append(None)
            contrasts.append(None)
            reasons.append("not in this study")
            continue
        trials = replicates(evidence, name)
        measured.append(measure(evidence, trials, quantity))
        contrast, reason = None, ""
        if place != first:
            reason = _reason_against(evidences[first], evidence, quantity)
        if place != first and not reason:
            pair = _model_name(place, name), _model_name(first, str(names[first]))
            contrast = compare(joined, *pair, quantity).record
            reason = "" if contrast else _missing_pairs(measured[first], measured[place])
        contrasts.append(contrast)
        reasons.append(reason)
    return ComparedQuantity(quantity, tuple(measured), tuple(contrasts), tuple(reasons))


def _missing_pairs(first: Measured | None, other: Measured | None) -> str:
    if first is None or other is None:
        return "it was not measured in both studies"
    return "no seed, or no device, is in both studies"


def _reason_against(first: Evidence, other: Evidence, quantity: str) -> str:
    """Return why a quantity of the two studies may not be compared; empty where it may."""
    if quantity == "seconds":
        return ""
    if first.definition.get("data_digests") != other.definition.get("data_digests"):
        return "the studies have other images"
    if quantity == "test_accuracy":
        digests = {
            read.result.test_sha256 for evidence in (first, other) for read in evidence.test_reads
        }
        return "" if len(digests) <= 1 else "they were tested on other images"
    protocols = [evidence.definition.get("protocol", {}) for evidence in (first, other)]
    is_fixed = all(protocol.get("split") == "fixed" for protocol in protocols)
    keys = [key for key in _OF_VALIDATION_IMAGES if not (is_fixed and key == "train_images")]
    apart = [key for key in keys if protocols[0].get(key) != protocols[1].get(key)]
    return f"the validation images differ: {', '.join(apart)}" if apart else ""
