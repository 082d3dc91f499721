"""Folders and files that are on disk, whole, under their name, or not there at all: fsync, rename, fsync the parent."""

from __future__ import annotations

import os
from pathlib import Path


def sync_tree(folder: Path) -> None:
    """Puts every file and every folder beneath, and the folder itself, on disk."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def move_folder(folder: Path, final: Path) -> None:
    """Renames a synced folder to a name that is free; on disk when this returns. Raises OSError when the name is taken."""
    os.rename(folder, final)
    sync(final.parent)


def replace_file(file: Path, data: bytes) -> None:
    """The file now has this content: the old or the new after a crash, never a mixture."""
    temporary = file.with_name(file.name + ".tmp")
    temporary.write_bytes(data)
    sync(temporary)
    os.replace(temporary, file)
    sync(file.parent)


def sync(path: Path) -> None:
    """Puts a file's content, or a folder's list of names, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
