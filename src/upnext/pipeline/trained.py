"""A trained generator of a release as it serves: who embeds viewers, the videos' vectors and their index; and one that borrows those of another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from upnext.core.types import Bool, Float32, Int64, Query
from upnext.features.vector_table import VectorTable
from upnext.retrieval.beside import Named, beside
from upnext.retrieval.content_profile import ContentProfileGenerator
from upnext.retrieval.factorisation.factorisation_generator import FactorisationGenerator
from upnext.retrieval.factorisation.warp_generator import WarpGenerator
from upnext.retrieval.generator import Generator
from upnext.retrieval.interests.config import InterestsConfig
from upnext.retrieval.interests.generator import InterestsGenerator
from upnext.retrieval.inverted_index import InvertedIndex
from upnext.retrieval.material import VideoCodes
from upnext.retrieval.nearest import Embeds
from upnext.retrieval.off_policy.generator import OffPolicyGenerator
from upnext.retrieval.sequence.generator import SequenceGenerator
from upnext.retrieval.two_tower.user_tower import UserTower
from upnext.retrieval.variational.generator import VariationalGenerator


def generator_of(name: str, folder: Path) -> Generator:
    """The generator that a training job exported under this name."""
    match name:
        case "two_tower":
            return UserTower(folder)
        case "factorisation":
            return FactorisationGenerator(folder)
        case "warp":
            return WarpGenerator(folder)
        case "content_profile":
            return ContentProfileGenerator(folder)
        case "sequence":
            return SequenceGenerator(folder)
        case "off_policy":
            return OffPolicyGenerator(folder)
        case "variational":
            return VariationalGenerator(folder)
        case _:
            raise AssertionError(f"no generator {name!r}")


class Remembered:
    """Embeds each query once, however many stages ask, with the video being watched as its latest showing."""

    def __init__(self, generator: Embeds, videos: Named) -> None:
        self._generator, self._videos = generator, videos
        self._last: tuple[Query, Float32] | None = None

    def vectors(self, query: Query) -> Float32:
        """float32[q, d]."""
        last = self._last
        if last is not None and last[0] is query:
            return last[1]
        vectors = self._generator.vectors(beside(query, self._videos))
        self._last = (query, vectors)
        return vectors


@dataclass(frozen=True)
class Trained:
    """A generator with its videos. Tables and index grow with videos that came later."""

    generator: Generator
    vectors: VectorTable
    index: InvertedIndex

    @staticmethod
    def load(generator: Generator, folder: Path) -> Trained:
        """The generator that was read from a release's folder of its own, with item_vectors.npy and index/ there."""
        vectors = np.load(folder / "item_vectors.npy", mmap_mode="c")
        return Trained(generator, VectorTable(vectors), InvertedIndex.load(folder / "index"))

    def bring(
        self, item_id: Int64, content: Float32, codes: VideoCodes, is_new: Bool, is_active: Bool
    ) -> None:
        """Takes in videos that came or changed: new ones get vectors where the generator has some for them, active ones can be found."""
        ids, vectors = self.generator.bring(item_id[is_new], content[is_new], codes.where(is_new))
        self.vectors.put(ids, vectors)
        self.index.remove(item_id)
        has_vector = ~is_new | np.isin(item_id, ids)
        active = item_id[is_active & has_vector]
        rows = self.vectors.rows(active)
        known = rows.any(axis=1)  # a video of the release may have none either
        self.index.add(active[known], rows[known])


@dataclass(frozen=True)
class Borrowing:
    """What embeds viewers in the space of another generator, whose table and index it reads."""

    generator: Embeds
    vectors: VectorTable
    index: InvertedIndex

    @staticmethod
    def interests(config: InterestsConfig, vectors: VectorTable, index: InvertedIndex) -> Borrowing:
        """Several interests of each viewer among the videos of that table and index."""
        return Borrowing(InterestsGenerator(config, vectors), vectors, index)


@dataclass(frozen=True)
class Scorer:
    """What a generator says of any video, whoever proposed it."""

    embeds: Embeds
    vectors: VectorTable

    def scores(self, query: Query, item_id: Int64) -> Float32:
        """float32[n]: the largest inner product with a query vector; 0 without one, and for a video without a vector."""
        found = np.zeros(len(item_id), np.float32)
        for number, vector in enumerate(self.embeds.vectors(query)):  # few: one or three
            products = self.vectors.products(item_id, vector)
            found = products if number == 0 else np.maximum(found, products)
        return found
