"""Tags to vectors by table: a video's tags are the mean of its known tags' rows (the table is learned in learn/cbow.py)."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from upnext.core.errors import expected
from upnext.core.types import Float32

MAX_TAGS = 8


@dataclass(frozen=True)
class TagVectors:
    """One row per tag code; `names` are the tags by code, for rows that carry words instead of codes."""

    table: Float32  # [n_tags, d]
    names: tuple[str, ...] = ()  # [n_tags] or empty

    def __post_init__(self) -> None:
        if self.table.ndim != 2 or (self.names and len(self.names) != len(self.table)):
            raise expected("tag vectors", f"float32[{len(self.names)}, d]", self.table.shape)

    @property
    def size(self) -> int:
        """Length of a vector."""
        return int(self.table.shape[1])

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {name: code for code, name in enumerate(self.names)}

    def codes(self, tags: Sequence[Sequence[str] | None]) -> npt.NDArray[np.int32]:
        """int32[n, 8] of n lists of tags: the first MAX_TAGS known ones of each, -1 elsewhere."""
        out = np.full((len(tags), MAX_TAGS), -1, np.int32)
        for row, words in zip(out, tags, strict=True):
            known = [self._codes[w] for w in words or () if w in self._codes][:MAX_TAGS]
            row[: len(known)] = known
        return out

    def encode(self, tags: npt.NDArray[np.int32]) -> Float32:
        """float32[n, d] of codes int32[n, m]: the mean over known tags; codes outside the table are ignored; none: zeros."""
        known = (tags >= 0) & (tags < len(self.table))
        count = known.sum(axis=1)
        out = np.zeros((len(tags), self.size), np.float32)
        for place in range(tags.shape[1]):
            rows = np.flatnonzero(known[:, place])
            out[rows] += self.table[tags[rows, place]]
        return np.asarray(out / np.maximum(count, 1)[:, None], np.float32)

    def save(self, path: Path) -> None:
        """Writes an npz file at exactly `path`."""
        names = np.frombuffer(json.dumps(list(self.names)).encode(), np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, table=self.table, names=names)
        path.write_bytes(buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> TagVectors:
        """The inverse of save."""
        with np.load(path, allow_pickle=False) as stored:
            names = json.loads(stored["names"].tobytes().decode())
            return cls(stored["table"].astype(np.float32), tuple(names))
