"""The two-tower network as it serves: a viewer's vector per request, a new video's vectors from its content. No torch.

The item table is memory-mapped copy-on-write: all workers share the release's pages, and a video that came later, or whose content
changed, gets its own row in this process.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.errors import expected
from upnext.core.types import Bool, Float32, Int64, Query, UInt16
from upnext.features.context import ContextEncoder, Moment, Vocabulary
from upnext.retrieval.graph_session import graph_session
from upnext.retrieval.material import VideoCodes
from upnext.retrieval.two_tower.config import TwoTowerConfig
from upnext.retrieval.two_tower.new_videos import Known, NewVideos
from upnext.retrieval.two_tower.user_inputs import groups_of, mean_of, serving_row, token_rows


class UserTower:
    """A Generator: embeds viewers as they are now, and videos that the release was not trained on."""

    def __init__(self, folder: Path) -> None:
        """folder: what TwoTowerLearner.export wrote."""
        meta = json.loads((folder / "retrieval.json").read_text())
        self.config = TwoTowerConfig.model_validate(meta["config"])
        self.n_content = int(meta["n_content"])
        self._context = ContextEncoder(Vocabulary.from_json(meta["vocabulary"]))
        groups = groups_of(self.config)
        self._group_flags = np.array([group.flags for group in groups], np.uint16)
        self._group_sizes = np.array([group.n_last for group in groups], np.int64)
        self._base = np.asarray(np.load(folder / "item_inputs.npy", mmap_mode="c"))
        self._n_base = len(self._base)
        self._later = np.zeros((0, self._base.shape[1]), np.float32)  # ids from n_base on
        self._has_later = np.zeros(0, bool)
        self._tokens = np.asarray(np.load(folder / "token_vectors.npy", mmap_mode="r"))
        self._user = graph_session(folder / "user_tower.onnx")
        self._item = graph_session(folder / "item_tower.onnx")
        self._new = NewVideos(Known.load(folder / "new_videos.npz"))

    @property
    def embedding_size(self) -> int:
        """The size of the vectors that are compared."""
        return self.config.embedding_size

    def vectors(self, query: Query) -> Float32:
        """float32[1, d], L2-normalised: the viewer of a query."""
        found: Float32 = self._user.run(None, {"user": self.row(query)})[0]
        return found

    def row(self, query: Query) -> Float32:
        """float32[1, f]: what the user tower reads of a query."""
        history = query.user.history
        pooled, counts = pooled_groups(
            history.item_id, history.flags, max(0, len(history) - self.config.history_rows),
            self._group_flags, self._group_sizes, self._base, self._later, self._has_later,
        )  # fmt: skip
        tokens = token_rows(query.user.searches, self.config.search_buckets, self.config.n_searches)
        moment = Moment.of(query.request, query.user.profile)
        context = self._context.encode([moment])[0]
        searched = mean_of(self._tokens, tokens)
        return serving_row(pooled, counts, searched, len(tokens), context)

    def bring(self, item_id: Int64, content: Float32, codes: VideoCodes) -> tuple[Int64, Float32]:
        """(ids int64[m], vectors float32[m, d]) of those of the videos that the release was not trained on and that have a place.

        content float32[n, c] and codes are aligned with item_id int64[n]; histories that hold the new ones know them from now on.
        Raises InvalidInput when the content has another size than the one trained with."""
        if content.shape != (len(item_id), self.n_content):
            raise expected("content", f"float32[{len(item_id)}, {self.n_content}]", content.shape)
        is_new = self._new.are_new(item_id)
        ids, rows = item_id[is_new], np.ascontiguousarray(content[is_new], np.float32)
        if not len(ids):
            return ids, np.zeros((0, self.embedding_size), np.float32)
        inputs = np.zeros((len(ids), self._base.shape[1]), np.float32)
        if self.config.video_parts != "id":  # its content network was never trained
            inputs = self._item.run(None, {"content": rows})[0]
        self._put(ids, inputs)
        has_place, vectors = self._new.placed(ids, inputs, codes.creator[is_new])
        return ids[has_place], vectors[has_place]

    def are_new(self, item_id: Int64) -> Bool:
        """bool[m]: the release was not trained on these videos."""
        return self._new.are_new(item_id)

    def meet(
        self, item_id: Int64, viewers: Float32, n_viewers: Int64, codes: VideoCodes
    ) -> tuple[Int64, Float32]:
        """(ids int64[m], vectors float32[m, d]): new videos moved by their first viewers.

        viewers float32[m, d]: their mean vector; n_viewers int64[m]: how many found it relevant in all; codes aligned with
        item_id int64[m], all of them new."""
        self._new.meet(item_id, viewers, n_viewers)
        inputs = np.zeros((len(item_id), self._base.shape[1]), np.float32)
        is_old = item_id < self._n_base
        inputs[is_old] = self._base[item_id[is_old]]
        later = np.flatnonzero(~is_old)
        later = later[item_id[later] - self._n_base < len(self._later)]
        inputs[later] = self._later[item_id[later] - self._n_base]
        has_place, vectors = self._new.placed(item_id, inputs, codes.creator)
        return item_id[has_place], vectors[has_place]

    def _put(self, item_id: Int64, inputs: Float32) -> None:
        """Sets the input vectors of ids int64[m], old or new, for histories that hold them."""
        is_old = item_id < self._n_base
        self._base[item_id[is_old]] = inputs[is_old]
        later = item_id[~is_old] - self._n_base
        if not len(later):
            return
        missing = int(later.max()) + 1 - len(self._later)
        if missing > 0:
            grown = max(missing, len(self._later))  # doubles: many small additions stay cheap
            self._later = np.pad(self._later, ((0, grown), (0, 0)))
            self._has_later = np.pad(self._has_later, (0, grown))
        self._later[later] = inputs[~is_old]
        self._has_later[later] = True


@compiled
def pooled_groups(
    item_id: Int64, flags: UInt16, oldest: int, group_flags: UInt16, group_sizes: Int64,
    base: Float32, later: Float32, has_later: Bool,
) -> tuple[Float32, Float32]:  # fmt: skip
    """(means float32[g, d_in], counts float32[g]) of each group's latest members among rows `oldest` and later of a history.

    A group's members have one of its flags (0: any row). A video without a vector counts, but is not in the mean; no vectors: zeros."""
    means = np.zeros((len(group_sizes), base.shape[1]), np.float32)
    counts = np.zeros(len(group_sizes), np.float32)
    n_base, n_later = len(base), min(len(later), len(has_later))  # the two grow one after the other
    for g in range(len(group_sizes)):
        n_known = 0
        for row in range(_first_member(flags, oldest, group_flags[g], group_sizes[g]), len(flags)):
            if group_flags[g] != 0 and flags[row] & group_flags[g] == 0:
                continue
            counts[g] += 1
            place = item_id[row] - n_base
            if place < 0:
                _add(means[g], base[item_id[row]])
                n_known += 1
            elif place < n_later and has_later[place]:
                _add(means[g], later[place])
                n_known += 1
        if n_known:
            means[g] /= np.float32(n_known)
    return means, counts


@compiled
def _add(total: Float32, vector: Float32) -> None:
    for d in range(len(total)):
        total[d] += vector[d]


@compiled
def _first_member(flags: UInt16, oldest: int, group_flags: int, size: int) -> int:
    """The row from which on a history has `size` members of a group, else `oldest`."""
    n_members = 0
    for row in range(len(flags) - 1, oldest - 1, -1):
        if group_flags == 0 or flags[row] & group_flags != 0:
            n_members += 1
            if n_members == size:
                return row
    return oldest
