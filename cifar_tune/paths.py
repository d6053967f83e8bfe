"""Every file name that the product reads by itself or writes."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from dataclasses import dataclass
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


def data_command(root: Path, command: str) -> str:
    """Return a command of ``cifar-tune data`` or ``weights`` for that folder, as it is typed."""
    return f"`{' '.join(filter(None, (f'cifar-tune {command}', data_option(root))))}`"


def data_option(root: Path) -> str:
    """Return the option that names that folder; empty where a command finds it by itself."""
    return "" if root == data_root() else f"--data-dir {shlex.quote(str(root))}"


def image_set_file(root: Path, name: str) -> Path:
    """Return the cache of an imported image set, ``cifar10`` or one of the user's own."""
    return root / "images" / f"{name}.safetensors"


def weights_file(root: Path, name: str) -> Path:
    """Return the file of imported pretrained weights."""
    return root / "weights" / f"{name}.safetensors"


def server_file(kind: str, database: str) -> Path:
    """Return what stands for a database on a server where files beside it are named.

    Where two have one name in files, their studies have folders of their own all the same.

    Args:
        kind: Kind of the server, e.g. ``postgresql``.
        database: Name of the database on its server.
    """
    return STORAGE_FILE.with_name(f"{re.sub(_UNSAFE, '_', f'{kind}-{database}')}.db")


@dataclass(frozen=True)
class StudyFolder:
    """What the folders of a study's files are called.

    Attributes:
        database: The SQLite file, or what stands for another kind of database; as it was called
            when the folders were made.
        name: The name of the folder of each kind.
    """

    database: Path
    name: str

    def of_kind(self, kind: str) -> Path:
        """Return the folder of one kind of files, such as ``weights``."""
        return _beside(self.database, kind) / self.name


def new_study_folder(database: Path, study_name: str, token: str) -> StudyFolder:
    """Return folders that no other study has: ``token`` is drawn for it."""
    return StudyFolder(database, f"{_shorten(study_name)}-{token}")


def old_study_folder(database: Path, study_name: str) -> StudyFolder:
    """Return the folders of a study that no version after 0.1.0 has run.

    Several studies may have the same.
    """
    name = re.sub(_UNSAFE, "_", study_name)[:_LONGEST_NAME]
    return StudyFolder(database, "_" if name in (".", "..") else name)


def kept_weights_file(folder: StudyFolder, number: int) -> Path:
    """Return the file of a trial's final weights, beside the database."""
    return folder.of_kind("weights") / f"trial-{number}.safetensors"


def predictions_file(folder: StudyFolder, number: int, split: str) -> Path:
    """Return the file of a trial's predictions for a split, ``validation`` or ``test``."""
    return folder.of_kind("predictions") / f"trial-{number}-{split}.safetensors"


def checkpoints_folder(folder: StudyFolder, number: int) -> Path:
    """Return the folder of the newest states of a trial that is not at its end."""
    return folder.of_kind("checkpoints") / f"trial-{number}"


def features_folder(database: Path) -> Path:
    """Return the folder of what frozen parts of networks make of images, by digest."""
    return _beside(database, "features")


def artifacts_folder(database: Path) -> Path:
    """Return the folder of pictures and tables of trials: Optuna's artifact store."""
    return _beside(database, "artifacts")


def worker_logs(database: Path, study_name: str) -> Path:
    """Return the folder of what the workers of a study's last run printed."""
    return _beside(database, "logs") / _file_name(study_name, database.name)


def staged(path: Path, token: str) -> Path:
    """Return where a worker writes a file that the runner is to name ``path``.

    The token is of the run, so that one that was overtaken writes into no other's file.
    """
    return path.with_name(f".{path.name}.{token}.staged")


STAGED_PATTERN = ".*.staged*"
"""Files that a worker wrote and no runner named, whole or begun."""
UNFINISHED_PATTERN = ".*.part"
"""Files that were being written when their process died."""


def event_files_folder(database: Path) -> Path:
    """Return the folder of TensorBoard's event files of all studies of a database."""
    return _beside(database, "tensorboard")


def event_files(folder: Path, study_name: str, number: int) -> Path:
    """Return the folder of a trial's event files in one of event files."""
    return folder / _file_name(study_name) / f"trial-{number}"


def report_file(database: Path, name: str) -> Path:
    """Return the file of a study's report, or of one that has a name of its own."""
    return database.with_name("reports") / f"{_file_name(name)}.html"


_UNSAFE = r"[^A-Za-z0-9._=,-]+"
"""What not every file system takes in names, such as the colons of studies."""
_LONGEST_NAME = 255
LONGEST_DATABASE = _LONGEST_NAME - len("-predictions")
"""Bytes of a database's name: those of the folders beside it are longer."""


def _beside(database: Path, kind: str) -> Path:
    return database.with_name(f"{database.stem}-{kind}")


def _shorten(name: str) -> str:
    return re.sub(_UNSAFE, "_", name)[:100]


def _file_name(name: str, *owners: str) -> str:
    """Return a file name, which tells apart what has another name or belongs to others.

    Names of studies lose nothing but their colons, if that is all that cannot stay.
    """
    short = _shorten(name)
    if short == name.replace(":", "_") and not owners:
        return short
    return f"{short}-{hashlib.sha256(repr((name, *owners)).encode()).hexdigest()[:8]}"


def checkout_folder() -> Path | None:
    """Return the folder of the repository whose checkout the package runs from; None for none."""
    folder = _PACKAGE.parent
    is_checkout = (folder / ".git").exists() and (folder / "pyproject.toml").exists()
    return folder if is_checkout else None
