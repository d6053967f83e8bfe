"""What a study file says was published, and whether ours may be compared with it."""

from __future__ import annotations

from cifar_tune.config.schema import PublishedFigures
from cifar_tune.config.study_file import LoadedStudyFile, StudySpec
from cifar_tune.config.trial import QUANTITIES
from cifar_tune.evaluation.wording import format_setting


def known_figures(figures: PublishedFigures) -> dict[str, float]:
    """Return what is stated of a named trial, by quantity."""
    stated = {key: getattr(figures, key) for key in QUANTITIES}
    return {key: value for key, value in stated.items() if value is not None}


def protocol_differences(
    loaded: LoadedStudyFile, spec: StudySpec
) -> tuple[tuple[str, str, str], ...]:
    """Return how a study's protocol differs from the published one, as (key, there, here)."""
    published = loaded.content.published
    if published is None:
        return ()
    theirs = loaded.content.profiles[published.profile].protocol.model_dump()
    ours = spec.protocol.model_dump()
    return tuple(
        (key, format_setting(theirs[key]), format_setting(ours[key]))
        for key in ours
        if theirs[key] != ours[key]
    )
