"""Factorisation and WARP as generators: what every trained generator must do, and what each adds."""

import json
import tracemalloc

import numpy as np
import pytest
from factorisation_world import N_TASTES, codes_of, taste_material
from retrieval_world import DAY_US, NOW_US, history_of, query_of, showings_of

from upnext.core.errors import InvalidInput
from upnext.core.types import Flag, Query, User
from upnext.retrieval.factorisation.config import (
    ConfidenceConfig,
    FactorisationConfig,
    WarpConfig,
)
from upnext.retrieval.factorisation.content_map import content_map, with_one
from upnext.retrieval.factorisation.factorisation_generator import FactorisationGenerator
from upnext.retrieval.factorisation.factorisation_learner import FactorisationLearner
from upnext.retrieval.factorisation.fold_in import fold_in
from upnext.retrieval.factorisation.least_squares import Weighting
from upnext.retrieval.factorisation.solvers import gram_of
from upnext.retrieval.factorisation.video_rows import VideoRows
from upnext.retrieval.factorisation.warp_generator import WarpGenerator
from upnext.retrieval.factorisation.warp_learner import WarpLearner
from upnext.retrieval.material import Material

PLAIN = FactorisationConfig(
    embedding_size=8, reg=0.1, reg_exponent=0, popularity_weight=0, threads=1, epochs=8
)
KINDS = {
    "cg": (FactorisationLearner, FactorisationGenerator, PLAIN),
    "block": (
        FactorisationLearner, FactorisationGenerator,
        PLAIN.model_copy(update={"solver": "block", "block_size": 3}),
    ),
    "sgd": (
        FactorisationLearner, FactorisationGenerator,
        PLAIN.model_copy(update={"solver": "sgd", "epochs": 40}),
    ),
    "popular": (
        FactorisationLearner, FactorisationGenerator,
        PLAIN.model_copy(update={"popularity_weight": 0.3}),
    ),
    "warp": (WarpLearner, WarpGenerator, WarpConfig(embedding_size=8, epochs=8)),
}  # fmt: skip
each = pytest.mark.parametrize("kind", KINDS)


def trained(kind, folder, material):
    """(generator, its item vectors) of one training."""
    learner_class, generator_class, config = KINDS[kind]
    learner = learner_class(config)
    learner.learn(material)
    learner.export(folder)
    return generator_class(folder), np.load(folder / "item_vectors.npy")


@each
def test_viewers_get_the_videos_of_their_taste(kind, tmp_path):
    material, taste = taste_material()
    generator, vectors = trained(kind, tmp_path, material)
    assert vectors.shape == (len(taste), generator.embedding_size)
    assert vectors.dtype == np.float32
    for own in range(N_TASTES):
        items = np.flatnonzero(taste == own)
        found = generator.vectors(query_of(items=items[:4]))
        assert found.shape == (1, generator.embedding_size)
        assert found.dtype == np.float32
        score = vectors @ found[0]
        score[items[:4]] = -np.inf
        assert set(taste[np.argsort(-score)[:8]]) == {own}  # and one of them was never shown


@each
def test_a_viewer_of_whom_nothing_is_known_has_no_vector(kind, tmp_path):
    generator, _ = trained(kind, tmp_path, taste_material()[0])
    for query in (
        query_of(), query_of(items=[10_000]),
        query_of(items=[1, 2], flags=[Flag.IMPRESSION | Flag.DISLIKE] * 2),
    ):  # fmt: skip
        assert generator.vectors(query).shape == (0, generator.embedding_size)


@each
def test_the_order_of_a_history_does_not_matter(kind, tmp_path):
    generator, _ = trained(kind, tmp_path, taste_material()[0])
    one = generator.vectors(query_of(items=[5, 9, 2, 13]))
    assert one == pytest.approx(generator.vectors(query_of(items=[13, 2, 9, 5])), abs=1e-5)


@each
def test_a_video_that_came_later_is_found_by_its_content_and_counts_in_histories(kind, tmp_path):
    material, taste = taste_material()
    generator, vectors = trained(kind, tmp_path, material)
    content = np.eye(N_TASTES, dtype=np.float32)[[1, 3, 1]]
    ids, brought = generator.bring(np.array([100, 205, 4]), content, codes_of(3))
    assert ids.tolist() == [100, 205]  # 4 was learned
    assert brought.shape == (2, generator.embedding_size)
    for own, vector in zip((1, 3), brought):
        viewers = [
            generator.vectors(query_of(items=np.flatnonzero(taste == t)[:5]))[0]
            for t in range(N_TASTES)
        ]
        assert int(np.argmax([vector @ viewer for viewer in viewers])) == own
    score = vectors @ generator.vectors(query_of(items=[205]))[0]
    assert set(taste[np.argsort(-score)[:8]]) == {3}
    nothing = generator.bring(
        np.zeros(0, np.int64), np.zeros((0, N_TASTES), np.float32), codes_of(0)
    )
    assert len(nothing[0]) == len(nothing[1]) == 0


@each
def test_content_of_another_size_is_an_error(kind, tmp_path):
    generator, _ = trained(kind, tmp_path, taste_material()[0])
    with pytest.raises(InvalidInput, match="content"):
        generator.bring(np.array([100]), np.zeros((1, 9), np.float32), codes_of(1))


@each
def test_a_resumed_training_ends_with_the_same_bits(kind, tmp_path):
    learner_class, _, config = KINDS[kind]
    material, _ = taste_material()
    whole = learner_class(config)
    whole.learn(material)
    learner_class(config, folder=tmp_path).learn(material, stop_after=3)
    resumed = learner_class(config, folder=tmp_path)
    resumed.learn(material, resume=True)
    for name, array in whole.snapshot().items():
        assert np.array_equal(array, resumed.snapshot()[name]), name


@each
def test_a_checkpoint_of_other_data_is_refused(kind, tmp_path):
    learner_class, _, config = KINDS[kind]
    learner_class(config, folder=tmp_path).learn(taste_material()[0], stop_after=1)
    with pytest.raises(InvalidInput, match="other data"):
        learner_class(config, folder=tmp_path).learn(taste_material(seed=9)[0], resume=True)


@each
def test_export_before_learning_and_learning_from_nothing_are_errors(kind, tmp_path):
    learner_class, _, config = KINDS[kind]
    with pytest.raises(InvalidInput, match="learn before"):
        learner_class(config).export(tmp_path)
    material, _ = taste_material()
    empty = Material(showings_of([]), material.content, material.context, material.videos)
    with pytest.raises(InvalidInput, match="at least"):
        learner_class(config).learn(empty)


@each
def test_an_earlier_training_is_continued_with_viewers_and_videos_that_came_since(kind, tmp_path):
    learner_class, generator_class, config = KINDS[kind]
    before, _ = taste_material(only=(40, 48))
    material, taste = taste_material()
    first = learner_class(config)
    first.learn(before)
    tuned = learner_class(config.model_copy(update={"epochs": 3}))
    figures = tuned.learn(material, start_from=first.snapshot())
    assert figures["epochs"] == 3
    tuned.export(tmp_path)
    generator, vectors = generator_class(tmp_path), np.load(tmp_path / "item_vectors.npy")
    new = np.flatnonzero(
        (np.arange(len(taste)) >= 48) & np.isin(np.arange(len(taste)), material.showings.item_id)
    )
    viewers = [
        generator.vectors(query_of(items=np.flatnonzero(taste == t)[:6]))[0]
        for t in range(N_TASTES)
    ]
    scores = np.array(viewers) @ vectors[new].T
    assert (scores.argmax(0) == taste[new]).all()
    with pytest.raises(InvalidInput, match="earlier"):
        learner_class(config).learn(before, start_from=tuned.snapshot())


@each
def test_files_of_another_format_are_refused(kind, tmp_path):
    trained(kind, tmp_path, taste_material()[0])
    path = tmp_path / "generator.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(InvalidInput, match="format"):
        KINDS[kind][1](tmp_path)


def test_a_viewer_of_the_training_folded_in_gets_the_trained_row(tmp_path):
    """At convergence, with the regulariser scaled as in training; the raw one must give another row."""
    material, _ = taste_material()
    alike = ConfidenceConfig(relevant=1, liked=1)
    config = PLAIN.model_copy(
        update={"reg": 0.02, "reg_exponent": 1.0, "epochs": 300, "confidence": alike}
    )
    learner = FactorisationLearner(config)
    learner.learn(material)
    learner.export(tmp_path)
    generator, rows = FactorisationGenerator(tmp_path), learner.snapshot()["user_factors"]
    showings, starts = material.showings, material.showings.starts()
    items = learner.snapshot()["item_factors"]
    for user in (0, 7, 30):
        own = slice(starts[user], starts[user + 1])
        history = history_of(showings.item_id[own], showings.flags[own], showings.time_us[own])
        query = Query(query_of().request, User("someone else", history=history))
        size = float(np.abs(rows[user]).max())
        assert generator.vectors(query)[0] == pytest.approx(rows[user], abs=2e-3 * size)
        ids = np.unique(showings.item_id[own])
        raw = fold_in(
            items[ids], np.ones(len(ids), np.float32), gram_of(items, config.unobserved_weight),
            len(items), Weighting(config.unobserved_weight, "unobserved", config.reg, 0.0),
        )  # fmt: skip
        assert raw != pytest.approx(rows[user], abs=2e-2 * size)


def test_a_dislike_pushes_what_is_like_it_away(tmp_path):
    material, taste = taste_material()
    generator, vectors = trained("cg", tmp_path, material)
    a, b = np.flatnonzero(taste == 0)[:6], np.flatnonzero(taste == 1)[:2]
    seen, disliked = Flag.IMPRESSION, Flag.IMPRESSION | Flag.DISLIKE
    liked_both = generator.vectors(query_of(items=[*a, *b], flags=[seen] * 8))[0]
    hated = generator.vectors(query_of(items=[*a, *b], flags=[seen] * 6 + [disliked] * 2))[0]
    others = np.flatnonzero(taste == 1)[2:-1]
    assert (vectors[others] @ hated).mean() < (vectors[others] @ liked_both).mean() - 0.1


def test_popularity_is_a_number_more_of_the_same_inner_product(tmp_path):
    """score = match / (its deviation over videos) + 0.3 z(log(1 + recent relevant showings))."""
    material, _ = taste_material()
    generator, vectors = trained("popular", tmp_path, material)
    assert generator.embedding_size == PLAIN.embedding_size + 1
    score = vectors @ generator.vectors(query_of(items=[0, 4, 8]))[0]
    showings = material.showings
    is_relevant = (showings.flags & np.uint16(Flag.RELEVANT)) != 0
    age_d = (showings.time_us.max() - showings.time_us[is_relevant]) / 86_400e6
    logged = np.log1p(np.bincount(showings.item_id[is_relevant], 0.5**age_d, material.n_items))
    popular = 0.3 * (logged - logged.mean()) / logged.std()
    match = score - popular
    assert match.std() == pytest.approx(1, abs=1e-3)
    assert vectors[:, -1] == pytest.approx(popular, abs=1e-5)


def test_a_later_row_of_the_same_video_takes_the_place_of_the_former():
    base = np.arange(6, dtype=np.float32).reshape(3, 2)
    rows = VideoRows(base, np.array([True, False, True]))
    found, known = rows.take(np.array([2, 1, 8]))
    assert known.tolist() == [True, False, False]
    assert found.tolist() == [[4, 5]]
    rows.put(np.array([8, 1]), np.array([[8, 8], [1, 1]], np.float32))
    rows.put(np.array([8]), np.array([[9, 9]], np.float32))
    found, known = rows.take(np.array([8, 0, 1, 7]))
    assert known.tolist() == [True, True, True, False]
    assert found.tolist() == [[9, 9], [0, 1], [1, 1]]


def test_taking_rows_of_a_table_with_more_columns_does_not_copy_the_table():
    table = np.zeros((200_000, 33), np.float32)  # 26 MB, the last column popularity's
    rows = VideoRows(table[:, :32], np.ones(len(table), np.bool_))
    item_id = np.arange(0, 200_000, 1_000)
    tracemalloc.start()
    found, known = rows.take(item_id)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.shape == (200, 32)
    assert known.all()
    assert peak < 1_000_000


def test_the_content_map_finds_a_linear_world_and_shrinks_where_there_is_none():
    rng = np.random.default_rng(2)
    content = rng.standard_normal((300, 6)).astype(np.float32)
    truth = rng.standard_normal((7, 4)).astype(np.float32)
    n_viewers = rng.integers(0, 30, 300)
    found = content_map(content, with_one(content) @ truth, n_viewers)
    assert found == pytest.approx(truth, abs=1e-2)
    noise = rng.standard_normal((300, 4)).astype(np.float32)
    assert np.abs(content_map(content, noise, n_viewers)).max() < 0.3
    assert not content_map(content, noise, np.zeros(300)).any()


def test_what_was_watched_lately_counts_more_where_age_matters(tmp_path):
    """Two tastes, two videos each; one taste is five half-lives old."""
    config = PLAIN.model_copy(update={"confidence": ConfidenceConfig(half_life_d=1.0)})
    material, taste = taste_material()
    learner = FactorisationLearner(config)
    learner.learn(material)
    learner.export(tmp_path)
    generator, vectors = FactorisationGenerator(tmp_path), np.load(tmp_path / "item_vectors.npy")
    lead = []
    for age_d in (0, 5):
        times = [NOW_US] * 2 + [NOW_US - age_d * DAY_US] * 2
        query = Query(
            query_of().request, User("u", history=history_of([0, 4, 1, 5], time_us=times))
        )
        score = vectors @ generator.vectors(query)[0]
        lead.append(score[taste == 0].mean() - score[taste == 1].mean())
    assert lead[1] > lead[0] + 0.1
