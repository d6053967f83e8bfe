"""What beside a trial's configuration is needed to reproduce it."""

from __future__ import annotations

import filecmp
import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from cifar_tune import __version__, paths


def software() -> dict[str, str]:
    """Return the versions of what computes a trial, without importing it."""
    packages = {name: version(name) for name in ("torch", "torchvision", "numpy", "optuna")}
    return {"cifar-tune": __version__, "python": platform.python_version(), **packages}


def git_commit() -> str | None:
    """Return the commit that the package is of, ``-dirty`` if its checkout was changed.

    An installed package is of the commit that pip has recorded, or of the checkout that it was
    installed from, if each of its modules is still as it is there (PEP 610). None where that is not
    so, or git is not there.
    """
    folder = paths.checkout_folder()
    if folder is None:
        origin = _read_origin()
        if "vcs_info" in origin:
            return str(origin["vcs_info"]["commit_id"])
        source = Path(url2pathname(urlsplit(origin.get("url", "")).path))
        if "dir_info" not in origin or not _is_copy_of(source / "cifar_tune"):
            return None
        folder = source
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


def _read_origin() -> dict[str, Any]:
    """Return what pip recorded of where it installed the package from; nothing if it did not."""
    try:
        recorded = distribution("cifar-tune").read_text("direct_url.json")
    except PackageNotFoundError:
        return {}
    origin: dict[str, Any] = json.loads(recorded or "{}")
    return origin


def _is_copy_of(source: Path) -> bool:
    package = Path(__file__).parents[1]
    modules = [str(path.relative_to(package)) for path in package.rglob("*.py")]
    same, _, _ = filecmp.cmpfiles(package, source, modules, shallow=False)
    return len(same) == len(modules)
