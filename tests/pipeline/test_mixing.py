"""One merge, surfaces with weights of their own: learned, kept, served and replayed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pipeline_world import (
    NOW_US,
    Hydrated,
    Says,
    assembled,
    request,
    view_of,
    viewer,
    with_sources,
)

from upnext.core.errors import InvalidInput
from upnext.core.types import Candidates
from upnext.features.counters import CounterTable
from upnext.filters.config import FiltersConfig
from upnext.learn.blend import LEAST_REQUESTS, RIDGE, TOWARDS_ALL, fit_mixing, set_blend
from upnext.pipeline.assemble import Parts, assemble
from upnext.pipeline.blend import COLUMNS, Blend, best_blended
from upnext.pipeline.config import PipelineConfig, SurfaceConfig
from upnext.pipeline.mixing import Mixing
from upnext.pipeline.recommend import Pipeline
from upnext.pipeline.rows import GatheredRows
from upnext.ranking.rows import RankerRows
from upnext.retrieval.config import RetrievalConfig

K = 8  # candidates of a request


def chosen(
    planted: list[tuple[int, float, float]], seed: int = 5
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """(rows, surface) of requests: of each surface so many, whose choices weigh two columns like that."""
    rng = np.random.default_rng(seed)
    n = [count for count, *_ in planted]
    surface = np.repeat(np.arange(len(n)), n)
    weight = np.array([weights for _, *weights in planted])[surface]
    rows = rng.normal(0, 1, (sum(n), K, 2))
    score = (rows * weight[:, None]).sum(2) + rng.gumbel(size=(sum(n), K))
    label = (score == score.max(axis=1, keepdims=True)).astype(np.float32)
    request = np.repeat(np.arange(sum(n)), K)
    flat = rows.reshape(-1, 2).astype(np.float32), label.ravel(), request
    return flat, np.repeat(surface, K)


def test_two_surfaces_that_want_opposite_weights_both_get_them() -> None:
    rows, surface = chosen([(2_000, 1.0, 0.3), (2_000, -1.0, 0.3)])
    mixing = fit_mixing(rows, surface, ("a", "b"), ("home", "shorts"))
    assert mixing.n_requests == {"home": 2_000, "shorts": 2_000}
    # all requests together, the naive merge, know nothing of the first column
    assert mixing.weights["a"] == pytest.approx(0, abs=0.06)
    # the standard error is about .03; the ridge takes TOWARDS_ALL / (2,000 * information of .4) of the way
    assert mixing.of("home")["a"] == pytest.approx(1.0, abs=0.15)
    assert mixing.of("shorts")["a"] == pytest.approx(-1.0, abs=0.15)
    for name in ("home", "shorts"):
        assert mixing.of(name)["b"] == pytest.approx(0.3, abs=0.1)


def test_a_surface_with_few_requests_has_nearly_the_weights_of_all_and_a_tiny_one_has_those() -> (
    None
):
    n_few = LEAST_REQUESTS + 20
    tiny = LEAST_REQUESTS - 1
    rows, surface = chosen([(5_000, 1.0, 0.3), (n_few, 0.2, 0.3), (tiny, -3.0, 0.3)])
    mixing = fit_mixing(rows, surface, ("a", "b"), ("home", "shorts", "upnext"))
    assert set(mixing.surfaces) == {"home", "shorts"}
    assert mixing.of("upnext") == mixing.weights
    common, few = mixing.weights["a"], mixing.of("shorts")["a"]
    alone = fit_mixing(rows_of(rows, surface == 1), np.zeros(n_few * K, int), ("a", "b"), ("s",))
    own = alone.weights["a"]
    assert own < few < common
    # one Newton step from the common weights: information / (information + TOWARDS_ALL) of the way, with
    # .3 to .7 of information a request of eight candidates and unit variance
    way = (common - few) / (common - own)
    assert n_few * 0.3 / (n_few * 0.3 + TOWARDS_ALL) < way < n_few / (n_few + TOWARDS_ALL)


def rows_of(
    rows: tuple[np.ndarray, np.ndarray, np.ndarray], mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of whole requests."""
    x, label, request = (column[mask] for column in rows)
    return x, label, np.unique(request, return_inverse=True)[1]


def test_requests_that_say_nothing_do_not_count_towards_weights_of_ones_own() -> None:
    rows, surface = chosen([(500, 1.0, 0.0), (500, -1.0, 0.0)])
    label = rows[1].copy()
    label[surface == 1] = 0
    mixing = fit_mixing((rows[0], label, rows[2]), surface, ("a", "b"), ("home", "shorts"))
    assert mixing.n_requests == {"home": 500, "shorts": 0}
    assert set(mixing.surfaces) == {"home"}


def test_weights_are_kept_by_surface_and_an_older_release_has_one_set_for_all(
    tmp_path: Path,
) -> None:
    mixing = Mixing({"tower": 1.5}, {"shorts": {"tower": -2.0}}, {"home": 5, "shorts": 700})
    mixing.save(tmp_path)
    found = Mixing.load(tmp_path)
    assert found == mixing
    assert (found.of("shorts"), found.of("home")) == ({"tower": -2.0}, {"tower": 1.5})
    path = tmp_path / "blend.json"
    path.write_text(json.dumps({"tower": 4.0, "rate_7d": 1}), "utf-8")
    assert Mixing.load(tmp_path) == Mixing({"tower": 4.0, "rate_7d": 1.0})
    for said in ({"format": 3, "weights": {}}, [1.0]):
        path.write_text(json.dumps(said), "utf-8")
        with pytest.raises(InvalidInput, match=r"blend\.json: expected format 2"):
            Mixing.load(tmp_path)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """home and shorts over two sources; similar viewers count on home and against on shorts. The log calls shorts "tab2"."""
    asked = {"user_knn": 100, "item_to_item": 100}
    made = assembled(view_of(tmp_path_factory.mktemp("catalog")), Hydrated(viewer()), asked)
    home = with_sources(
        made.pipeline, Says("user_knn", range(1, 21)), Says("item_to_item", range(11, 41))
    ).surfaces["home"]
    shorts = replace(home, name="shorts")
    mixing = Mixing({"user_knn": 1.0}, {"shorts": {"user_knn": -1.0}})
    return replace(
        made.pipeline, surfaces={"home": home, "shorts": shorts}, surface_map={"tab2": "shorts"},
        blend=Blend(CounterTable(), mixing),
    )  # fmt: skip


def test_a_page_and_its_replay_are_merged_by_the_weights_of_their_surface(
    pipeline: Pipeline,
) -> None:
    scores = {}
    for served, logged in (("home", "tab1"), ("shorts", "tab2")):
        answer = pipeline.recommend(request(surface=served))
        query = replace(answer.query, request=request(surface=logged))
        replayed = pipeline.retrieved(query)
        scores[served] = dict(zip(replayed.item_id.tolist(), replayed.columns["blend"].tolist()))
        kept = answer.scored.candidates
        page = dict(zip(kept.item_id.tolist(), kept.columns["blend"].tolist()))
        assert page == {i: scores[served][i] for i in page}
        best = best_blended(replayed, pipeline.surfaces[served].config.n_ranked)
        assert kept.item_id.tolist() == best.item_id.tolist()
    assert scores["home"][1] == scores["shorts"][1] == 0.0  # the first place: -0
    assert scores["home"][9] == -8.0
    assert scores["shorts"] == {i: -score for i, score in scores["home"].items()}


def test_an_arm_of_an_experiment_is_merged_by_the_weights_of_its_surface(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    own = SurfaceConfig(sources={"popular": 40})
    parts = Parts(
        view=view_of(tmp_path_factory.mktemp("arms")), counters=CounterTable(), hydrator=Hydrated(viewer()),
        surfaces={"home": own, "shorts": own}, pipeline=PipelineConfig(), filters=FiltersConfig(),
        retrieval=RetrievalConfig(),
    )  # fmt: skip
    made = assemble(parts, None)
    arm = made.surface("shorts", own.model_copy(update={"size": 3}), parts)
    mixing = Mixing({"rate_7d": 1.0}, {"shorts": {"rate_7d": -1.0}})
    blend = Blend(parts.counters, mixing)
    base = replace(made.pipeline, blend=blend)
    varied = replace(base, surfaces={**base.surfaces, "shorts": arm})
    asked = {name: request(surface=name) for name in ("home", "shorts")}
    for pipeline, name, sign in ((base, "home", 1), (base, "shorts", -1), (varied, "shorts", -1)):
        found = pipeline.recommend(asked[name]).scored.candidates.columns["blend"]
        assert len(found)
        assert (np.sign(found) == sign).all()  # the rate of no showings is above 0


def test_every_candidate_keeps_each_source_and_its_score_through_union_and_merge(
    pipeline: Pipeline,
) -> None:
    scored = pipeline.recommend(request(surface="shorts", size=5)).scored
    candidates, features = scored.candidates, scored.features
    assert candidates.sources() == ("user_knn", "item_to_item")
    knn, near = (candidates.columns[f"source:{name}"] for name in candidates.sources())
    for i, item in enumerate(candidates.item_id.tolist()):
        said = (
            -float(item - 1) if item <= 20 else np.nan,
            -float(item - 11) if item >= 11 else np.nan,
        )
        np.testing.assert_equal((float(knn[i]), float(near[i])), said)
    both = (candidates.item_id >= 11) & (candidates.item_id <= 20)
    assert both.sum() >= 8
    for name, score in (("user_knn", knn), ("item_to_item", near)):  # what the ranker reads
        np.testing.assert_array_equal(features.column(f"has:{name}"), np.isfinite(score))
        np.testing.assert_array_equal(features.column(f"source:{name}"), np.nan_to_num(score))
    np.testing.assert_array_equal(features.column("score:blend"), candidates.columns["blend"])


def test_rows_read_before_the_weights_were_known_get_the_score_of_their_own_surface() -> None:
    names = ("tower", "user_knn")
    blend = np.array([[1, 2], [1, 2], [3, 1]], np.float32)
    user, items = np.zeros((3, 1), np.float32), np.zeros((3, 2), np.float32)
    ranker = RankerRows(
        user, items, {}, np.ones(3, np.float32), np.arange(3), np.arange(3), ("u",), ("x", "score:blend")
    )  # fmt: skip
    gathered = GatheredRows(ranker, blend, None, names, np.array([0, 1, 1]), ("home", "shorts"))
    set_blend(gathered, Mixing({"tower": 1.0}, {"shorts": {"user_knn": 10.0}}))
    assert items.tolist() == [[0, 1], [0, 20], [0, 10]]


def test_a_mixing_without_a_surface_is_the_same_for_all() -> None:
    query = Hydrated().hydrate(request(time_us=NOW_US))
    candidates = Candidates.of_source("user_knn", np.array([3, 4]), np.array([2, 1], np.float32))
    blend = Blend(CounterTable(), Mixing({"user_knn": 3.0}))
    for surface in ("home", "shorts", "anything"):
        assert blend.scored(query, candidates, surface).columns["blend"].tolist() == [6.0, 3.0]
    assert blend.names == COLUMNS


def trending(per_stretch: list[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """2,000 requests that weigh the tower by 1 and, by stretches of time, how much more is watched now than in the week."""
    rng, n = np.random.default_rng(0), 2_000
    tower, day, rest = rng.normal(0, 1, (3, n, K))
    week = day - 0.5 * rest
    trend = np.repeat(per_stretch, n // len(per_stretch))[:, None]
    score = tower + trend * (day - week) + rng.gumbel(size=(n, K))
    label = (score == score.max(axis=1, keepdims=True)).astype(np.float32)
    rows = np.stack([tower, day, week], axis=2).reshape(-1, 3).astype(np.float32)
    return rows, label.ravel(), np.repeat(np.arange(n), K)


def fitted(rows: tuple[np.ndarray, np.ndarray, np.ndarray], ridge: float = RIDGE) -> list[float]:
    names = ("tower", "log_relevant_1d", "log_relevant_7d")
    mixing = fit_mixing(rows, np.zeros(len(rows[1]), np.int64), names, ("home",), ridge)
    return [mixing.weights[name] for name in names]


def test_a_trend_of_counts_is_shrunk_as_a_trend_and_not_towards_one_window_alone() -> None:
    rows = trending([1.0])
    shrunk = fitted(rows)
    assert shrunk[1] == pytest.approx(-shrunk[2], rel=0.05)  # still the difference of both
    assert 0.75 < shrunk[1] < 0.95
    assert fitted(rows, ridge=1e-5) == pytest.approx([1.0, 1.0, -1.0], abs=0.1)


def test_the_ridge_is_a_share_of_the_requests_so_that_more_of_the_same_change_nothing() -> None:
    rows, label, request = trending([2.0, -0.5, 2.0, -0.5])
    often = np.concatenate([request * 3 + i for i in range(3)])
    order = np.argsort(often, kind="stable")
    thrice = np.tile(rows, (3, 1))[order], np.tile(label, 3)[order], often[order]
    assert fitted(thrice) == pytest.approx(fitted((rows, label, request)), abs=0.001)
