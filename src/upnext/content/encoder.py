"""A video as one vector of what it is: title, tags, category, language, duration, and the platform's own embedding.

Each block has length 1 where the video has that field and is zeros where not; blocks are scaled so that their shares of a full
row's squared length are WEIGHTS; the row is then brought to length 1, so the inner product of two rows is their similarity.
Category and language are hashed to signs (Weinberger et al. 2009), so a new word needs no table. A video with nothing at all is
the vector "duration unknown": valid, finite, and the same for all such videos.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, cast

import numpy as np
import pyarrow as pa

from upnext.content.platform_vectors import PlatformVectors, fit_platform_vectors
from upnext.content.tags import TagVectors
from upnext.content.text import TextEncoder, load_text_encoder
from upnext.content.unit import unit_rows
from upnext.core.errors import InvalidInput
from upnext.core.randomness import rng_for
from upnext.core.types import Float32

CATEGORY_SIZE, LANGUAGE_SIZE, DURATION_SIZE = 16, 8, 3
WEIGHTS: Final[Mapping[str, float]] = {
    "title": 1.0, "tags": 1.0, "category": 0.5, "language": 0.25, "duration": 0.1, "platform": 1.0,
}  # fmt: skip
COLUMNS = ("title", "tags", "category", "language", "duration_s", "content_vector")


class ContentEncoder:
    """Encodes videos; deterministic, fixed size, needs numpy and ONNX Runtime only."""

    def __init__(self, text: TextEncoder, tags: TagVectors, platform: PlatformVectors) -> None:
        self.text, self.tags, self.platform = text, tags, platform
        sizes = {
            "title": text.size,
            "tags": tags.size,
            "category": CATEGORY_SIZE,
            "language": LANGUAGE_SIZE,
            "duration": DURATION_SIZE,
            "platform": platform.size,
        }
        ends = np.cumsum(list(sizes.values())).tolist()
        self.blocks: dict[str, slice] = {
            name: slice(end - size, end)
            for (name, size), end in zip(sizes.items(), ends, strict=True)
        }  # where each block stands in a row
        self.size: int = ends[-1]

    def encode(self, rows: Sequence[Mapping[str, object]]) -> Float32:
        """float32[n, size], rows of length 1, of videos as CatalogView.videos gives them; a missing field is zeros in its block."""
        out = np.zeros((len(rows), self.size), np.float32)
        if not rows:
            return out
        words = [[str(t) for t in cast("Sequence[object]", r.get("tags") or ())] for r in rows]
        vectors = [cast("Sequence[float] | None", r.get("content_vector")) for r in rows]
        filled = {
            "title": self.text.encode([str(r.get("title") or "") for r in rows]),
            "tags": unit_rows(self.tags.encode(self.tags.codes(words))),
            "category": np.stack(
                [_signs("category", r.get("category"), CATEGORY_SIZE) for r in rows]
            ),
            "language": np.stack(
                [_signs("language", r.get("language"), LANGUAGE_SIZE) for r in rows]
            ),
            "duration": np.stack([_duration(r.get("duration_s")) for r in rows]),
            "platform": self.platform.encode(vectors),
        }
        for name, values in filled.items():
            out[:, self.blocks[name]] = values * np.float32(math.sqrt(WEIGHTS[name]))
        return unit_rows(out)

    def encode_table(self, videos: pa.Table, *, batch_rows: int = 8_192) -> Float32:
        """float32[n, size] of a whole videos table (CatalogView.table()), in its order; missing columns count as null."""
        names = [name for name in COLUMNS if name in videos.column_names] or videos.column_names[:1]
        out = np.zeros((videos.num_rows, self.size), np.float32)
        for begin, rows in _batches(videos.select(names), batch_rows):
            out[begin : begin + len(rows)] = self.encode(rows)
        return out

    def save(self, folder: Path) -> None:
        """Writes text/, tags.npz, platform.npz and content.json."""
        folder.mkdir(parents=True, exist_ok=True)
        self.text.save(folder / "text")
        self.tags.save(folder / "tags.npz")
        buffer = io.BytesIO()
        np.savez(buffer, mean=self.platform.mean, directions=self.platform.directions)
        (folder / "platform.npz").write_bytes(buffer.getvalue())
        blocks = {name: [block.start, block.stop] for name, block in self.blocks.items()}
        (folder / "content.json").write_text(
            json.dumps({"size": self.size, "blocks": blocks}, indent=1) + "\n", "utf-8"
        )

    @classmethod
    def load(cls, folder: Path) -> ContentEncoder:
        """The inverse of save. Raises InvalidInput when the parts do not add up to the stored size."""
        with np.load(folder / "platform.npz", allow_pickle=False) as stored:
            platform = PlatformVectors(stored["mean"], stored["directions"])
        encoder = cls(
            load_text_encoder(folder / "text"), TagVectors.load(folder / "tags.npz"), platform
        )
        size = json.loads((folder / "content.json").read_text("utf-8"))["size"]
        if size != encoder.size:
            raise InvalidInput(
                f"{folder}/content.json: expected size {size}, got {encoder.size} from its parts"
            )
        return encoder


def fit_content(videos: pa.Table, text: TextEncoder, tags: TagVectors) -> ContentEncoder:
    """The encoder of a catalogue: `text` and `tags` as given, the platform's own vectors' projection learned from the table."""
    vectors: list[Sequence[float] | None] = []
    if "content_vector" in videos.column_names:
        column = videos["content_vector"]
        if column.null_count < len(column):
            vectors = column.to_pylist()
    return ContentEncoder(text, tags, fit_platform_vectors(vectors))


def _batches(videos: pa.Table, batch_rows: int) -> Iterator[tuple[int, list[dict[str, object]]]]:
    for begin in range(0, videos.num_rows, batch_rows):
        yield begin, videos.slice(begin, batch_rows).to_pylist()


@lru_cache(maxsize=65_536)
def _signs(kind: str, value: object, size: int) -> Float32:
    """float32[size] of length 1: signs drawn by the word; zeros for a missing word."""
    if not value:
        return np.zeros(size, np.float32)
    signs = rng_for("content", kind, str(value)).integers(0, 2, size) * 2 - 1
    return (signs / math.sqrt(size)).astype(np.float32)


def _duration(value: object) -> Float32:
    """float32[3] of length 1: a point on a half circle from 1 s to 4 h on a log scale; a third axis for unknown."""
    if not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        return np.array([0, 0, 1], np.float32)
    angle = math.pi * min(max(math.log(value) / math.log(14_400), 0.0), 1.0)
    return np.array([math.cos(angle), math.sin(angle), 0], np.float32)
