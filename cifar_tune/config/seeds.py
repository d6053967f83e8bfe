"""Every seed of a study derives from the study's own."""

from __future__ import annotations

import hashlib


def derive_seed(parent: int, *path: str | int) -> int:
    """Derive a seed from another one and what it is for, e.g. ``"trial", 7``.

    Different paths give independent seeds, the same on every machine: from 0 to 2³¹ - 1, the first
    31 bits of the SHA-256 of parent and path.
    """
    text = "/".join(map(str, (parent, *path)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1
