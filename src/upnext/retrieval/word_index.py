"""Which videos speak of a word: an inverted index of titles and tags for `search_history`.

Texts become the same tokens as searches (features/search_tokens.py: words and pairs of neighbours, hashed). A token counts in a video as
BM25 has it (Robertson and Zaragoza 2009): idf tf (k1 + 1) / (tf + k1 (1 - b + b length / mean length)), idf = ln(1 + (n - df + 0.5) /
(df + 0.5)). Of each token only the best few hundred videos are kept (champion lists), the newest of equal ones; tokens that a tenth of
a large catalogue has say nothing and have none. A release's lists are memory-mapped; videos that came or changed later stand in lists of this
process.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from upnext.core.types import Array, Bool, Float32, Float64, Int64
from upnext.features.search_tokens import tokens_of
from upnext.retrieval.config import SearchHistoryConfig


class Words(NamedTuple):
    """w tokens with p videos in all, as a release has them."""

    token: Int64  # [w] ascending
    idf: Float32  # [w]; 0: too common
    start: Int64  # [w + 1] places of each token's videos
    item_id: Array  # int32[p] best first
    weight: Float32  # [p] idf times what BM25 gives the token there


@dataclass(frozen=True)
class Scale:
    """What BM25 needs of the videos as a whole, and its constants."""

    n_videos: int
    mean_length: float
    saturation: float
    length_norm: float

    def idf(self, n_having: Array) -> Float64:
        """float64 of how many videos have a token."""
        rest = np.maximum(self.n_videos - n_having, 0)
        return np.asarray(np.log1p((rest + 0.5) / (n_having + 0.5)), np.float64)

    def part(self, n_times: Array, length: Array) -> Float64:
        """float64: what a token weighs in a text, without its idf."""
        long = 1 - self.length_norm + self.length_norm * length / max(self.mean_length, 1e-9)
        return np.asarray(n_times * (self.saturation + 1) / (n_times + self.saturation * long))


class WordIndex:
    """A release's words, and those of videos that came later. One thread brings, others look up."""

    def __init__(self, words: Words, scale: Scale, n_items: int, per_token: int) -> None:
        """Use build or load. n_items: the videos that the release was made with."""
        self.words = words
        self.is_replaced: Bool = np.zeros(n_items, np.bool_)  # [n_items] have other words now
        self.n_later = 0
        self._scale, self._per_token = scale, per_token
        self._later: dict[int, tuple[array[int], array[float]]] = {}  # token -> ids and weights
        self._tokens_of: dict[int, tuple[int, ...]] = {}  # of videos that came later

    @staticmethod
    def build(
        texts: Iterable[Sequence[str]], config: SearchHistoryConfig | None = None
    ) -> WordIndex:
        """The index of all videos in the order of item_id, each as its title and tags."""
        config = config or SearchHistoryConfig()
        tokens, lengths = array("q"), array("q")
        for parts in texts:
            found = _tokens(parts)
            tokens.extend(found)
            lengths.append(len(found))
        token, length = np.array(tokens, np.int64), np.array(lengths, np.int64)
        item = np.repeat(np.arange(len(length)), length)
        token, item, n_times = _counted(token, item)
        has_text = max(1, int((length > 0).sum()))
        scale = Scale(
            has_text, float(length.sum()) / has_text, config.saturation, config.length_norm
        )
        part = scale.part(n_times, length[item])
        order = np.lexsort((-item, -part, token))  # per token the best first, the newest of equals
        token, item, part = token[order], item[order], part[order]
        kinds, first, n_having = np.unique(token, return_index=True, return_counts=True)
        too_many = max(config.most_common * has_text, config.per_token)
        idf = np.where(n_having > too_many, 0.0, scale.idf(n_having))
        kind = np.repeat(np.arange(len(kinds)), n_having)
        back = np.arange(len(token)) - first[kind]
        kept = (back < config.per_token) & (idf[kind] > 0)
        start = np.searchsorted(kind[kept], np.arange(len(kinds) + 1)).astype(np.int64)
        words = Words(
            kinds, idf.astype(np.float32), start, item[kept].astype(np.int32),
            (part * idf[kind])[kept].astype(np.float32),
        )  # fmt: skip
        return WordIndex(words, scale, len(length), config.per_token)

    def save(self, folder: Path) -> None:
        """Writes one npy for each array and words.json, without what came later."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, column in self.words._asdict().items():
            np.save(folder / f"{name}.npy", column)
        meta = {
            **vars(self._scale), "n_items": len(self.is_replaced), "per_token": self._per_token,
        }  # fmt: skip
        (folder / "words.json").write_text(json.dumps(meta, indent=1), "utf-8")

    @staticmethod
    def load(folder: Path) -> WordIndex:
        """The index saved there, memory-mapped."""
        meta = json.loads((folder / "words.json").read_text("utf-8"))
        maps = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in Words._fields)
        words = Words(*(np.asarray(one) for one in maps))  # plain views index faster
        n_items, per_token = meta.pop("n_items"), meta.pop("per_token")
        return WordIndex(words, Scale(**meta), n_items, per_token)

    def bring(self, item_id: Int64, texts: Sequence[Sequence[str]]) -> None:
        """Takes in videos that came or changed later, each as its title and tags."""
        for item, parts in zip(item_id.tolist(), texts, strict=True):
            self._forget(item)
            tokens = _tokens(parts)
            for token, n_times in Counter(tokens).items():
                weight = self._idf_of(token) * float(
                    self._scale.part(np.array(n_times), np.array(len(tokens)))
                )
                if weight > 0:
                    ids, weights = self._later.setdefault(token, (array("q"), array("f")))
                    weights.append(weight)  # before its id: a reader cuts to the shorter
                    ids.append(item)
            self._tokens_of[item] = tuple(set(tokens))
        self.n_later = len(self._tokens_of)

    def _forget(self, item: int) -> None:
        """An earlier text of the video no longer counts."""
        if item < len(self.is_replaced):
            self.is_replaced[item] = True
        for token in self._tokens_of.pop(item, ()):
            known = self._later.get(token)
            if known is not None and item in known[0]:
                ids, weights = array("q", known[0]), array("f", known[1])
                place = ids.index(item)
                del ids[place], weights[place]
                self._later[token] = ids, weights  # readers see the old pair or the whole new one

    def _idf_of(self, token: int) -> float:
        place = int(np.searchsorted(self.words.token, token))
        if place < len(self.words.token) and self.words.token[place] == token:
            return float(self.words.idf[place])
        return float(self._scale.idf(np.array(1)))

    def places(self, tokens: Int64) -> Int64:
        """int64[t]: where the tokens stand in `words`; -1 for one that the release does not know."""
        known = self.words.token
        if not len(known):
            return np.full(len(tokens), -1, np.int64)
        place = np.minimum(known.searchsorted(tokens), len(known) - 1)
        return np.where(known[place] == tokens, place, -1)

    def later(self, tokens: Int64) -> tuple[Int64, Int64, Float32]:
        """(row in tokens int64[m], item_id int64[m], weight float32[m]) of videos that came later, the newest of each token."""
        rows: list[Array] = []
        ids: list[Array] = []
        weights: list[Array] = []
        for row, token in enumerate(tokens.tolist() if self.n_later else ()):
            known = self._later.get(token)
            if known is not None:
                n = len(known[0])
                first = max(0, n - self._per_token)
                ids.append(np.array(known[0][first:n], np.int64))
                weights.append(np.array(known[1][first:n], np.float32))
                rows.append(np.full(n - first, row, np.int64))
        if not rows:
            nothing = np.zeros(0, np.int64)
            return nothing, nothing, np.zeros(0, np.float32)
        return np.concatenate(rows), np.concatenate(ids), np.concatenate(weights)


def texts_of(videos: Sequence[Mapping[str, object]]) -> list[list[str]]:
    """Title and tags of videos as CatalogView.videos gives them."""
    return [_text(video.get("title"), video.get("tags")) for video in videos]


def texts_of_columns(
    titles: Sequence[str | None], tags: Sequence[Sequence[str] | None]
) -> list[list[str]]:
    """The same of whole columns."""
    return [_text(title, some) for title, some in zip(titles, tags, strict=True)]


def _text(title: object, tags: object) -> list[str]:
    words = [title] if isinstance(title, str) else []
    return (
        words + [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else words
    )


def _tokens(parts: Sequence[str]) -> list[int]:
    return [token for part in parts for token in tokens_of(part)]


def _counted(token: Int64, item: Int64) -> tuple[Int64, Int64, Int64]:
    """(tokens, videos, how often) of each different pair."""
    order = np.lexsort((item, token))
    token, item = token[order], item[order]
    is_new = np.ones(len(token), bool)
    is_new[1:] = (token[1:] != token[:-1]) | (item[1:] != item[:-1])
    first = np.flatnonzero(is_new)
    return token[first], item[first], np.diff(np.append(first, len(token)))
