"""What must hold of a study whatever happened to it, read with plain Optuna and nothing of ours.

Used by the tests and by ``kill_study.py``. A fault is a line of text; no faults is an empty list.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

SETTLED = (TrialState.COMPLETE, TrialState.PRUNED)
LEFTOVERS = ("*.part", "*.staged", "*-checkpoints/*/*")
"""Of a study that is done there is no file like these."""


def read_study(url: str, study_name: str | None = None) -> optuna.Study:
    """The study of that name, or the only one of a database.

    Args:
        url: of SQLAlchemy, or the path of a SQLite file.
    """
    url = url if "://" in url else f"sqlite:///{url}"
    names = [study_name] if study_name else optuna.get_all_study_names(storage=url)
    (name,) = names
    return optuna.load_study(study_name=name, storage=url)


def identity(trial: FrozenTrial) -> str:
    """What tells a trial from others in any run of its study: its name, or its seed if sampled.

    Its number does not: a trial that failed because its worker died is run again under another.
    """
    name: str | None = trial.user_attrs.get("name")
    return name if name is not None else f"sampled with seed {trial.user_attrs.get('seed')}"


def settled(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that ran to their end."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state in SETTLED]


def duplicates(study: optuna.Study) -> list[str]:
    """Identities that more than one settled trial has."""
    counts = Counter(map(identity, settled(study)))
    return [f"{key}: settled {count} times" for key, count in counts.items() if count > 1]


def count_faults(study: optuna.Study, named: Collection[str], sampled: int) -> list[str]:
    """What is wrong with the number of a finished study's trials.

    Args:
        named: full names of the named trials.
        sampled: how many trials were to be sampled.
    """
    everyone = study.get_trials(deepcopy=False)
    faults = [
        f"trial {trial.number} is left {trial.state.name}"
        for trial in everyone
        if not trial.state.is_finished()
    ]
    found = {trial.user_attrs["name"] for trial in settled(study) if "name" in trial.user_attrs}
    faults += [f"{name}: is not complete" for name in sorted(set(named) - found)]
    faults += [f"{name}: was not asked for" for name in sorted(found - set(named))]
    count = sum("name" not in trial.user_attrs for trial in settled(study))
    if count != sampled:
        faults.append(f"{count} sampled trials are settled, expected {sampled}")
    numbers = [trial.number for trial in everyone]
    if numbers != list(range(len(numbers))):
        faults.append(f"numbers of trials: {numbers}")
    return faults


def outcome(trial: FrozenTrial) -> Mapping[str, Any]:
    """All that a trial's training gave and began with, apart from when, where and how fast."""
    attributes = trial.user_attrs
    history = [{**epoch, "seconds": None} for epoch in attributes.get("history", ())]
    return {
        "state": trial.state.name,
        "params": trial.params,
        "value": trial.value,
        "reported": trial.intermediate_values,
        "history": history,
        "config": attributes.get("config"),
        "settings": attributes.get("settings"),
    }


def differences(study: optuna.Study, other: optuna.Study) -> list[str]:
    """Trials of two studies that should be equal and are not, or that one of them lacks."""
    mine = {identity(trial): trial for trial in settled(study)}
    theirs = {identity(trial): trial for trial in settled(other)}
    faults = [f"{key}: is lost" for key in sorted(theirs.keys() - mine.keys())]
    faults += [f"{key}: is too much" for key in sorted(mine.keys() - theirs.keys())]
    for key in sorted(mine.keys() & theirs.keys()):
        found, expected = outcome(mine[key]), outcome(theirs[key])
        faults += [
            f"{key}: {part} is {found[part]!r}, expected {expected[part]!r}"
            for part in found
            if found[part] != expected[part]
        ]
    return faults


def weights_files(folder: Path) -> dict[int, Path]:
    """The kept weights below a folder, by the number of the trial."""
    found = folder.rglob("*-weights/*/trial-*.safetensors")
    return {int(path.stem.removeprefix("trial-")): path for path in found}


def weights_faults(study: optuna.Study, folder: Path, keep_best: int = 0) -> list[str]:
    """Where the kept weights are not what the study's record says.

    Args:
        folder: that holds the files of this study and of no other.
        keep_best: of how many sampled trials they are kept, besides those of all named ones.
    """
    complete = {one.number: one for one in settled(study) if one.state == TrialState.COMPLETE}
    sampled = [one for one in complete.values() if "name" not in one.user_attrs]
    best = sorted(sampled, key=lambda one: (-(one.value or 0.0), one.number))[:keep_best]
    wanted = (complete.keys() - {one.number for one in sampled}) | {one.number for one in best}
    files = weights_files(folder)
    faults = [f"trial {number}: its weights are gone" for number in sorted(wanted - files.keys())]
    for number, path in sorted(files.items()):
        recorded = (
            complete[number].user_attrs.get("kept_weights_sha256") if number in complete else None
        )
        if number not in wanted:
            faults.append(f"{path}: is not to be kept (recorded: {recorded})")
        elif digest(path) != recorded:
            faults.append(f"{path}: has SHA-256 {digest(path)}, recorded is {recorded}")
    return faults


def kept_digests(study: optuna.Study) -> dict[str, str]:
    """SHA-256 of the weights of every trial whose weights were kept, by the trial's identity."""
    return {
        identity(trial): trial.user_attrs["kept_weights_sha256"]
        for trial in settled(study)
        if "kept_weights_sha256" in trial.user_attrs
    }


def weights_differences(study: optuna.Study, other: optuna.Study) -> list[str]:
    """Trials of two studies that both kept weights of, and not the same."""
    mine, theirs = kept_digests(study), kept_digests(other)
    return [
        f"{key}: weights differ: {mine[key]}, expected {theirs[key]}"
        for key in sorted(mine.keys() & theirs.keys())
        if mine[key] != theirs[key]
    ]


def leftovers(folder: Path, patterns: Iterable[str] = LEFTOVERS) -> list[str]:
    """Files that should be gone once a study is done."""
    return [f"{path}: is left" for pattern in patterns for path in sorted(folder.rglob(pattern))]


def database_faults(path: Path) -> list[str]:
    """What SQLite itself finds wrong with a database."""
    with closing(sqlite3.connect(path)) as database:
        rows = [row for (row,) in database.execute("PRAGMA integrity_check")]
        rows += [f"foreign key: {row}" for row in database.execute("PRAGMA foreign_key_check")]
    return [f"{path}: {row}" for row in rows if row != "ok"]


def digest(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
