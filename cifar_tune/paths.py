"""Every file name that the product reads by itself or writes."""

from __future__ import annotations

import os
from pathlib import Path

STORAGE_FILE = Path("storage") / "cifar-tune.db"
"""The database, where none is named; relative to the current folder."""

_PACKAGE = Path(__file__).parent


def study_folders() -> list[Path]:
    """Folders searched for study files, first the user's own, then those shipped."""
    shipped = _PACKAGE / "studies"
    # In a checkout the shipped files are in the folder beside the package.
    return [Path("studies"), shipped if shipped.is_dir() else _PACKAGE.parent / "studies"]


def full_set_folder() -> Path:
    """Where the full CIFAR-10 is kept: ``$CIFAR_TUNE_DATA`` or the user's cache, /cifar10."""
    root = os.environ.get("CIFAR_TUNE_DATA")
    if root:
        return Path(root) / "cifar10"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "cifar-tune" / "cifar10"


def is_checkout() -> bool:
    """Whether the package runs from a checkout of its repository, not from an installed wheel."""
    return (_PACKAGE.parent / ".git").exists() and (_PACKAGE.parent / "pyproject.toml").exists()


def checkout_folder() -> Path:
    """The folder of the checkout, meaningful where ``is_checkout``."""
    return _PACKAGE.parent
