"""Study files: TOML that states protocols, a search space and named trials, checked in full.

``load_study_file`` reports every fault of a file at once. ``resolve`` picks a profile, applies
overrides and gives the ``StudySpec`` that the runner works from.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifar_tune import paths
from cifar_tune.config.cross_faults import (
    batch_faults,
    cross_faults,
    named_protocol_faults,
    protocol_faults,
)
from cifar_tune.config.faults import schema_faults, suggest
from cifar_tune.config.names import resolve_key, resolve_name, suggest_key, suggest_name
from cifar_tune.config.schema import Claim, NamedTrial, Profile, Protocol, StudyFile
from cifar_tune.config.seeds import derive_seed
from cifar_tune.config.space import Space
from cifar_tune.config.trial import (
    HYPERPARAMETERS,
    Precision,
    TrainOn,
    TrialConfig,
    without_defaults,
)
from cifar_tune.errors import StudyFileError
from cifar_tune.files import check_plain, read_text
from cifar_tune.wording import printable


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
        study_name: The name of the Optuna study, e.g. ``dropout:quick`` or, with overrides,
            ``dropout:quick:epochs=2``.
        profile: The profile, with the overrides of its protocol and of its seeds.
        overrides: What the overrides change in the protocol.
        train_on: As for ``TrialConfig``; no study file says so.
        precision: Likewise; None as long as it is not settled, which means ``fp32``.

    Example:
        >>> spec = ct.load_study_file("dropout", profile="quick", overrides={"epochs": 2})
        >>> spec.study_name, spec.protocol.epochs
        ('dropout:quick:epochs=2', 2)
    """

    study_name: str
    profile_name: str
    profile: Profile
    overrides: Mapping[str, Any]
    named: tuple[NamedTrial, ...]
    claims: tuple[Claim, ...]
    source: LoadedStudyFile
    train_on: TrainOn = "train"
    precision: Precision | None = None

    @property
    def file_name(self) -> str:
        """The name of the study file."""
        return self.source.name

    @property
    def title(self) -> str:
        """The title of the study."""
        return self.source.content.title

    @property
    def space(self) -> Space:
        """The search space."""
        return self.source.content.space

    @property
    def protocol(self) -> Protocol:
        """What all trials of the study have in common."""
        return self.profile.protocol

    def with_profile(self, **changes: Any) -> StudySpec:
        """Return the same study with other values of these keys of its profile."""
        return dataclasses.replace(self, profile=self.profile.model_copy(update=changes))

    def config(
        self, params: Mapping[str, float], seed: int, settings: Mapping[str, Any] | None = None
    ) -> TrialConfig:
        """Return the full configuration of a trial.

        ``params`` are the searched values, ``settings`` what a named trial sets for itself.
        """
        fields = self.protocol.given() | {**(settings or {}), **params, "seed": seed}
        fields |= {"train_on": self.train_on, "precision": self.precision or "fp32"}
        for key in ("normalize_mean", "normalize_std"):
            fields[key] = tuple(fields[key])
        for key in HYPERPARAMETERS.keys() & fields.keys():
            if HYPERPARAMETERS[key].is_whole:
                fields[key] = int(fields[key])
        return TrialConfig(**fields)

    def named_config(self, named: NamedTrial, seed: int) -> TrialConfig:
        """Return the full configuration of a named trial."""
        return self.config(named.params, seed, named.settings.given())

    def weights(self, more_trials: int | None = None) -> set[str]:
        """Return the names of the pretrained weights that its trials start from.

        ``more_trials`` are sampled, if not as many as the study file states.
        """
        needed = {self.named_config(named, seed=0).weights for named in self.named}
        if self.profile.trials if more_trials is None else more_trials:
            needed.add(self.protocol.weights)
        return needed - {"none"}

    def replicates(self, study_seed: int) -> dict[str, tuple[NamedTrial, int]]:
        """Return every named trial with every replicate: name -> (named trial, seed).

        Replicate k of one name has the seed of replicate k of any other, so that they can be
        compared in pairs.
        """
        return {
            f"{named.name}/seed={k}": (named, derive_seed(study_seed, "replicate", k))
            for k in range(1, self.profile.seeds + 1)
            for named in self.named
        }


# --- files --------------------------------------------------------------------------------------


def find_study_files() -> dict[str, Path]:
    """Return study files by name: those in ``./studies`` hide shipped ones of the same name."""
    files: dict[str, Path] = {}
    for folder in paths.study_folders():
        for path in sorted(folder.glob("*.toml")):
            files.setdefault(path.stem, path)
    return files


def load_study_file(name_or_path: str) -> LoadedStudyFile:
    """Find a study file by name or path, read it and check all of it.

    Raises:
        StudyFileError: There is no such file, or it is wrong; one line for each fault.
    """
    path = _locate(name_or_path)
    if ":" in path.stem or not path.stem.isprintable():
        # A colon ends the name of the file in the names of its studies.
        expected = "expected a file name of printable characters without a colon"
        raise StudyFileError(f"{printable(path)}: {expected}")
    try:
        raw = parse_toml(read_text(path))
    except OSError as error:
        raise StudyFileError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StudyFileError(f"{path}: is not UTF-8 text: {error.reason}") from error
    except ValueError as error:
        raise StudyFileError(f"{path}: is not TOML: {error}") from error
    faults = schema_faults(StudyFile, raw) + list(cross_faults(raw))
    if faults:
        raise StudyFileError("\n".join(f"{path}: {fault}" for fault in faults))
    return LoadedStudyFile(path.stem, path, StudyFile.model_validate(raw), raw)


def name_in_commands(loaded: LoadedStudyFile) -> str:
    """Return what a command finds a study file by.

    That is its name, or its path where the name means no file or another one.
    """
    known = find_study_files().get(loaded.name)
    is_known = known is not None and known.resolve() == loaded.path.resolve()
    return loaded.name if is_known else str(loaded.path)


def _locate(name_or_path: str) -> Path:
    if name_or_path.endswith(".toml") or "/" in name_or_path:
        path = Path(name_or_path)
        if not path.exists():
            raise StudyFileError(f"{path}: there is no such study file")
        return path
    known = find_study_files()
    if name_or_path not in known:
        names = ", ".join(sorted(known)) or "none"
        raise StudyFileError(
            f"unknown study {name_or_path!r}; known studies: {names}{suggest(name_or_path, known)}"
        )
    return known[name_or_path]


# --- profiles and overrides ---------------------------------------------------------------------


def resolve(
    loaded: LoadedStudyFile,
    profile_name: str,
    overrides: Mapping[str, Any] | None = None,
    seeds: int | None = None,
    only: Sequence[str] = (),
) -> StudySpec:
    """Pick a profile of a study file and apply overrides of its protocol.

    Overrides that change nothing are dropped, so that they do not make a study of their own. What a
    named trial sets for itself stays, also where an override says otherwise for the rest. ``seeds``
    are the replicates of the named trials, if not the profile's. ``only`` names the named trials to
    keep; then nothing is sampled. Empty keeps all.

    Raises:
        StudyFileError: The profile or a key is unknown, or a value is not allowed.
    """
    profiles = loaded.content.profiles
    if profile_name not in profiles:
        raise StudyFileError(
            f"--profile {profile_name}: expected one of the profiles of {loaded.path}: "
            f"{', '.join(profiles)}"
        )
    profile = profiles[profile_name]
    protocol = _override(loaded, profile_name, overrides or {})
    changes = _changes(profile.protocol, protocol)
    suffix = ",".join(f"{key}={changes[key]}" for key in sorted(changes))
    spec = StudySpec(
        study_name=f"{loaded.name}:{profile_name}" + (f":{suffix}" if suffix else ""),
        profile_name=profile_name,
        profile=profile,
        overrides=changes,
        named=_pick(loaded, only),
        claims=tuple(loaded.content.claims),
        source=loaded,
    )
    return spec.with_profile(
        protocol=protocol,
        seeds=profile.seeds if seeds is None else seeds,
        trials=0 if only else profile.trials,
    )


def parse_toml(text: str) -> dict[str, Any]:
    """Return what a TOML text says, in values that can be worked with.

    Raises:
        ValueError: It is no TOML, or as of ``check_plain``.
    """
    try:
        content = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("has too many lists or tables in one another") from error
    check_plain(content)
    return content


def parse_override(text: str) -> tuple[str, Any]:
    """Parse ``key=value``; the value is read as TOML, and as a plain string where it is not.

    The key may be written as it is shown: ``lr`` for ``learning_rate``.

    Raises:
        StudyFileError: There is no ``=`` or no key.
    """
    key, equals, value = text.partition("=")
    key = resolve_key(key.strip(), Protocol.model_fields)
    if not equals or not key:
        raise StudyFileError(f"--set {text}: expected key=value, e.g. --set batch_size=64")
    try:
        return key, parse_toml(f"value = {value}")["value"]
    except ValueError:
        return key, value


def _override(loaded: LoadedStudyFile, profile_name: str, overrides: Mapping[str, Any]) -> Protocol:
    """Return the profile's protocol with overrides, checked as if the file had said so."""
    searched = loaded.content.space.ranges()
    faults = []
    for key in overrides:
        if key in searched:
            faults.append(
                f"{key}: is searched by this study (space.{key}); expected a key of its protocol"
            )
        elif key not in Protocol.model_fields:
            known = Protocol.model_fields
            expected = f"is not a known key; expected one of {', '.join(known)}"
            faults.append(f"{key}: {expected}{suggest_key(key, known)}")
    raw = {**loaded.raw["profiles"][profile_name]["protocol"], **overrides}
    faults = (
        faults
        or [*schema_faults(Protocol, raw), *protocol_faults("", raw, searched)]
        or list(batch_faults(", ".join(overrides), raw, searched))
        or list(named_protocol_faults("", raw, loaded.raw.get("named"), searched))
    )
    if faults:
        raise StudyFileError("\n".join(f"--set {fault}" for fault in faults))
    return Protocol.model_validate(raw)


def _changes(before: Protocol, after: Protocol) -> dict[str, Any]:
    """Return the keys of a protocol that differ from another's, with their values."""
    old, new = (without_defaults(protocol.model_dump()) for protocol in (before, after))
    return {
        key: getattr(after, key) for key in Protocol.model_fields if old.get(key) != new.get(key)
    }


def _pick(loaded: LoadedStudyFile, names: Sequence[str]) -> tuple[NamedTrial, ...]:
    """Return the named trials of these names, or all where no name is given."""
    named = {trial.name: trial for trial in loaded.content.named}
    wanted = {name: resolve_name(name, named, f"--only {name}") for name in names}
    known = ", ".join(named) or "none"
    unknown = [
        f"--only {name}: expected a named trial: {known}{suggest_name(name, named)}"
        for name, full_name in wanted.items()
        if full_name is None
    ]
    if unknown:
        raise StudyFileError("\n".join(unknown))
    return tuple(trial for name, trial in named.items() if not names or name in wanted.values())
