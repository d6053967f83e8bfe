"""Which hyperparameter, trial or study a name stands for, written in full or as it is shown.

Tables show ``lr`` for ``learning_rate`` and ``p=0.3`` for ``dropout/p=0.3``, so commands take both.
Study files keep full names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from cifar_tune.config.faults import nearest
from cifar_tune.config.wording import long_name, short_name
from cifar_tune.errors import InputError

# --- hyperparameters and other keys ---------------------------------------------------------------


def resolve_key(text: str, known: Iterable[str]) -> str:
    """Return the key that a name stands for; the name itself where it stands for none.

    A key may be written as it is, or as tables and texts show it, in small letters or capitals and
    with spaces or hyphens for underscores.
    """
    by_name = _keys_by_name(known)
    return by_name.get(_plain(text), text)


def suggest_key(text: str, known: Iterable[str]) -> str:
    """Return the question whether a key was meant, to end a message with, if any is near."""
    by_name = _keys_by_name(known)
    near = nearest(_plain(text), by_name.keys())
    return "" if near is None else f"; did you mean {by_name[near]}?"


def _keys_by_name(known: Iterable[str]) -> dict[str, str]:
    keys = list(known)
    shown = {_plain(name(key)): key for name in (long_name, short_name) for key in keys}
    return shown | {_plain(key): key for key in keys}


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lower())


# --- trials ---------------------------------------------------------------------------------------


def read_number(text: str) -> int | None:
    """Return the number of a trial, as in ``7``, ``#7`` and ``sampled/trial-7``; None for none."""
    match = re.fullmatch(r"(?:(?:sampled/)?trial-|#)?([0-9]{1,18})", text)
    return None if match is None else int(match[1])


def resolve_name(text: str, names: Iterable[str], what: str) -> str | None:
    """Return the one of trials' names that a text stands for; None where it stands for none.

    A name may be without what stands before its slash, and without its replicate where it has one
    replicate only.

    Raises:
        InputError: Several are called so; the message begins with ``what``.
    """
    known = list(dict.fromkeys(names))
    for forms in (_full, _shortened, _without_replicate):
        matching = [name for name in known if text in forms(name)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            raise InputError(f"{what}: expected one of {', '.join(matching)}")
    return None


def model_of(name: str) -> str:
    """Return the name of a trial without its replicate."""
    return re.sub(r"/seed=[0-9]+$", "", name)


def suggest_name(text: str, names: Iterable[str]) -> str:
    """Return the question whether a trial was meant, to end a message with, if any is near."""
    by_form = {
        form: name
        for name in names
        for forms in (_without_replicate, _shortened, _full)
        for form in forms(name)
    }
    near = nearest(text, by_form.keys())
    return "" if near is None else f"; did you mean {by_form[near]}?"


def _full(name: str) -> Collection[str]:
    return (name,)


def _shortened(name: str) -> Collection[str]:
    return (name.partition("/")[2],)


def _without_replicate(name: str) -> Collection[str]:
    model = model_of(name)
    return (*_full(model), *_shortened(model))


# --- studies --------------------------------------------------------------------------------------


def split_study_name(text: str) -> tuple[str, str | None, list[str]]:
    """Return the study file, the profile and the overrides that a study's name consists of.

    What is no such name, as ``dropout:quick:epochs=2`` is one, is a study file alone. Overrides are
    as ``parse_override`` takes them.
    """
    if "/" in text or text.endswith(".toml") or ":" not in text:
        return text, None, []
    file, profile, *rest = text.split(":", 2)
    settings = re.split(r",(?=[a-z_]+=)", rest[0]) if rest and rest[0] else []
    # Names have values as Python writes them.
    toml = [re.sub(r"=(True|False)$", lambda end: end[0].lower(), text) for text in settings]
    return file, profile, toml
