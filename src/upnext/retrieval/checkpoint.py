"""A training's state as one .npz file: named arrays and one JSON text, written whole or not at all. No pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from upnext.core.types import Array

META = "__meta__"


def write_checkpoint(path: Path, arrays: Mapping[str, Array], meta: Mapping[str, object]) -> None:
    """Replaces the file at `path` atomically; it is on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    text = np.frombuffer(json.dumps(dict(meta), sort_keys=True).encode(), np.uint8)
    with partial.open("wb") as file:
        np.savez(file, **{META: text}, **dict(arrays))  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_checkpoint(path: Path) -> tuple[dict[str, Array], dict[str, object]]:
    """(arrays, meta) as they were written."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files if name != META}
        meta = json.loads(stored[META].tobytes().decode())
    return arrays, meta


def checksum_of(arrays: Mapping[str, Array]) -> str:
    """A hash of names, shapes, types and bytes: equal exactly when the arrays are."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
