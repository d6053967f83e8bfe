"""Finds the faults between parts of a study file, among the parts that hold by themselves.

They are looked for in a file that has other faults too, so that all are reported at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from cifar_tune.config.faults import nearest, schema_faults, suggest
from cifar_tune.config.schema import NamedTrial, Profile, Protocol, Settings
from cifar_tune.config.space import Range, Space
from cifar_tune.config.trial import HYPERPARAMETERS, SEARCHABLE


def cross_faults(raw: Mapping[str, Any]) -> Iterator[str]:
    """Yield the faults between parts of a study file, as parsed from TOML."""
    searched = _as_meant(_table(raw.get("space")), SEARCHABLE)
    yield from _named_faults(raw, searched)
    yield from _reference_faults(raw)
    for name, profile in _table(raw.get("profiles")).items():
        if isinstance(profile, dict):
            yield from _profile_faults(f"profiles.{name}", profile, raw, searched)


def protocol_faults(
    where: str, protocol: Mapping[str, Any], searched: Collection[str]
) -> Iterator[str]:
    """Yield the faults of a protocol beside a search space of these hyperparameters."""
    prefix = f"{where}." if where else ""
    keys = _as_meant(protocol, Protocol.model_fields)
    for key in SEARCHABLE:
        if key in searched and key in keys:
            yield f"{prefix}{key}: is in space too; expected it in one of the two"
        elif key == "dropout_rate" and protocol.get("head") == "linear":
            if key in searched or protocol.get(key):
                yield f'{prefix}head = "linear": has no dropout; expected "dropout" or "mlp"'
        elif key == "momentum" and protocol.get("optimizer") != "sgd":
            if key in searched or key in keys:
                yield f'{prefix}momentum: is of optimizer = "sgd" alone; Adam has none'
        elif HYPERPARAMETERS[key].is_required and key not in searched and key not in keys:
            yield f"{prefix}{key}: is missing; expected it here or in space"


def batch_faults(
    where: str, protocol: Mapping[str, Any], ranges: Mapping[str, Range]
) -> Iterator[str]:
    """Yield the fault of searched batch sizes of which one leaves a last batch of one image.

    The images are those of a trial, or with the validation images those of a re-run on both.
    """
    counts = [protocol.get(key) for key in ("train_images", "validation_images")]
    training, validation = (count if isinstance(count, int) else 0 for count in counts)
    if "batch_size" not in ranges or not training or not validation:
        return
    sizes = ranges["batch_size"]
    for images in (training, training + validation):
        alone = [size for size in range(int(sizes.low), int(sizes.high) + 1) if images % size == 1]
        if alone:
            yield (
                f"{where}: space.batch_size from {sizes.low} to {sizes.high} with {images} images: "
                f"expected sizes that leave no last batch of one image, as {alone[0]} does: batch "
                "norm needs two"
            )
            return


def named_protocol_faults(
    where: str, protocol: Mapping[str, Any], named: object, searched: Collection[str]
) -> Iterator[str]:
    """Yield the faults that arise where the settings of named trials join a faultless protocol."""
    if schema_faults(Protocol, protocol) or any(protocol_faults(where, protocol, searched)):
        return
    beside = f"with {where}, " if where else ""
    for index, entry in enumerate(named if isinstance(named, list) else ()):
        settings = entry.get("settings") if isinstance(entry, dict) else None
        if not isinstance(settings, dict) or schema_faults(Settings, settings):
            continue  # reported with the file's own faults
        joined = {**protocol, **settings}
        for fault in (*schema_faults(Protocol, joined), *protocol_faults("", joined, searched)):
            yield f"named[{index}].settings: {beside}{fault}"


def _profile_faults(
    where: str, profile: Mapping[str, Any], raw: Mapping[str, Any], searched: Collection[str]
) -> Iterator[str]:
    protocol = profile.get("protocol")
    if isinstance(protocol, dict):
        yield from protocol_faults(f"{where}.protocol", protocol, searched)
        yield from batch_faults(f"{where}.protocol", protocol, _valid_ranges(raw.get("space")))
        yield from named_protocol_faults(f"{where}.protocol", protocol, raw.get("named"), searched)
    trials = profile.get("trials")
    if isinstance(trials, int) and trials > 0:
        if not searched:
            yield f"{where}.trials = {trials}: expected 0, since space is empty"
        for part in ("sampler", "pruner"):
            if part not in _as_meant(profile, Profile.model_fields):
                yield f"{where}.{part}: is missing; trials = {trials} need it"


def _named_faults(raw: Mapping[str, Any], searched: Collection[str]) -> Iterator[str]:
    ranges = _valid_ranges(raw.get("space"))
    indices: dict[str, int] = {}
    entries = raw.get("named")
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        try:
            named = NamedTrial.model_validate(entry)
        except ValidationError:
            continue  # reported with the file's own faults
        where = f"named[{index}]"
        if named.name in indices:
            yield (
                f"{where}.name = {named.name!r}: expected a name of its own; "
                f"named[{indices[named.name]}] has it"
            )
        indices.setdefault(named.name, index)
        yield from _params_faults(where, named, ranges, searched)
        for key in named.settings.given():
            if key in searched:
                yield f"{where}.settings.{key}: is in space; expected it in {where}.params"


def _params_faults(
    where: str, named: NamedTrial, ranges: Mapping[str, Range], searched: Collection[str]
) -> Iterator[str]:
    keys = _as_meant(named.params, searched)
    for key in searched:
        if key not in keys and key in SEARCHABLE:
            yield f"{where}.params.{key}: is missing; {named.name} needs it, space has it"
    for key, value in named.params.items():
        if key not in searched:
            yield f"{where}.params.{key}: is not in space; expected {', '.join(searched)}"
        elif key in ranges and not ranges[key].contains(value):
            low, high = ranges[key].low, ranges[key].high
            yield f"{where}.params.{key} = {value:g}: expected {low:g} to {high:g}, as in space"
        elif key in SEARCHABLE and HYPERPARAMETERS[key].is_whole and value != int(value):
            yield f"{where}.params.{key} = {value:g}: expected a whole number"


def _valid_ranges(space: object) -> dict[str, Range]:
    ranges: dict[str, Range] = {}
    for key, entry in _table(space).items():
        with suppress(ValidationError):  # reported with the file's own faults
            ranges.update(Space.model_validate({key: entry}).ranges())
    return ranges


def _reference_faults(raw: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names in claims and published figures that nothing has or that stand twice."""
    published, profiles = _table(raw.get("published")), raw.get("profiles")
    profile = published.get("profile")
    if isinstance(profile, str) and isinstance(profiles, dict) and profile not in profiles:
        yield f"published.profile = {profile!r}: expected one of {', '.join(profiles)}"
    yield from _claim_faults(raw)
    known = [entry.get("name") for entry in _tables(raw.get("named"))]
    if len(set(map(str, known))) < len(known):
        return  # one of two equal names was meant to be another; that is said already
    for where, name in _references(raw):
        if isinstance(name, str) and name not in known:
            hint = suggest(name, [word for word in known if isinstance(word, str)])
            yield f"{where} = {name!r}: expected the name of a trial in named{hint}"


def _claim_faults(raw: Mapping[str, Any]) -> Iterator[str]:
    names: list[object] = []  # one that is no text may have no hash
    for index, claim in enumerate(_tables(raw.get("claims"))):
        than = claim.get("than")
        if isinstance(than, list) and claim.get("trial") in than:
            yield f"claims[{index}].than: expected other trials than {claim['trial']!r} itself"
        name = claim.get("name")
        if name in names:
            yield f"claims[{index}].name = {name!r}: expected a name of its own"
        names.append(name)


def _references(raw: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield where a named trial is meant, and by what name."""
    for index, figures in enumerate(_tables(_table(raw.get("published")).get("figures"))):
        yield f"published.figures[{index}].name", figures.get("name")
    for index, claim in enumerate(_tables(raw.get("claims"))):
        than = claim.get("than")
        yield f"claims[{index}].trial", claim.get("trial")
        for name in than if isinstance(than, list) else ():
            yield f"claims[{index}].than", name


def _as_meant(keys: Collection[str], known: Collection[str]) -> list[str]:
    """Return keys with misspelt ones set right: what is misspelt is reported once, by itself."""
    return [key if key in known else nearest(key, known) or key for key in keys]


def _table(raw: object) -> dict[str, Any]:
    """Return a table, or an empty one for what is none, which is reported by itself."""
    return raw if isinstance(raw, dict) else {}


def _tables(raw: object) -> list[dict[str, Any]]:
    """Return the tables of an array, without what is none, which is reported by itself."""
    return [entry for entry in raw if isinstance(entry, dict)] if isinstance(raw, list) else []
