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
    """Return the folders of study files: first the user's own, then those shipped."""
    shipped = _PACKAGE / "studies"
    # In a checkout the shipped files are in the folder beside the package.
    return [Path("studies"), shipped if shipped.is_dir() else _PACKAGE.parent / "studies"]


def data_root(data_dir: Path | None = None) -> Path:
    """Return where imported images and weights are kept.

    That is ``data_dir``, as given by ``--data-dir``, else ``$CIFAR_TUNE_DATA``, else the user's
    cache; where the user has no home folder, beside the database where none is named.
    """
    if data_dir is not None:
        return data_dir
    named = os.environ.get("CIFAR_TUNE_DATA")
    if named:
        return Path(named)
    try:
        return user_cache_path("cifar-tune", appauthor=False)
    except RuntimeError:  # a user id without an entry, and no $HOME
        return STORAGE_FILE.with_name("data")


def image_set_file(root: Path, name: str) -> Path:
    """Return the cache of an imported image set, ``cifar10`` or one of the user's own."""
    return root / "images" / f"{name}.safetensors"


def weights_file(root: Path, name: str) -> Path:
    """Return the file of imported pretrained weights."""
    return root / "weights" / f"{name}.safetensors"


def server_file(kind: str, database: str) -> Path:
    """Return what stands for a database on a server where files beside it are named.

    Two databases never share files, unless they have one name on two servers.

    Args:
        kind: Kind of the server, e.g. ``postgresql``.
        database: Name of the database on its server.
    """
    return STORAGE_FILE.with_name(f"{_file_name(f'{kind}-{database}')}.db")


def kept_weights_file(database: Path, study_name: str, number: int) -> Path:
    """Return the file of a trial's final weights, beside the database.

    Here and below ``database`` is the SQLite file, or what stands for another kind of database.
    """
    return _trial_folder(database, "weights", study_name) / f"trial-{number}.safetensors"


def predictions_file(database: Path, study_name: str, number: int, split: str) -> Path:
    """Return the file of a trial's predictions for a split, ``validation`` or ``test``."""
    folder = _trial_folder(database, "predictions", study_name)
    return folder / f"trial-{number}-{split}.safetensors"


def checkpoints_folder(database: Path, study_name: str, number: int) -> Path:
    """Return the folder of the newest states of a trial that is not at its end."""
    return _trial_folder(database, "checkpoints", study_name) / f"trial-{number}"


def features_folder(database: Path) -> Path:
    """Return the folder of what frozen parts of networks make of images, by digest."""
    return database.with_name(f"{database.stem}-features")


def artifacts_folder(database: Path) -> Path:
    """Return the folder of pictures and tables of trials: Optuna's artifact store."""
    return database.with_name(f"{database.stem}-artifacts")


def worker_logs(database: Path, study_name: str) -> Path:
    """Return the folder of what the workers of a study's last run printed."""
    return _trial_folder(database, "logs", study_name)


def staged(path: Path, token: str) -> Path:
    """Return where a worker writes a file that the runner is to name ``path``.

    The token is of the run, so that one that was overtaken writes into no other's file.
    """
    return path.with_name(f".{path.name}.{token}.staged")


STAGED_PATTERN = ".*.staged*"
"""Files that a worker wrote and no runner named, whole or begun."""
UNFINISHED_PATTERN = ".*.part"
"""Files that were being written when their process died."""


def report_file(database: Path, name: str) -> Path:
    """Return the file of a study's report, or of one that has a name of its own."""
    return database.with_name("reports") / f"{_file_name(name)}.html"


def _trial_folder(database: Path, kind: str, study_name: str) -> Path:
    return database.with_name(f"{database.stem}-{kind}") / _file_name(study_name)


def _file_name(study_name: str) -> str:
    """Return a study's name without what not every file system takes, such as its colons."""
    return re.sub(r"[^A-Za-z0-9._=,-]+", "_", study_name)


def checkout_folder() -> Path | None:
    """Return the folder of the repository whose checkout the package runs from; None for none."""
    folder = _PACKAGE.parent
    is_checkout = (folder / ".git").exists() and (folder / "pyproject.toml").exists()
    return folder if is_checkout else None
