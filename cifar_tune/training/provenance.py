"""What beside a trial's configuration is needed to reproduce it."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version

from cifar_tune import __version__, paths


def software() -> dict[str, str]:
    """Return the versions of what computes a trial, without importing it."""
    packages = {name: version(name) for name in ("torch", "torchvision", "numpy", "optuna")}
    return {"cifar-tune": __version__, "python": platform.python_version(), **packages}


def git_commit() -> str | None:
    """Return the commit of the checkout that the package runs from, ``-dirty`` if it was changed.

    None where it was installed from a wheel or git is not there.
    """
    folder = paths.checkout_folder()
    if folder is None:
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        described = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
