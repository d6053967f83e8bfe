"""Which model of a study leads, and whether the others are shown to be behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from scipy import stats as scipy_stats

from cifar_tune.config.study_file import StudySpec
from cifar_tune.data.cifar10 import CLASSES
from cifar_tune.evaluation.answer import Answer, ComparedModel, Finding, Settlement
from cifar_tune.evaluation.candidates import configuration_label
from cifar_tune.evaluation.compared import Compared, choose_compared, read_confirmed
from cifar_tune.evaluation.evidence import Evidence, TrialRecord, gather
from cifar_tune.evaluation.measure import compare, image_interval, measure
from cifar_tune.evaluation.quantities import ContrastRecord
from cifar_tune.evaluation.ranking_prior import DISAGREEMENT, OWN_IMAGES, SPREAD
from cifar_tune.evaluation.settlement import complete_others, settle, smallest_effect
from cifar_tune.evaluation.stats import LEVEL, binomial_variance
from cifar_tune.evaluation.verdicts import Judgement, judge
from cifar_tune.evaluation.wording import short_name
from cifar_tune.storage.invocations import study_arguments
from cifar_tune.storage.location import StorageLocation

SHOWN_SAMPLED = 8
"""How many sampled trials an answer has."""
_NORMAL = float(scipy_stats.norm.ppf((1 + LEVEL) / 2))


def read_answer(location: StorageLocation, spec: StudySpec) -> Answer:
    """Return the answer of a stored study.

    Raises:
        InputError: The study is not stored.
        StorageError: The storage cannot be read.
    """
    command = f"cifar-tune study run {study_arguments(spec, location)}"
    evidence = gather(location, spec.study_name, command)
    return compute_answer(evidence, read_confirmed(location, spec.study_name), spec, location)


def compute_answer(
    evidence: Evidence, confirmed: Evidence | None, spec: StudySpec, named: StorageLocation | None
) -> Answer:
    """Return what a study says of its question.

    A confirmation on fresh seeds decides, once two models have complete trials in it. Without one
    the named trials are compared, and where no two of them are complete, the sampled ones.

    Args:
        evidence: What is stored of the study.
        confirmed: What is stored of its confirmation, if anything.
        spec: The study.
        named: The database that the commands name that a reader is told; None names none.
    """
    compared = choose_compared(evidence, confirmed, spec, named)
    if not compared.models:
        command = f"cifar-tune study run {study_arguments(spec, named)}"
        return Answer("none", settlement=Settlement(None, None, 0, 0.0, False, command))
    models = [_model(compared, name, trials) for name, trials in compared.models.items()]
    ranked = sorted(models, key=lambda model: (-model.mean, model.trials))
    chance = _chance(evidence, spec)
    at_chance = _find_at_chance(compared, chance)
    leader = ranked[0]
    answer = Answer(
        finding="alone",
        basis=compared.basis,
        models=tuple(ranked[:SHOWN_SAMPLED] if compared.basis == "sampled" else models),
        compared=len(models),
        leader=leader.name,
        seeds=leader.seeds,
        images=spec.protocol.validation_images,
        chance=chance,
        at_chance=tuple(
            short_name(trial.name) if trial.name else trial.label for trial in at_chance
        ),
    )
    if compared.basis == "named":
        answer = replace(answer, best_sampled=_find_best_sampled(compared))
    if all(trial in at_chance for trial in compared.models[leader.name]):
        return replace(answer, finding="chance")
    if len(ranked) == 1:
        return replace(answer, settlement=complete_others(compared))
    return _compare_best(compared, answer, ranked[1].name)


def _model(compared: Compared, name: str, trials: Sequence[TrialRecord]) -> ComparedModel:
    measured = measure(compared.evidence, trials, "val_accuracy")
    assert measured is not None  # a complete trial has one
    low, high = measured.low, measured.high
    if low is None or high is None:
        low, high = image_interval(measured.mean, compared.spec.protocol.validation_images)
    numbers = tuple(trial.number for trial in trials)
    return ComparedModel(name, _short(name), numbers, measured.mean, low, high, measured.seeds)


def _find_best_sampled(compared: Compared) -> ComparedModel | None:
    sampled = [trial for trial in compared.evidence.complete if not trial.name]
    best = max(sampled, key=lambda trial: trial.values["val_accuracy"], default=None)
    if best is None:
        return None
    return _model(compared, configuration_label(None, best.number), [best])


def _short(name: str) -> str:
    """Return a configuration's name in a text: ``p=0.3``, ``trial 7``."""
    return (
        short_name(name).replace("trial-", "trial ")
        if name.startswith("sampled/")
        else short_name(name)
    )


# --- chance ---------------------------------------------------------------------------------------


def _chance(evidence: Evidence, spec: StudySpec) -> float | None:
    """Return the accuracy of guessing; None if the number of classes is not known."""
    answers = next(iter((*evidence.validation.values(), *evidence.test.values())), None)
    if answers is not None:
        return 1 / len(answers.classes)
    return 1 / len(CLASSES) if spec.protocol.data in ("bundled", "cifar10") else None


def _find_at_chance(compared: Compared, chance: float | None) -> list[TrialRecord]:
    """Return the trials whose accuracy is within three standard errors of guessing."""
    if chance is None:
        return []
    images = compared.spec.protocol.validation_images
    limit = chance + 3 * math.sqrt(binomial_variance(chance, images))
    everyone = [trial for trials in compared.models.values() for trial in trials]
    return [trial for trial in everyone if trial.values["val_accuracy"] <= limit]


# --- the leader and the others --------------------------------------------------------------------


def _compare_best(compared: Compared, answer: Answer, rival: str) -> Answer:
    """Return the answer with how far the leader is ahead, and what that is worth."""
    leader = answer.leader
    lead = answer.find(leader).mean - answer.find(rival).mean
    contrast, judgement = None, None
    if compared.basis != "sampled":
        contrast = compare(compared.evidence, leader, rival, "val_accuracy").record
        judgement = _judge_leader(compared, leader)
    seeds = 1 if contrast is None else contrast.seeds
    noise = _noise(compared, (leader, rival), contrast)
    finding: Finding = "noise" if lead <= noise else "open"
    if judgement is not None and judgement.verdict == "supported":
        finding = "shown"
    return replace(
        answer,
        finding=finding,
        rival=rival,
        lead=lead,
        low=None if contrast is None else contrast.low,
        high=None if contrast is None else contrast.high,
        noise=noise,
        seeds=seeds,
        settlement=None if finding == "shown" else settle(compared, seeds, judgement),
    )


def _judge_leader(compared: Compared, leader: str) -> Judgement:
    """Judge the claim that the leader is better than each of the others.

    It leads by what was observed, so it is one of as many claims as there are models.
    """
    smallest = smallest_effect(compared.spec)
    others = [name for name in compared.models if name != leader]
    contrasts = [
        compare(compared.evidence, leader, name, "val_accuracy", smallest).contrast
        for name in others
    ]
    return judge([contrasts, *([] for _ in others)])[0]


def _noise(compared: Compared, pair: tuple[str, str], contrast: ContrastRecord | None) -> float:
    """Return the difference that two equal models may show by chance (95 %)."""
    if contrast is not None and contrast.low is not None and contrast.high is not None:
        return (contrast.high - contrast.low) / 2
    protocol = compared.spec.protocol
    first, second = (compared.models[name][0] for name in pair)
    kept = compared.evidence.validation
    of_images = None
    if first.number in kept and second.number in kept and protocol.split == "fixed":
        ours, theirs = kept[first.number].correct, kept[second.number].correct
        if len(ours) == len(theirs):
            of_images = float((ours.astype(float) - theirs).var()) / len(ours)
    if of_images is None:
        # Two models that see the same images are right about most of the same ones.
        own = OWN_IMAGES + DISAGREEMENT if protocol.split == "fixed" else 1.0
        of_images = own * sum(
            binomial_variance(trial.values["val_accuracy"], protocol.validation_images)
            for trial in (first, second)
        )
    return _NORMAL * math.sqrt(of_images + 2 * SPREAD**2)
