"""What defines a study: it is stored with it, and values of different definitions never mix."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning

from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.trial import Precision, without_defaults
from cifar_tune.errors import StudyMismatchError
from cifar_tune.storage.origin import is_foreign, list_all_trials
from cifar_tune.storage.records import FORMAT
from cifar_tune.storage.study_folders import ATTRIBUTE

DEFAULT_SEED = 0
_GROWING = ("named", "weights_digests")
"""A file may gain and lose named trials, and a run may leave some out together with the weights
that they start from; what stays must stay what it was."""


SHOWN = ("title", "profile", "overrides", "seed", "precision")
"""Attributes of a study that are worth a reader's time; the others are kept for comparison."""
KEPT = (
    *("format", "study_file", "protocol", "space", "named", "sampler", "pruner", "claims"),
    *("data_digests", "weights_digests", ATTRIBUTE),
)
"""Those others."""


@dataclass(frozen=True)
class Digests:
    """SHA-256 of what a study learns from: images by part, pretrained weights by name."""

    data: Mapping[str, str]
    weights: Mapping[str, str]


def check_definition(
    study: optuna.Study | None, spec: StudySpec, seed: int | None, digests: Digests | None
) -> int:
    """Check that a stored study, if any, was made with the same settings; return its seed.

    Args:
        study: The stored study.
        spec: The study as its file has it now.
        seed: The seed that was asked for; None takes the stored one, else ``DEFAULT_SEED``.
        digests: Digests of images and weights; None, of a plan that loads none, leaves the stored
            ones unchecked.

    Raises:
        StudyMismatchError: It was made with other settings; the message names each difference.
    """
    stored: Mapping[str, Any] = {} if study is None else study.user_attrs
    effective_seed: int = stored.get("seed", DEFAULT_SEED) if seed is None else seed
    keys = _define(spec, effective_seed, Digests({}, {})).keys()
    if study is None or _is_half_written(study, keys):
        return effective_seed
    if not is_defined(study):
        raise StudyMismatchError(f"study {study.study_name} was made by another program")
    wanted = _define(spec, effective_seed, digests or Digests(stored["data_digests"], {}))
    differences = [
        line
        for key in ("seed", "protocol", "space", "data_digests")
        for line in _differences(key, stored.get(key), wanted[key])
    ]
    if spec.precision is not None:
        differences += _differences("precision", stored_precision(study), spec.precision)
    for key in _GROWING:
        for name, was in stored[key].items():
            differences += _differences(f"{key}.{name}", was, wanted[key].get(name, was))
    if differences:
        raise StudyMismatchError(
            f"study {study.study_name} is stored with other settings, and values of different "
            f"settings are never ranked together: {'; '.join(differences)}. Undo the change, "
            "give the study file another name, or use another --storage"
        )
    return effective_seed


def is_defined(study: optuna.Study) -> bool:
    """Return whether a run has stored what defines its study."""
    return "protocol" in study.user_attrs


def stored_precision(study: optuna.Study) -> Precision:
    """Return the precision of a study's trials; those of older versions knew one only."""
    precision: Precision = study.user_attrs.get("precision", "fp32")
    return precision


def write_identity(study: optuna.Study, spec: StudySpec) -> None:
    """Store which study this is; the first run of it stores the rest of its definition."""
    definition = _define(spec, DEFAULT_SEED, Digests({}, {}))
    for key in ("format", "title", "study_file", "overrides", "profile"):
        study.set_user_attr(key, definition[key])


def write_definition(study: optuna.Study, spec: StudySpec, seed: int, digests: Digests) -> None:
    """Store what defines the study beside it; called by the holder of its lease."""
    definition = _define(spec, seed, digests)
    # What a name once meant stays known, also when the file no longer has it.
    for key in _GROWING:
        definition[key] = {**study.user_attrs.get(key, {}), **definition[key]}
    for key, value in definition.items():
        if study.user_attrs.get(key) != value:
            study.set_user_attr(key, value)
    # A claim is worth something only if it was written down before the first result was seen.
    if not _has_begun(study):
        study.set_user_attr("claims", {claim.name: claim.model_dump() for claim in spec.claims})
    name_metric(study)


def name_metric(study: optuna.Study) -> None:
    """Store what the value of a trial is, unless that is stored; Optuna's dashboard shows it."""
    if study.metric_names is None:
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            study.set_metric_names(["val_accuracy"])


def _is_half_written(study: optuna.Study, keys: Set[str]) -> bool:
    """Return whether no run has stored all that defines its study."""
    stored = study.user_attrs.keys() - {ATTRIBUTE}
    is_ours = bool(stored) or not any(map(is_foreign, list_all_trials(study)))
    return stored <= keys and stored != keys and is_ours and not _has_begun(study)


def _has_begun(study: optuna.Study) -> bool:
    return any("config" in trial.user_attrs for trial in study.get_trials(deepcopy=False))


def _define(spec: StudySpec, seed: int, digests: Digests) -> dict[str, Any]:
    ranges = spec.space.ranges()
    return {
        "format": FORMAT,
        "title": spec.title,
        "study_file": spec.file_name,
        "profile": spec.profile_name,
        "overrides": dict(spec.overrides),
        "seed": seed,
        "protocol": without_defaults(spec.protocol.model_dump()),
        "space": {name: values.model_dump() for name, values in ranges.items()},
        "named": {
            named.name: {"params": named.params, "settings": named.settings.given()}
            for named in spec.named
        },
        "sampler": spec.profile.sampler.model_dump(),
        "pruner": spec.profile.pruner.model_dump(),
        "data_digests": dict(digests.data),
        "weights_digests": dict(digests.weights),
        "precision": spec.precision or "fp32",
    }


def _differences(key: str, stored: object, wanted: object) -> Iterable[str]:
    if isinstance(stored, Mapping) and isinstance(wanted, Mapping):
        for part in {**stored, **wanted}:
            yield from _differences(f"{key}.{part}", stored.get(part), wanted.get(part))
    elif stored != wanted:
        yield f"{key} is {wanted!r}, stored {stored!r}"
