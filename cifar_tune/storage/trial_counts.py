"""How many trials stored studies have, found out without loading Optuna where that can be."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

from cifar_tune.storage.location import (
    StorageLocation,
    check_readable,
    connect_to_file,
    explain_errors,
    read_tables,
)
from cifar_tune.storage.records import check_format

_COUNT = """
SELECT study_name, COUNT(trial_id), MAX(value_json)
FROM studies
LEFT JOIN trials USING (study_id)
LEFT JOIN study_user_attributes AS attributes
    ON attributes.study_id = studies.study_id AND attributes.key = 'format'
GROUP BY studies.study_id
ORDER BY studies.study_id
"""
_TABLES = {"studies", "trials", "study_user_attributes"}


def count_trials_by_file(
    location: StorageLocation, file_names: Collection[str]
) -> dict[str, dict[str, int]]:
    """Return how many trials each stored study has, by the name of its study file and its own.

    Raises:
        StorageError: The database cannot be read, or a newer version wrote one of the studies.
    """
    counts: dict[str, dict[str, int]] = {file_name: {} for file_name in file_names}
    check_readable(location)
    if not location.exists():
        return counts
    with explain_errors(location):
        rows = list(_read_server(location) if location.path is None else _read_file(location.path))
    for study_name, trials, stored_format in rows:
        file_name = study_name.split(":")[0]
        if file_name in counts:
            check_format(study_name, stored_format)
            counts[file_name][study_name] = trials
    return counts


def _read_file(path: Path) -> Iterator[tuple[str, int, int | None]]:
    if not (read_tables(path) or set()) >= _TABLES:
        return  # the first run was ended while it made them
    with closing(connect_to_file(path, "ro")) as database:
        for study_name, trials, stored_format in database.execute(_COUNT):
            yield study_name, trials, stored_format and json.loads(stored_format)


def _read_server(location: StorageLocation) -> Iterator[tuple[str, int, int | None]]:
    import optuna

    from cifar_tune.storage.studies import open_to_read

    storage = open_to_read(location)
    if storage is None:
        return
    for study in optuna.get_all_study_summaries(storage, include_best_trial=False):
        yield study.study_name, study.n_trials, study.user_attrs.get("format")
