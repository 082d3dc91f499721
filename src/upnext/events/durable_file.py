"""Files that are on disk, whole, under their name, or not there at all: write beside, fsync, rename, fsync the folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def publish_file(temporary: Path, final: Path) -> None:
    """Moves a finished file to its name; both are on disk when this returns."""
    _sync(temporary)
    os.replace(temporary, final)
    _sync(final.parent)


def sha256_of(file: Path) -> str:
    """The file's SHA-256, hexadecimal."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
