"""What would settle a study's question: seeds, time and the command."""

from __future__ import annotations

from cifar_tune.config.study_file import StudySpec, resolve
from cifar_tune.evaluation.answer import Settlement
from cifar_tune.evaluation.compared import Compared
from cifar_tune.evaluation.measure import SMALLEST_EFFECT
from cifar_tune.evaluation.verdicts import Judgement
from cifar_tune.storage.invocations import study_arguments

FIRST_SEEDS = 3
"""The number of seeds that give a first interval."""
SHORTLIST = 4
"""How many configurations ``best confirm`` trains."""


def smallest_effect(spec: StudySpec) -> float:
    """Return the smallest difference in validation accuracy that a claim of the study counts."""
    stated = (claim.better_in.given().get("val_accuracy") for claim in spec.claims)
    return min((effect for effect in stated if effect is not None), default=SMALLEST_EFFECT)


def settle(compared: Compared, seeds: int, judgement: Judgement | None) -> Settlement:
    """Return what it takes, where so many seeds have decided nothing."""
    arguments = study_arguments(compared.spec, compared.named)
    if compared.basis == "sampled":
        trials = FIRST_SEEDS * min(SHORTLIST, len(compared.models))
        seconds = trials * _mean_seconds(compared)
        command = f"cifar-tune best confirm {arguments} --seeds {FIRST_SEEDS}"
        return Settlement(FIRST_SEEDS, None, trials, seconds, True, command)
    advice = None if judgement is None else judgement.advice
    wanted = FIRST_SEEDS if seeds == 1 else None if advice is None else advice.seeds
    if wanted is None:
        images = None if advice is None else advice.images
        profile = _find_profile(compared.spec, images)
        command = _command_of_profile(compared, profile)
        return Settlement(None, images, 0, 0.0, False, command, profile)
    trials = sum(max(wanted - len(trials), 0) for trials in compared.models.values())
    run = "study run" if compared.basis == "named" else "best confirm"
    command = f"cifar-tune {run} {arguments} --seeds {wanted}"
    seconds, effect = trials * _mean_seconds(compared), smallest_effect(compared.spec)
    return Settlement(wanted, None, trials, seconds, seeds == 1, command, smallest_effect=effect)


def _find_profile(spec: StudySpec, images: int | None) -> str:
    """Return the profile of the study file with so many validation images; empty if none has."""
    profiles = spec.source.content.profiles if images is not None else {}
    enough = (
        name
        for name, profile in profiles.items()
        if profile.protocol.validation_images >= (images or 0)
    )
    return next(enough, "")


def _command_of_profile(compared: Compared, profile: str) -> str:
    if not profile:
        return ""
    spec = resolve(compared.spec.source, profile)
    return f"cifar-tune study run {study_arguments(spec, compared.named)}"


def complete_others(compared: Compared) -> Settlement | None:
    """Return what completes the other named trials; None if there is no other."""
    seeds = compared.spec.profile.seeds
    trials = seeds * (len(compared.spec.named) - len(compared.models))
    if compared.basis != "named" or trials <= 0:
        return None
    command = f"cifar-tune study run {study_arguments(compared.spec, compared.named)}"
    return Settlement(seeds, None, trials, trials * _mean_seconds(compared), True, command)


def _mean_seconds(compared: Compared) -> float:
    seconds = [trial.values["seconds"] for trials in compared.models.values() for trial in trials]
    return sum(seconds) / len(seconds)
