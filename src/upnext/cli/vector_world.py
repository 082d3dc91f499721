"""Made-up vectors for `upnext bench retrieval`: videos stand around topics, topics around languages, as learned embeddings do.

A video's language is drawn with the shares below; its topic among those of its language (one per 500 videos) by Zipf's law with exponent .8; its vector is
.7 * language + topic + .6 * noise, three standard normal vectors, scaled to length one. A viewer is near one video or between three of
them. Each block of videos has a generator of its own, so a world does not depend on how it is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from upnext.core.protocols import Progress
from upnext.core.randomness import rng_for
from upnext.core.types import Array, Bool, Float32, Int64

LANGUAGE_SHARES: Final = (0.5, 0.2, 0.1, 0.08, 0.06, 0.039, 0.02, 0.001)
VIDEOS_PER_TOPIC: Final = 500
_LANGUAGE, _NOISE, _ZIPF = 0.7, 0.6, 0.8
_BLOCK: Final = 100_000


@dataclass(frozen=True, slots=True)
class VectorWorld:
    """n videos."""

    vectors: Array  # float32[n, d], memory-mapped
    language: Array  # int8[n]: place in LANGUAGE_SHARES
    seed: int

    def viewers(self, n: int) -> Float32:
        """float32[n, d], length one: the first half near a video each, the others between three."""
        rng = rng_for("vector-viewers", self.seed)
        chosen: Float32 = self.vectors[rng.choice(len(self.vectors), (n, 3))]
        noise = 0.3 * rng.standard_normal((n, chosen.shape[2]), dtype=np.float32)
        near = chosen[:, 0] + noise / np.float32(np.sqrt(chosen.shape[2]))
        queries = np.where(np.arange(n)[:, None] < n // 2, near, chosen.sum(axis=1))
        return _unit(queries)

    def random_filter(self, share: float) -> Bool:
        """bool[n]: each video allowed with this chance."""
        return rng_for("vector-filter", self.seed).random(len(self.vectors), np.float32) < share

    def in_language(self, share: float) -> Bool:
        """bool[n]: videos of the language with this share."""
        return np.asarray(self.language == LANGUAGE_SHARES.index(share))


def open_world(folder: Path, n: int, size: int, seed: int, progress: Progress) -> VectorWorld:
    """The world in a folder, made there if it isn't."""
    vectors, language = folder / "world.npy", folder / "language.npy"
    if not language.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _make(vectors, language, (n, size), seed, progress)
    return VectorWorld(np.load(vectors, mmap_mode="r"), np.load(language), seed)


def _make(
    vectors: Path, language: Path, shape: tuple[int, int], seed: int, progress: Progress
) -> None:
    n, size = shape
    rng = rng_for("vector-world", seed)
    share = np.array(LANGUAGE_SHARES)
    n_topics = np.maximum(1, (share * n / VIDEOS_PER_TOPIC).astype(np.int64))
    first = np.concatenate([[0], np.cumsum(n_topics)])
    centres = rng.standard_normal((len(share), size), dtype=np.float32) * np.float32(_LANGUAGE)
    topics = np.repeat(centres, n_topics, axis=0)
    topics += rng.standard_normal(topics.shape, dtype=np.float32)
    chances = [np.cumsum(1 / np.arange(1, m + 1) ** _ZIPF) for m in n_topics]
    written = np.lib.format.open_memmap(vectors, "w+", np.float32, shape)
    languages = np.empty(n, np.int8)
    progress.start("made-up vectors", n, "videos")
    for start in range(0, n, _BLOCK):
        rng = rng_for("vector-world", seed, start)
        m = min(_BLOCK, n - start)
        own = rng.choice(len(share), m, p=share).astype(np.int8)
        topic = first[own] + _drawn(chances, own, rng)
        block = topics[topic] + np.float32(_NOISE) * rng.standard_normal((m, size), np.float32)
        written[start : start + m] = _unit(block)
        languages[start : start + m] = own
        progress.advance(m)
    progress.done()
    written.flush()
    np.save(language, languages)


def _drawn(chances: list[Array], language: Array, rng: np.random.Generator) -> Int64:
    """int64[m]: a topic's place within its language."""
    drawn = rng.random(len(language))
    place = np.zeros(len(language), np.int64)
    for one, chance in enumerate(chances):
        mine = language == one
        place[mine] = np.searchsorted(chance, drawn[mine] * chance[-1], side="right")
    return place


def _unit(vectors: Float32) -> Float32:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
