"""A release's trained generators: their videos, what came later, and what the merge reads of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from upnext.core.types import Candidates, Float32, Int64, Query, Request, User
from upnext.features.counters import CounterTable
from upnext.features.vector_table import VectorTable
from upnext.pipeline.assemble import feature_scores, feature_sources
from upnext.pipeline.blend import COLUMNS, Blend
from upnext.pipeline.config import SurfaceConfig
from upnext.pipeline.mixing import Mixing
from upnext.pipeline.trained import Remembered, Scorer, Trained
from upnext.retrieval.inverted_index import InvertedIndex
from upnext.retrieval.material import VideoCodes

N, D = 6, 3
QUERY = Query(Request("r", "u", "home", 3, 1_000_000), User("u"))


class Two:
    """Two query vectors for everybody; a new video whose content is negative gets no vector."""

    embedding_size = D

    def __init__(self) -> None:
        self.asked = 0

    def vectors(self, query: Query) -> Float32:
        self.asked += 1
        return np.array([[1, 0, 0], [0, 1, 0]], np.float32)

    def bring(self, item_id: Int64, content: Float32, codes: VideoCodes) -> tuple[Int64, Float32]:
        assert len(codes) == len(item_id) == len(content)
        known = content[:, 0] > 0
        return item_id[known], np.repeat(content[known, :1], D, axis=1)


def trained(folder: Path) -> Trained:
    vectors = np.arange(N * D, dtype=np.float32).reshape(N, D)
    vectors[2] = 0  # in the catalogue, but the generator has nothing for it
    np.save(folder / "item_vectors.npy", vectors)
    some = np.flatnonzero(vectors.any(axis=1))
    InvertedIndex.build(vectors[some], some).save(folder / "index")
    return Trained.load(Two(), folder)


def codes(n: int) -> VideoCodes:
    return VideoCodes(
        np.zeros(n, np.int32), np.zeros(n, np.int64), np.zeros(n, np.int32),
        np.zeros(n, np.float32), np.zeros(n, bool), np.zeros(n, np.int64),
    )  # fmt: skip


def found_in(one: Trained) -> set[int]:
    ids, _ = one.index.search(np.ones((1, D), np.float32), 50)
    return set(ids[ids >= 0].tolist())


def test_later_videos_are_found_when_they_are_active_and_have_a_vector(tmp_path: Path) -> None:
    one = trained(tmp_path)
    ids = np.array([1, 2, 7, 8, 9])
    content = np.array([[5], [5], [0.5], [-1], [0.25]], np.float32)
    is_new = np.array([False, False, True, True, True])
    is_active = np.array([False, True, True, True, False])
    one.bring(ids, content, codes(5), is_new, is_active)
    assert found_in(one) == {0, 3, 4, 5, 7}
    assert one.vectors.rows(np.array([1, 7, 8]))[:, 0].tolist() == [3.0, 0.5, 0.0]


def test_a_video_that_comes_back_keeps_the_vector_that_was_trained(tmp_path: Path) -> None:
    one = trained(tmp_path)
    again = np.array([4])
    for is_active in (False, True):
        one.bring(
            again, np.ones((1, 1), np.float32), codes(1), np.array([False]), np.array([is_active])
        )
    assert 4 in found_in(one)
    assert one.vectors.rows(again).tolist() == [[12.0, 13.0, 14.0]]


class Unnamed:
    """No video has a name."""

    def item_id(self, video_id: str) -> int:
        return -1


def test_the_merge_reads_what_a_generator_says_of_every_candidate_and_embeds_once() -> None:
    generator = Two()
    embeds = Remembered(generator, Unnamed())
    table = VectorTable(np.array([[1, 4, 0], [3, 2, 9], [0, 0, 0]], np.float32))
    blend = Blend(
        CounterTable(), Mixing({"sequence": 2.0}), generators={"sequence": Scorer(embeds, table)}
    )
    assert blend.names == (*COLUMNS, "sequence")
    scored = blend.scored(QUERY, Candidates(np.array([0, 1, 2])), "home")
    assert scored.columns["sequence"].tolist() == [4.0, 3.0, 0.0]
    assert scored.columns["blend"] == pytest.approx([8.0, 6.0, 0.0])
    embeds.vectors(QUERY)
    assert generator.asked == 1
    cheap = blend.scored(QUERY, Candidates(np.array([0, 1])), "home", with_tower=False)
    assert cheap.columns["blend"].tolist() == [0.0, 0.0]


def test_a_source_switched_on_after_the_training_has_no_column_and_one_off_keeps_its_own() -> None:
    class Knows:
        item_names = ("log_x", "source:b", "has:b", "place:b", "source:a", "n_sources")

    surfaces = {"home": SurfaceConfig(sources={"c": 5, "a": 5}), "shorts": SurfaceConfig()}
    assert feature_sources(surfaces, Knows()) == ("b", "a")
    assert feature_sources(surfaces, None) == ("a", "c")


def test_several_interests_are_scored_only_where_they_were_learned_or_are_asked_for() -> None:
    class Knows:
        item_names = ("log_x", "source:b", "score:tower", "score:blend", "score:warp")

    ours = ("warp", "interests")
    off = {"home": SurfaceConfig(sources={"a": 5, "interests": 0})}
    asked = {"home": SurfaceConfig(sources={"interests": 5})}
    assert feature_scores(off, ours, None) == ("tower", "blend", "warp")
    assert feature_scores(asked, ours, None) == ("tower", "blend", "warp", "interests")
    assert feature_scores(asked, ours, Knows()) == ("tower", "blend", "warp")
