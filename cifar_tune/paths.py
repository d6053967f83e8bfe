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


def server_file(kind: str, database: str) -> Path:
    """What stands for a database that is no file where names of files beside it are made.

    Two databases never share files, unless they have one name on two servers.

    Args:
        kind: of the database, e.g. ``postgresql``.
        database: its name on its server.
    """
    return STORAGE_FILE.with_name(f"{_file_name(f'{kind}-{database}')}.db")


def kept_weights_file(database: Path, study_name: str, number: int) -> Path:
    """The final weights of a trial, where they are kept: beside the database.

    Args:
        database: the SQLite file, or what stands for another kind of database.
    """
    return _trial_folder(database, "weights", study_name) / f"trial-{number}.safetensors"


def predictions_file(database: Path, study_name: str, number: int, split: str) -> Path:
    """What a trial says of each image of a split, ``validation`` or ``test``; kept likewise."""
    folder = _trial_folder(database, "predictions", study_name)
    return folder / f"trial-{number}-{split}.safetensors"


def checkpoints_folder(database: Path, study_name: str, number: int) -> Path:
    """The newest states of a trial that is not at its end; likewise."""
    return _trial_folder(database, "checkpoints", study_name) / f"trial-{number}"


def features_folder(database: Path) -> Path:
    """What frozen parts of networks make of images, by digest; likewise."""
    return database.with_name(f"{database.stem}-features")


def artifacts_folder(database: Path) -> Path:
    """Pictures and tables of trials, as Optuna's artifact store keeps them; likewise."""
    return database.with_name(f"{database.stem}-artifacts")


def worker_logs(database: Path, study_name: str) -> Path:
    """What the workers of a study's last run printed; likewise."""
    return _trial_folder(database, "logs", study_name)


def staged(path: Path, token: str) -> Path:
    """Where a worker writes a file that the runner is to name ``path``.

    Args:
        token: of the run, so that one that was overtaken writes into no other's file.
    """
    return path.with_name(f".{path.name}.{token}.staged")


STAGED_PATTERN = ".*.staged*"
"""Files that a worker wrote and no runner named, whole or begun."""
UNFINISHED_PATTERN = ".*.part"
"""Files that were being written when their process died."""


def report_file(database: Path, name: str) -> Path:
    """The report of a study, or one that has a name of its own."""
    return database.with_name("reports") / f"{_file_name(name)}.html"


def _trial_folder(database: Path, kind: str, study_name: str) -> Path:
    return database.with_name(f"{database.stem}-{kind}") / _file_name(study_name)


def _file_name(study_name: str) -> str:
    """A study's name without what not every file system takes, such as its colons."""
    return re.sub(r"[^A-Za-z0-9._=,-]+", "_", study_name)


def is_checkout() -> bool:
    """Whether the package runs from a checkout of its repository, not from an installed wheel."""
    return (_PACKAGE.parent / ".git").exists() and (_PACKAGE.parent / "pyproject.toml").exists()


def checkout_folder() -> Path:
    """The folder of the checkout, meaningful where ``is_checkout``."""
    return _PACKAGE.parent
