"""Every file name that the product reads by itself or writes."""

from __future__ import annotations

import os
import re
from pathlib import Path

from platformdirs import user_cache_path

STORAGE_FILE = Path("storage") / "cifar-tune.db"
"""The database, where none is named; relative to the current folder."""

_PACKAGE = Path(__file__).parent


def study_folders() -> list[Path]:
    """Folders searched for study files, first the user's own, then those shipped."""
    shipped = _PACKAGE / "studies"
    # In a checkout the shipped files are in the folder beside the package.
    return [Path("studies"), shipped if shipped.is_dir() else _PACKAGE.parent / "studies"]


def data_root(data_dir: Path | None = None) -> Path:
    """Where imported images and weights are kept.

    Args:
        data_dir: as given by ``--data-dir``; else ``$CIFAR_TUNE_DATA``, else the user's cache.
    """
    if data_dir is not None:
        return data_dir
    named = os.environ.get("CIFAR_TUNE_DATA")
    return Path(named) if named else user_cache_path("cifar-tune", appauthor=False)


def image_set_file(root: Path, name: str) -> Path:
    """The cache of an imported image set, ``cifar10`` or one of the user's own."""
    return root / "images" / f"{name}.safetensors"


def weights_file(root: Path, name: str) -> Path:
    """Imported pretrained weights."""
    return root / "weights" / f"{name}.safetensors"


def kept_weights_file(database: Path | None, study_name: str, number: int) -> Path:
    """The final weights of a trial, where they are kept: beside the database.

    Args:
        database: the SQLite file; None for another kind of database takes the default's place.
    """
    return _trial_folder(database, "weights", study_name) / f"trial-{number}.safetensors"


def predictions_file(database: Path | None, study_name: str, number: int, split: str) -> Path:
    """What a trial says of each image of a split, ``validation`` or ``test``; kept likewise."""
    folder = _trial_folder(database, "predictions", study_name)
    return folder / f"trial-{number}-{split}.safetensors"


def report_file(database: Path | None, name: str) -> Path:
    """The report of a study, or one that has a name of its own."""
    file = STORAGE_FILE if database is None else database
    return file.with_name("reports") / f"{_file_name(name)}.html"


def _trial_folder(database: Path | None, kind: str, study_name: str) -> Path:
    file = STORAGE_FILE if database is None else database
    return file.with_name(f"{file.stem}-{kind}") / _file_name(study_name)


def _file_name(study_name: str) -> str:
    """A study's name without what not every file system takes, such as its colons."""
    return re.sub(r"[^A-Za-z0-9._=,-]+", "_", study_name)


def is_checkout() -> bool:
    """Whether the package runs from a checkout of its repository, not from an installed wheel."""
    return (_PACKAGE.parent / ".git").exists() and (_PACKAGE.parent / "pyproject.toml").exists()


def checkout_folder() -> Path:
    """The folder of the checkout, meaningful where ``is_checkout``."""
    return _PACKAGE.parent
