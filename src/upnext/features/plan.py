"""All features of a request as two dense arrays, laid out once per release: the same code serves and replays.

The user side is one row (context, summary of the past, optionally the viewer's vector); the item side has one row per candidate.
Blocks write their columns straight into the rows of one array, each in a few compiled loops over the candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final

import numpy as np

from upnext.core.types import Candidates, Features, Float32, Query
from upnext.features.affinity import AffinityBlock
from upnext.features.catalog_block import CatalogBlock
from upnext.features.context import ContextEncoder, Moment, Vocabulary
from upnext.features.counter_block import CounterBlock
from upnext.features.counters import CounterTable
from upnext.features.reading import Block, ItemColumns, Reading
from upnext.features.score_block import ScoreBlock
from upnext.features.source_block import SourceBlock
from upnext.features.user_summary import SUMMARY_NAMES, fill_summary
from upnext.features.vector_block import VectorBlock
from upnext.features.vector_table import VectorTable

UserVector = Callable[[Query], Float32]  # -> float32[d]
NO_VOCABULARY: Final = Vocabulary()


class FeaturePlan:
    """A FeatureReader. Reads `counters` and the catalogue's view as they stand when it is asked."""

    def __init__(
        self,
        view: ItemColumns,
        counters: CounterTable,
        item_static: Float32 | VectorTable | None = None,
        *,
        vocabulary: Vocabulary = NO_VOCABULARY,
        sources: Sequence[str] = (),
        scores: Sequence[str] = (),
        static_names: Sequence[str] | None = None,
        user_vector: UserVector | None = None,
        user_vector_size: int = 0,
    ) -> None:
        """`item_static` float32[m, s]: a block of columns by item_id; `user_vector(query)` float32[user_vector_size].

        `scores`: candidate columns that every candidate has, taken as they are."""
        self._view = view
        self._context = ContextEncoder(vocabulary)
        self._user_vector = user_vector
        self._user_vector_size = user_vector_size
        blocks: list[Block] = [CatalogBlock(view), AffinityBlock(view), CounterBlock(counters)]
        if sources:
            blocks.append(SourceBlock(sources))
        if scores:
            blocks.append(ScoreBlock(scores))
        if item_static is not None:
            blocks.append(VectorBlock(item_static, static_names))
        sizes = [len(block.names) for block in blocks]
        self._blocks = list(zip(blocks, accumulate(sizes, initial=0)))  # each with its first column
        self.item_names: tuple[str, ...] = tuple(name for block in blocks for name in block.names)
        self.user_names: tuple[str, ...] = (
            *self._context.names,
            *SUMMARY_NAMES,
            *(f"user_vector_{i}" for i in range(user_vector_size)),
        )

    def read(
        self, query: Query, candidates: Candidates, *, user_vector: Float32 | None = None
    ) -> Features:
        """The features of n candidates; `user_vector` float32[d] in place of asking the plan's own callable."""
        reading = Reading.of(query, candidates, self._view)
        items = np.zeros((len(candidates), len(self.item_names)), np.float32)
        if len(candidates):
            for block, at in self._blocks:
                block.fill(items, at, reading)
        return Features(
            self._user_row(reading, user_vector), items, self.user_names, self.item_names
        )

    def _user_row(self, reading: Reading, user_vector: Float32 | None) -> Float32:
        query = reading.query
        row = np.zeros(len(self.user_names), np.float32)
        start = self._context.size
        self._context.fill(row[:start], Moment.of(query.request, query.user.profile))
        fill_summary(row[start : start + len(SUMMARY_NAMES)], reading, self._view)
        if self._user_vector_size:
            if user_vector is None and self._user_vector is not None:
                user_vector = self._user_vector(query)
            if user_vector is not None:
                row[-self._user_vector_size :] = user_vector
        return row
