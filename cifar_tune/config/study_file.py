"""Study files: TOML that states protocols, a search space and named trials, checked in full.

``load_study_file`` reports every fault of a file at once. ``resolve`` picks a profile, applies
overrides and gives the ``StudySpec`` that the runner works from.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifar_tune import paths
from cifar_tune.config.faults import (
    cross_faults,
    describe_unknown_key,
    named_protocol_faults,
    nearest,
    protocol_faults,
    schema_faults,
)
from cifar_tune.config.schema import (
    Budget,
    Claim,
    NamedTrial,
    Protocol,
    Pruner,
    Resources,
    Sampler,
    StudyFile,
)
from cifar_tune.config.seeds import derive_seed
from cifar_tune.config.space import WHOLE_HYPERPARAMETERS, Space
from cifar_tune.config.trial import Precision, TrainOn, TrialConfig, without_defaults
from cifar_tune.errors import StudyFileError


@dataclass(frozen=True)
class LoadedStudyFile:
    """A study file that holds, with its name, its place and its content as parsed."""

    name: str
    path: Path
    content: StudyFile
    raw: Mapping[str, Any]


@dataclass(frozen=True)
class StudySpec:
    """A study file, a profile and overrides, resolved: all that defines one Optuna study.

    Attributes:
        study_name: the name of the Optuna study, e.g. ``dropout:quick`` or, with overrides,
            ``dropout:quick:epochs=2``.
        trials: how many trials are sampled, named ones apart.
        seeds: replicates of each named trial.
        keep_weights: whose final weights are kept: ``none`` or ``named``.
        keep_best, keep_gigabytes, budget, resources: as for ``study_schema.Profile``.
        train_on: as for ``TrialConfig``; no study file says so.
        precision: likewise; None as long as it is not settled, which means ``fp32``.
        source: the study file.
    """

    study_name: str
    file_name: str
    profile_name: str
    title: str
    overrides: Mapping[str, Any]
    protocol: Protocol
    space: Space
    named: tuple[NamedTrial, ...]
    sampler: Sampler
    pruner: Pruner
    trials: int
    seeds: int
    keep_weights: str
    keep_best: int
    keep_gigabytes: float
    budget: Budget
    resources: Resources
    claims: tuple[Claim, ...]
    source: LoadedStudyFile
    train_on: TrainOn = "train"
    precision: Precision | None = None

    def config(
        self, params: Mapping[str, float], seed: int, settings: Mapping[str, Any] | None = None
    ) -> TrialConfig:
        """The full configuration of a trial.

        Args:
            params: the searched values.
            settings: what a named trial sets for itself.
        """
        fields = self.protocol.model_dump(exclude_none=True)
        fields |= {**(settings or {}), **params, "seed": seed}
        fields |= {"train_on": self.train_on, "precision": self.precision or "fp32"}
        for field in ("normalize_mean", "normalize_std"):
            fields[field] = tuple(fields[field])
        for field in WHOLE_HYPERPARAMETERS & fields.keys():
            fields[field] = int(fields[field])
        return TrialConfig(**fields)

    def named_config(self, named: NamedTrial, seed: int) -> TrialConfig:
        """The full configuration of a named trial."""
        return self.config(named.params, seed, named.settings.given())

    def weights(self, more_trials: int | None = None) -> set[str]:
        """Names of the pretrained weights that its trials start from.

        Args:
            more_trials: how many are sampled, if not as many as the study file states.
        """
        needed = {self.named_config(named, seed=0).weights for named in self.named}
        if self.trials if more_trials is None else more_trials:
            needed.add(self.protocol.weights)
        return needed - {"none"}

    def replicates(self, study_seed: int) -> dict[str, tuple[NamedTrial, int]]:
        """Every named trial with every replicate: name -> (named trial, seed).

        Replicate k of one name has the seed of replicate k of any other, so that they can be
        compared in pairs.
        """
        return {
            f"{named.name}/seed={k}": (named, derive_seed(study_seed, "replicate", k))
            for k in range(1, self.seeds + 1)
            for named in self.named
        }


def find_study_files() -> dict[str, Path]:
    """Study files by name: those in ``./studies`` hide shipped ones of the same name."""
    found: dict[str, Path] = {}
    for folder in paths.study_folders():
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return found


def load_study_file(name_or_path: str) -> LoadedStudyFile:
    """Find a study file by name or path, read it and check all of it.

    Raises:
        StudyFileError: there is no such file, or it is wrong; one line for each fault.
    """
    path = _locate(name_or_path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyFileError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StudyFileError(f"{path}: is not UTF-8 text: {error.reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise StudyFileError(f"{path}: is not TOML: {error}") from error
    faults = schema_faults(StudyFile, raw) + list(cross_faults(raw))
    if faults:
        raise StudyFileError("\n".join(f"{path}: {fault}" for fault in faults))
    return LoadedStudyFile(path.stem, path, StudyFile.model_validate(raw), raw)


def name_in_commands(loaded: LoadedStudyFile) -> str:
    """What a command is given to find a study file: its name, or its path where that name means
    none or another."""
    known = find_study_files().get(loaded.name)
    is_known = known is not None and known.resolve() == loaded.path.resolve()
    return loaded.name if is_known else str(loaded.path)


def resolve(
    loaded: LoadedStudyFile,
    profile_name: str,
    overrides: Mapping[str, Any] | None = None,
    seeds: int | None = None,
    only: Sequence[str] = (),
) -> StudySpec:
    """Pick a profile of a study file and apply overrides of its protocol.

    What a named trial sets for itself stays, also where an override says otherwise for the rest.

    Args:
        overrides: protocol keys with new values; those that change nothing are dropped, so that
            they do not make a study of their own.
        seeds: replicates of the named trials, if not the profile's.
        only: names of the named trials to keep; then nothing is sampled. Empty keeps all.

    Raises:
        StudyFileError: an unknown profile, an unknown key or a value that is not allowed.
    """
    file = loaded.content
    if profile_name not in file.profiles:
        known = ", ".join(file.profiles)
        raise StudyFileError(
            f"--profile {profile_name}: expected one of the profiles of {loaded.path}: {known}"
        )
    profile = file.profiles[profile_name]
    protocol = _override(loaded, profile_name, overrides or {})
    before, after = (without_defaults(one.model_dump()) for one in (profile.protocol, protocol))
    keys = [key for key in Protocol.model_fields if before.get(key) != after.get(key)]
    changed = {key: getattr(protocol, key) for key in keys}
    suffix = ":" + ",".join(f"{key}={changed[key]}" for key in sorted(changed)) if changed else ""
    return StudySpec(
        study_name=f"{loaded.name}:{profile_name}{suffix}",
        file_name=loaded.name,
        profile_name=profile_name,
        title=file.title,
        overrides=changed,
        protocol=protocol,
        space=file.space,
        named=_pick(loaded, only) if only else tuple(file.named),
        sampler=profile.sampler,
        pruner=profile.pruner,
        trials=0 if only else profile.trials,
        seeds=profile.seeds if seeds is None else seeds,
        keep_weights=profile.keep_weights,
        keep_best=profile.keep_best,
        keep_gigabytes=profile.keep_gigabytes,
        budget=profile.budget,
        resources=profile.resources,
        claims=tuple(file.claims),
        source=loaded,
    )


def _pick(loaded: LoadedStudyFile, only: Sequence[str]) -> tuple[NamedTrial, ...]:
    named = {one.name: one for one in loaded.content.named}
    unknown = [name for name in only if name not in named]
    if unknown:
        known = ", ".join(named) or "none"
        raise StudyFileError(
            "\n".join(f"--only {name}: expected a named trial: {known}" for name in unknown)
        )
    return tuple(one for name, one in named.items() if name in only)


def parse_override(text: str) -> tuple[str, Any]:
    """Parse ``key=value``; the value is read as TOML, and as a plain string where it is not.

    Raises:
        StudyFileError: there is no ``=`` or no key.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise StudyFileError(f"--set {text}: expected key=value, e.g. --set batch_size=64")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _locate(name_or_path: str) -> Path:
    if name_or_path.endswith(".toml") or "/" in name_or_path:
        path = Path(name_or_path)
        if not path.is_file():
            raise StudyFileError(f"{path}: there is no such study file")
        return path
    known = find_study_files()
    if name_or_path not in known:
        near = nearest(name_or_path, known)
        hint = f"; did you mean {near}?" if near else ""
        names = ", ".join(sorted(known)) or "none"
        raise StudyFileError(f"unknown study {name_or_path!r}; known studies: {names}{hint}")
    return known[name_or_path]


def _override(loaded: LoadedStudyFile, profile_name: str, overrides: Mapping[str, Any]) -> Protocol:
    """The profile's protocol with overrides, checked as if the file had said so."""
    searched = loaded.content.space.ranges()
    faults = []
    for key in overrides:
        if key in searched:
            faults.append(
                f"--set {key}: is searched by this study (space.{key}); "
                "expected a key of its protocol"
            )
        elif key not in Protocol.model_fields:
            faults.append(f"--set {key}: {describe_unknown_key(key, Protocol)}")
    raw = {**loaded.raw["profiles"][profile_name]["protocol"], **overrides}
    if not faults:
        found = schema_faults(Protocol, raw) + list(protocol_faults("", raw, searched))
        found = found or list(named_protocol_faults("", raw, loaded.raw.get("named"), searched))
        faults = [f"--set {fault}" for fault in found]
    if faults:
        raise StudyFileError("\n".join(faults))
    return Protocol.model_validate(raw)
