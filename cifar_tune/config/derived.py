"""Studies that stand beside another one: its best configurations, trained again on fresh seeds.

They are studies like any other, with named trials only, so that they are run, continued and
recorded in the same way. The sampler of the study that they belong to never sees them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Literal, get_args

from cifar_tune.config.schema import Budget, NamedTrial, NoPruner, Random
from cifar_tune.config.seeds import derive_seed
from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.trial import TrainOn

Purpose = Literal["confirm", "rerun", "rerun-all"]
"""``confirm``: to choose among configurations; ``rerun``: to know what one is worth on the test
images; ``rerun-all``: likewise, trained on the validation images too."""
ABLATED = "-without-"
"""Stands in the name of a configuration before what was put back in it."""
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


def rerun_purpose(train_on: TrainOn) -> Purpose:
    """Return what re-runs are for that train on these images."""
    return "rerun-all" if train_on == "train+val" else "rerun"


def derived_name(study_name: str, purpose: Purpose) -> str:
    """Return the name of a derived study: of ``dropout:quick`` that is ``dropout/confirm:quick``.

    No study file has a slash in its name, so no study of a file has such a name.
    """
    file_name, _, rest = study_name.partition(":")
    return f"{file_name}/{purpose}:{rest}"


def purpose_of(study_name: str) -> Purpose | None:
    """Return what a derived study is for; None for one of a study file's own."""
    parts = study_name.partition(":")[0].split("/")
    return next((purpose for purpose in PURPOSES if parts[1:] == [purpose]), None)


def origin_of(study_name: str) -> str:
    """Return the name of the study that one is derived from; its own if it is derived from none."""
    purpose = purpose_of(study_name)
    return study_name if purpose is None else study_name.replace(f"/{purpose}:", ":", 1)


def family(study_name: str) -> tuple[str, ...]:
    """Return the names of a study and of those that are derived from it, stored or not."""
    return (study_name, *(derived_name(study_name, purpose) for purpose in PURPOSES))


def derive_spec(
    spec: StudySpec, purpose: Purpose, named_trials: Iterable[NamedTrial], seeds: int
) -> StudySpec:
    """Return a study of some configurations of another one, each on so many seeds.

    Replicate k of one has the seed of replicate k of any other, so they can be compared in pairs.
    """
    named_only = spec.with_profile(
        sampler=Random(name="random"),
        pruner=NoPruner(name="none"),
        trials=0,
        seeds=seeds,
        keep_weights="none" if purpose == "confirm" else "named",
        keep_best=0,
        budget=Budget(),
    )
    return dataclasses.replace(
        named_only,
        study_name=derived_name(spec.study_name, purpose),
        named=tuple(named_trials),
        claims=(),
        train_on="train+val" if purpose == "rerun-all" else "train",
    )


def fresh_seed(study_seed: int, purpose: Purpose) -> int:
    """Return the seed of a derived study.

    None of its trials has a seed of the study that it belongs to.
    """
    return derive_seed(study_seed, "derived study", purpose)
