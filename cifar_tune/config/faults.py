"""Finds every fault of a study file at once and says of each: key, value and what was expected."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cifar_tune.config.schema import NamedTrial, Profile, Protocol, Settings
from cifar_tune.config.space import WHOLE_HYPERPARAMETERS, Range, Space
from cifar_tune.config.trial import HYPERPARAMETERS, REQUIRED_HYPERPARAMETERS

_TAGS = {"tpe", "gp", "random", "percentile", "median", "none"}


def schema_faults(model: type[BaseModel], raw: object) -> list[str]:
    """Every fault that pydantic finds, as ``key = value: expected …``."""
    try:
        model.model_validate(raw)
    except ValidationError as error:
        details = error.errors(include_url=False)
        return [_describe(model, one) for one in details if not _is_misspelt(one, details)]
    return []


def _is_misspelt(detail: ErrorDetails, details: list[ErrorDetails]) -> bool:
    """Whether a missing key stands beside an unknown one that means it and is reported itself."""
    if detail["type"] != "missing":
        return False
    *parent, key = detail["loc"]
    unknown = [
        str(one["loc"][-1])
        for one in details
        if one["type"] == "extra_forbidden" and [*one["loc"][:-1]] == parent
    ]
    return nearest(str(key), unknown) is not None


def _describe(model: type[BaseModel], detail: ErrorDetails) -> str:
    location = _keys(detail["loc"])
    key = _dotted(location)
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "fault":
        return f"{key}: {detail['msg']}" if key else detail["msg"]
    if kind == "missing":
        return f"{key}: is missing"
    if kind == "extra_forbidden":
        return f"{key}: {describe_unknown_key(str(location[-1]), _owner(model, location[:-1]))}"
    if kind == "union_tag_not_found":
        return f"{key}.name: is missing"
    if kind == "union_tag_invalid":
        return f"{key}.name = {context['tag']!r}: expected one of {context['expected_tags']}"
    return f"{key} = {_short(detail['input'])}: expected {_expected(kind, context, detail)}"


def _keys(location: Sequence[int | str]) -> list[int | str]:
    """A location without what is pydantic's own: tags of unions and the marker of a dict's key."""
    keys: list[int | str] = []
    for part in location:
        is_tag = bool(keys) and keys[-1] in ("sampler", "pruner") and part in _TAGS
        if not is_tag and part != "[key]":
            keys.append(part)
    return keys


def _expected(kind: str, context: Mapping[str, Any], detail: ErrorDetails) -> str:
    bounds = {
        "greater_than": "a number above {gt}",
        "greater_than_equal": "a number of at least {ge}",
        "less_than": "a number below {lt}",
        "less_than_equal": "a number of at most {le}",
        "literal_error": "{expected}",
        "too_short": "at least {min_length} of them",
        "too_long": "at most {max_length} of them",
        "string_pattern_mismatch": "text that matches {pattern}",
    }
    types = {
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "float_type": "a number",
        "finite_number": "a finite number",
        "string_type": "text in quotes",
        "bool_type": "true or false",
        "list_type": "a list",
        "dict_type": "a table",
        "model_type": "a table",
        "model_attributes_type": "a table",
    }
    if kind in bounds:
        return bounds[kind].format(**context)
    return types.get(kind, detail["msg"])


def _owner(model: type[BaseModel], location: Sequence[int | str]) -> type[BaseModel] | None:
    """The model that a key of the file belongs to, found by walking the annotations."""
    current: Any = model
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            current = field.annotation if field else None
        else:
            current = get_args(current)[-1] if get_args(current) else None
        while get_args(current) and get_args(current)[-1] is type(None):
            current = get_args(current)[0]
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def describe_unknown_key(key: str, owner: type[BaseModel] | None) -> str:
    """What to say of a key that the table it stands in, ``owner``, does not have."""
    if owner is None:
        return "is not a known key"
    known = list(owner.model_fields)
    near = nearest(key, known)
    hint = f"; did you mean {near}?" if near else ""
    return f"is not a known key; expected one of {', '.join(known)}{hint}"


def nearest(word: str, known: Collection[str]) -> str | None:
    """The known word that a misspelt one most probably means, if any."""
    return next(iter(difflib.get_close_matches(word, known, n=1)), None)


def _as_meant(keys: Collection[str], known: Collection[str]) -> list[str]:
    """Keys with misspelt ones set right: what is misspelt is reported once, by itself."""
    return [nearest(key, known) or key for key in keys]


def _dotted(location: Sequence[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


# --- faults between parts of a file --------------------------------------------------------------


def cross_faults(raw: Mapping[str, Any]) -> Iterator[str]:
    """Faults between parts, found among the parts that hold by themselves.

    They are looked for in a file that has other faults too, so that all are reported at once.
    """
    ranges = _valid_ranges(raw.get("space"))
    declared = raw.get("space")
    searched = _as_meant(declared if isinstance(declared, dict) else (), HYPERPARAMETERS)
    yield from _named_faults(raw.get("named"), ranges, searched)
    yield from _reference_faults(raw)
    profiles = raw.get("profiles")
    for name, profile in profiles.items() if isinstance(profiles, dict) else ():
        if not isinstance(profile, dict):
            continue
        if isinstance(profile.get("protocol"), dict):
            where = f"profiles.{name}.protocol"
            protocol = profile["protocol"]
            yield from protocol_faults(where, protocol, searched)
            yield from named_protocol_faults(where, protocol, raw.get("named"), searched)
        trials = profile.get("trials")
        if isinstance(trials, int) and trials > 0:
            if not searched:
                yield f"profiles.{name}.trials = {trials}: expected 0, since space is empty"
            for part in ("sampler", "pruner"):
                if part not in _as_meant(profile, Profile.model_fields):
                    yield f"profiles.{name}.{part}: is missing; trials = {trials} need it"


def _valid_ranges(raw: object) -> dict[str, Range]:
    found: dict[str, Range] = {}
    for name, entry in raw.items() if isinstance(raw, dict) else ():
        try:
            found.update(Space.model_validate({name: entry}).ranges())
        except ValidationError:
            continue  # reported with the file's own faults
    return found


def _named_faults(
    raw: object, ranges: Mapping[str, Range], searched: Collection[str]
) -> Iterator[str]:
    seen: dict[str, int] = {}
    for index, entry in enumerate(raw if isinstance(raw, list) else ()):
        try:
            named = NamedTrial.model_validate(entry)
        except ValidationError:
            continue  # reported with the file's own faults
        where = f"named[{index}]"
        if named.name in seen:
            yield (
                f"{where}.name = {named.name!r}: expected a name of its own; "
                f"named[{seen[named.name]}] has it"
            )
        seen.setdefault(named.name, index)
        given = _as_meant(named.params, searched)
        for key in searched:
            if key not in given and key in HYPERPARAMETERS:
                yield f"{where}.params.{key}: is missing; {named.name} needs it, space has it"
        for key, value in named.params.items():
            if key not in searched:
                yield f"{where}.params.{key}: is not in space; expected {', '.join(searched)}"
            elif key in ranges and not ranges[key].contains(value):
                low, high = ranges[key].low, ranges[key].high
                yield f"{where}.params.{key} = {value:g}: expected {low:g} to {high:g}, as in space"
            elif key in WHOLE_HYPERPARAMETERS and value != int(value):
                yield f"{where}.params.{key} = {value:g}: expected a whole number"
        for key in named.settings.given():
            if key in searched:
                yield f"{where}.settings.{key}: is in space; expected it in {where}.params"


def _reference_faults(raw: Mapping[str, Any]) -> Iterator[str]:
    """Names in claims and published figures that nothing has, or that stand there twice."""
    known = [entry.get("name") for entry in _tables(raw.get("named"))]
    published = raw.get("published")
    published = published if isinstance(published, dict) else {}
    profiles = raw.get("profiles")
    profile = published.get("profile")
    if isinstance(profile, str) and isinstance(profiles, dict) and profile not in profiles:
        yield f"published.profile = {profile!r}: expected one of {', '.join(profiles)}"
    names: list[tuple[str, object]] = []
    for index, figures in enumerate(_tables(published.get("figures"))):
        names.append((f"published.figures[{index}].name", figures.get("name")))
    seen: set[object] = set()
    for index, claim in enumerate(_tables(raw.get("claims"))):
        than = claim.get("than")
        names.append((f"claims[{index}].trial", claim.get("trial")))
        names += [(f"claims[{index}].than", name) for name in than or () if isinstance(than, list)]
        if isinstance(than, list) and claim.get("trial") in than:
            yield f"claims[{index}].than: expected other trials than {claim['trial']!r} itself"
        if claim.get("name") in seen:
            yield f"claims[{index}].name = {claim['name']!r}: expected a name of its own"
        seen.add(claim.get("name"))
    if len(set(map(str, known))) < len(known):
        return  # one of two equal names was meant to be another; that is said already
    for where, name in names:
        if isinstance(name, str) and name not in known:
            near = nearest(name, [one for one in known if isinstance(one, str)])
            hint = f"; did you mean {near}?" if near else ""
            yield f"{where} = {name!r}: expected the name of a trial in named{hint}"


def _tables(raw: object) -> list[dict[str, Any]]:
    """The entries of an array of tables that are tables; others are reported by themselves."""
    return [one for one in raw if isinstance(one, dict)] if isinstance(raw, list) else []


def named_protocol_faults(
    where: str, protocol: Mapping[str, Any], named: object, searched: Collection[str]
) -> Iterator[str]:
    """Faults of a protocol, itself without any, that arise where a named trial's settings join."""
    if schema_faults(Protocol, protocol) or any(protocol_faults(where, protocol, searched)):
        return
    for index, entry in enumerate(named if isinstance(named, list) else ()):
        settings = entry.get("settings") if isinstance(entry, dict) else None
        if not isinstance(settings, dict) or schema_faults(Settings, settings):
            continue  # reported with the file's own faults
        joined = {**protocol, **settings}
        found = schema_faults(Protocol, joined) + list(protocol_faults("", joined, searched))
        beside = f"with {where}, " if where else ""
        yield from (f"named[{index}].settings: {beside}{fault}" for fault in found)


def protocol_faults(
    where: str, protocol: Mapping[str, Any], searched: Collection[str]
) -> Iterator[str]:
    prefix = f"{where}." if where else ""
    given = _as_meant(protocol, Protocol.model_fields)
    for key in HYPERPARAMETERS:
        if key in searched and key in given:
            yield f"{prefix}{key}: is in space too; expected it in one of the two"
        elif key == "dropout_rate" and protocol.get("head") == "linear":
            if key in searched or protocol.get(key):
                yield f'{prefix}head = "linear": has no dropout; expected "dropout" or "mlp"'
        elif key == "momentum" and protocol.get("optimizer") != "sgd":
            if key in searched or key in given:
                yield f'{prefix}momentum: is of optimizer = "sgd" alone; Adam has none'
        elif key in REQUIRED_HYPERPARAMETERS and key not in searched and key not in given:
            yield f"{prefix}{key}: is missing; expected it here or in space"
