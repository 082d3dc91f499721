"""What a release holds for serving, loaded: encoders, towers, index, neighbours, blend and ranker.

content/     ContentEncoder          retrieval/   the two-tower export
static.npz   content in few columns  index/       InvertedIndex over item vectors
features.json  vocabulary            covisits/    item-to-item neighbours
blend/       weights of the merge    ranker/      the ranker's graph
generators/  by source: what else was trained, each with item_vectors.npy and index/
words/       titles and tags, where search_history is asked for      viewers/  a sample of viewers, where user_knn is
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from upnext.content.encoder import ContentEncoder
from upnext.content.reduction import Reduction
from upnext.core.types import Bool, Float32, Int64, Query
from upnext.features.context import Vocabulary
from upnext.features.vector_table import VectorTable
from upnext.pipeline.mixing import Mixing
from upnext.pipeline.trained import Trained, generator_of
from upnext.ranking.onnx_ranker import OnnxRanker
from upnext.retrieval.config import TRAINED
from upnext.retrieval.covisits import Neighbours
from upnext.retrieval.inverted_index import InvertedIndex
from upnext.retrieval.material import VideoCodes
from upnext.retrieval.two_tower.user_tower import UserTower
from upnext.retrieval.viewers import Viewers
from upnext.retrieval.word_index import WordIndex, texts_of


class OncePerQuery:
    """A viewer tower that embeds each query once, however many stages ask."""

    def __init__(self, tower: UserTower) -> None:
        self._tower = tower
        self._last: tuple[Query, Float32] | None = None

    def vector(self, query: Query) -> Float32:
        """float32[d], L2-normalised."""
        last = self._last
        if last is not None and last[0] is query:
            return last[1]
        vector: Float32 = self._tower.vectors(query)[0]
        self._last = (query, vector)
        return vector


@dataclass(frozen=True)
class ReleaseParts:
    """A release in memory. Tables grow with videos that came later."""

    content: ContentEncoder
    reduction: Reduction
    vocabulary: Vocabulary
    tower: UserTower
    vectors: VectorTable
    static: VectorTable
    index: InvertedIndex
    generators: Mapping[str, Trained]  # besides the two-tower network
    neighbours: Neighbours
    words: WordIndex | None
    viewers: Viewers | None
    mixing: Mixing
    ranker: OnnxRanker | None
    described: Bool  # [n_items] the videos that the release was made with knew something of
    change_seq: int  # the catalogue's, when the release was made

    @property
    def n_items(self) -> int:
        """Videos that the release was made with."""
        return len(self.described)

    @staticmethod
    def load(folder: Path, *, threads: int = 1) -> ReleaseParts:
        """The parts of a release's folder; without ranker/, `ranker` is None. `threads` share the ranking of one page."""
        retrieval = folder / "retrieval"
        vectors = np.load(retrieval / "item_vectors.npy", mmap_mode="c")
        meta = json.loads((folder / "features.json").read_text("utf-8"))
        has_ranker = (folder / "ranker" / "ranker.json").exists()
        return ReleaseParts(
            content=ContentEncoder.load(folder / "content"),
            reduction=Reduction.load(folder / "reduction.npz"),
            vocabulary=Vocabulary.from_json(meta["vocabulary"]),
            tower=UserTower(retrieval),
            vectors=VectorTable(vectors),
            static=VectorTable(np.load(folder / "static.npy", mmap_mode="c")),
            index=InvertedIndex.load(folder / "index"),
            generators=_generators(folder / "generators"),
            neighbours=Neighbours.load(folder / "covisits"),
            words=WordIndex.load(folder / "words") if (folder / "words").exists() else None,
            viewers=Viewers.load(folder / "viewers") if (folder / "viewers").exists() else None,
            mixing=Mixing.load(folder / "blend"),
            ranker=OnnxRanker.load(folder / "ranker", threads) if has_ranker else None,
            described=np.load(folder / "described.npy"),
            change_seq=int(meta["change_seq"]),
        )

    def bring(
        self,
        item_id: Int64,
        rows: list[dict[str, object]],
        codes: VideoCodes,
        is_active: Bool,
    ) -> None:
        """Takes in videos that came or changed later; a trained video keeps its vector, any other gets a place from what is known of it.

        rows: as CatalogView.videos gives them; is_active bool[m]: which may be retrieved."""
        content = self.content.encode(rows)
        self.static.put(item_id, self.reduction.apply(content))
        ids, vectors = self.tower.bring(item_id, content, codes)
        self.vectors.put(ids, vectors)
        has_place = ~self.tower.are_new(item_id) | np.isin(item_id, ids)
        self.index.remove(item_id)
        active = item_id[is_active & has_place]
        self.index.add(active, self.vectors.rows(active))
        new = item_id >= self.n_items
        new[~new] = ~self.described[item_id[~new]]
        if self.words is not None:
            self.words.bring(item_id, texts_of(rows))
        for trained in self.generators.values():
            trained.bring(item_id, content, codes, new, is_active)


def _generators(folder: Path) -> dict[str, Trained]:
    """{source: its trained generator} of those that the release holds."""
    return {
        name: Trained.load(generator_of(name, folder / name), folder / name)
        for name in TRAINED
        if (folder / name).exists()
    }


def write_catalog_marks(folder: Path, described: Bool, change_seq: int, words: Vocabulary) -> None:
    """Writes features.json and described.npy: what of the catalogue a release was made with."""
    np.save(folder / "described.npy", described)
    meta = {"vocabulary": words.to_json(), "change_seq": change_seq}
    (folder / "features.json").write_text(json.dumps(meta, indent=1), "utf-8")
