"""Reads the batches of CIFAR-10's official Python archive, which are pickles.

Unpickling can run whatever code a file names. So a batch is unpickled only once its digest is that
of an official file, and by an unpickler that knows the three names that an array of Python 2 is
written with, and no others. No other module of the package may import ``pickle``.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from typing import Any

import numpy as np

from cifar_tune.data.cifar10 import EXPECTED_COPIES
from cifar_tune.errors import DataError
from cifar_tune.wording import printable

OFFICIAL_MD5: frozenset[str] = frozenset(
    {
        "c99cafc152244af753f735de768cd75f",  # data_batch_1
        "d4bba439e000b95fd0a9bffe97cbabec",  # data_batch_2
        "54ebc095f3ab1f0389bbae665268c751",  # data_batch_3
        "634d18415352ddfa80567beed471001a",  # data_batch_4
        "482c414d41f54cd18b22e5b47cb7c3cb",  # data_batch_5
        "40351d587109b95175f43aff81a1287e",  # test_batch
    }
)
"""MD5 of the six batches in cifar-10-python.tar.gz, as ``torchvision.datasets.CIFAR10`` checks
them. Nobody can make another file with one of these digests: that is a second preimage, which for
MD5 is still out of reach."""

_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


def read_official_batch(content: bytes, where: str) -> Any:
    """Return the value of a batch; strings of Python 2 become str, with one character a byte.

    Raises:
        DataError: It is not one of the official files.
    """
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest not in OFFICIAL_MD5:
        raise DataError(
            f"{where}: is not as it was published: no Python batch of CIFAR-10 has its MD5 "
            f"{digest}, and one that was pickled anew is not read; {EXPECTED_COPIES}"
        )
    try:
        return _ArrayUnpickler(content, where).load()
    except DataError:
        raise
    except Exception as error:  # unpickling raises nearly everything on damaged files
        reason = printable(f"{type(error).__name__}: {error}")
        raise DataError(f"{where}: is a damaged pickle: {reason}") from error


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that can build arrays, strings, numbers, lists, tuples and dicts."""

    def __init__(self, content: bytes, where: str) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name stands for.

        Raises:
            DataError: It is none of those that an array needs.
        """
        try:
            return _NAMES[module, name]
        except KeyError:
            reference = printable(f"{module}.{name}")
            raise DataError(f"{self._where}: refers to {reference}; only arrays are read") from None
