"""Downloads one file with a pinned digest; only commands that say so call it."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cifar_tune.errors import CifarTuneError
from cifar_tune.files import check_disk_space

TIMEOUT_SECONDS = 30.0


@contextmanager
def download(
    url: str, sha256: str, size: int, folder: Path, error_type: type[CifarTuneError], otherwise: str
) -> Iterator[Path]:
    """Download a file to a temporary folder inside ``folder``, gone when the block ends.

    ``size`` is that of the file in bytes, checked against the free disk space first; ``otherwise``
    is the way without network, for the message.

    Raises:
        CifarTuneError: The file cannot be had; of the type ``error_type``.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.ERROR)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise error_type(f"{folder}: cannot be written: {error.strerror}") from error
    # For the file and for what is made of it.
    check_disk_space(folder, 2 * size, error_type)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
        bar = sys.stderr.isatty()
        fetch = pooch.HTTPDownloader(timeout=TIMEOUT_SECONDS, progressbar=bar, chunk_size=1 << 20)
        try:
            path = pooch.retrieve(
                url, f"sha256:{sha256}", Path(url).name, temporary, downloader=fetch
            )
        except requests.RequestException as error:
            reason = type(error).__name__ if error.response is None else str(error)
            raise error_type(f"{url}: cannot be downloaded: {reason}; {otherwise}") from error
        except ValueError as error:  # pooch's word for another digest
            raise error_type(
                f"{url}: what came is not the file with SHA-256 {sha256}; {otherwise}"
            ) from error
        except OSError as error:
            raise error_type(f"{folder}: cannot be written: {error.strerror}") from error
        yield Path(path)
