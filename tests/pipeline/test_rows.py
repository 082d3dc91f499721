"""The ranker's rows of made-up requests: who is a row, and what it is told to have come to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pipeline_world import Hydrated, Says, assembled, request, view_of, viewer, with_sources

from upnext.core.protocols import NoProgress
from upnext.core.types import Candidates, Features, Float32, Predictions, Query
from upnext.evaluate.weight_trial import try_weights
from upnext.features.labels import LABELS
from upnext.features.replay import Replayed
from upnext.pipeline.assemble import Assembled
from upnext.pipeline.blend import COLUMNS
from upnext.pipeline.rows import (
    OPEN_EVERY,
    Drawing,
    GatheredRows,
    gather_rows,
    merged_rows,
    said_by_retrieval,
)

SHOWN = (1, 2, 50)  # 50 was never proposed
SEEN = (7, 8)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Assembled:
    path: Path = tmp_path_factory.mktemp("catalog")
    made = assembled(view_of(path), Hydrated(), {})
    return replace(made, pipeline=with_sources(made.pipeline, Says("one", range(1, 31))))


def past(n: int) -> list[Replayed]:
    """n requests of one viewer, who found the second video shown relevant, and soon after 5 and 55."""
    one = Hydrated(viewer(SEEN)).hydrate(request())
    labels = {label: np.zeros(3, np.float32) for label in LABELS}
    labels["relevant"] = np.array([0, 1, 0], np.float32)
    return [
        Replayed(
            replace(one, request=request(request_id=f"r{i}", time_us=one.request.time_us + 10 * i)),
            np.array(SHOWN), labels, np.arange(3), np.arange(3), np.array([2, 5, 55]),
        )
        for i in range(n)
    ]  # fmt: skip


def gathered(world: Assembled, n: int, **drawing: object) -> GatheredRows:
    return gather_rows(past(n), world, Drawing(1.0, 4, 0, **drawing), NoProgress())


def test_rows_are_what_was_shown_what_was_relevant_soon_and_a_sample_of_the_rest(
    world: Assembled,
) -> None:
    found = gathered(world, 1)
    labels = found.ranker.labels
    assert len(found.ranker) == 3 + 1 + 4  # 55 was not retrieved: no row can stand for it
    # 1 was shown to no effect: it stands for the relevant head where the sample drew it
    np.testing.assert_array_equal(labels["relevant"], [np.nan, 1, np.nan, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(labels["relevant_shown"], [0, 1, 0, *[np.nan] * 5])
    np.testing.assert_array_equal(labels["click"], [0, 0, 0, *[np.nan] * 5])
    assert set(found.ranker.requests()) == {0}


def test_the_relevant_head_learns_from_an_even_sample_of_all_others_shown_or_not(
    world: Assembled,
) -> None:
    n = 3_000
    rows = gathered(world, n).ranker
    told = np.isfinite(rows.labels["relevant"])
    assert np.bincount(rows.requests()[told]).tolist() == [2 + 4] * (n + n // OPEN_EVERY)
    first = np.flatnonzero(np.diff(rows.requests(), prepend=-1))
    n_others = len(world.pipeline.retrieved(past(1)[0].query)) - 2
    # 1, the first shown, is drawn as often as any other: a binomial share, its standard deviation below .007
    assert told[first].mean() == pytest.approx(4 / n_others, abs=0.028)


def test_without_a_sample_the_shown_alone_are_rows(world: Assembled) -> None:
    found = gather_rows(past(1), world, Drawing(1.0, 0, 0), NoProgress())
    np.testing.assert_array_equal(found.ranker.labels["relevant"], [0, 1, np.nan, 1])
    assert len(found.choices) == 0


def test_some_requests_are_listed_again_with_seen_videos_let_in_for_the_relevant_head_alone(
    world: Assembled,
) -> None:
    found = gathered(world, OPEN_EVERY)
    rows = found.ranker
    assert len(rows) == (OPEN_EVERY + 1) * 8
    assert rows.requests().max() == OPEN_EVERY  # the second list is a list of its own
    again = rows.requests() == OPEN_EVERY
    assert np.isfinite(rows.labels["relevant"][again]).sum() == 2 + 4
    assert all(
        np.isnan(rows.labels[task][again]).all() for task in rows.labels if task != "relevant"
    )
    many = gather_rows(past(OPEN_EVERY), world, Drawing(1.0, 40, 0), NoProgress()).ranker
    sizes = np.bincount(many.requests())
    assert sizes[-1] == sizes[0] + len(SEEN)


def test_parts_together_are_the_whole(world: Assembled) -> None:
    whole = gathered(world, 16)
    parts = merged_rows([gathered(world, 16, part=part, n_parts=3) for part in range(3)])
    np.testing.assert_array_equal(whole.ranker.items, parts.ranker.items)
    np.testing.assert_array_equal(whole.ranker.time_us, parts.ranker.time_us)
    np.testing.assert_array_equal(whole.choices.blend, parts.choices.blend)
    np.testing.assert_array_equal(whole.choices.requests(), np.repeat(np.arange(16), 2 + 4))


def test_the_merge_learns_from_an_even_sample_of_all_that_was_retrieved(world: Assembled) -> None:
    class TheFirst:
        """A merge that scores a video by its id, the lowest best, and tells that id as its first column."""

        names = COLUMNS

        def columns(self, query: Query, candidates: Candidates) -> Float32:
            rows = np.zeros((len(candidates), len(COLUMNS)), np.float32)
            rows[:, 0] = candidates.item_id
            return rows

        def scored(self, query: Query, candidates: Candidates, surface: str) -> Candidates:
            low = -candidates.item_id.astype(np.float32)
            return candidates.with_columns(blend=low, tower=low)

    home = world.pipeline.surfaces["home"]
    short = home.config.model_copy(update={"n_ranked": 4})
    surfaces = {"home": replace(home, config=short)}
    pipeline = replace(world.pipeline, blend=TheFirst(), surfaces=surfaces)
    found = gathered(replace(world, pipeline=pipeline), 400)
    choices = found.choices
    assert len(choices) == 400 * (2 + 4)
    item, is_relevant = choices.blend[:, 0].astype(int), choices.label == 1
    # what the log found relevant among the retrieved, in the ranker's list of 4 or not; 55 was not retrieved
    assert item[is_relevant].tolist() == [2, 5] * 400
    n_drawn = np.bincount(item[~is_relevant], minlength=31)
    kept = pipeline.retrieved(past(1)[0].query).item_id.tolist()
    others = [i for i in kept if i not in (2, 5)]
    assert len(others) > 20
    assert set(np.flatnonzero(n_drawn)) == set(others)
    expected = 400 * 4 / len(others)  # binomial: its standard deviation is below 8
    assert np.abs(n_drawn[others] - expected).max() < 32


def test_a_request_that_retrieved_nothing_relevant_says_nothing_to_the_merge(
    world: Assembled,
) -> None:
    one = replace(past(1)[0], soon=np.array([55]))
    one.labels["relevant"][:] = 0
    found = gather_rows([one], world, Drawing(1.0, 4, 0), NoProgress())
    assert len(found.ranker) == 3 + 4
    assert len(found.choices) == 0


def test_requests_of_before_are_told_by_what_was_shown_alone_without_what_retrieval_says(
    world: Assembled,
) -> None:
    first, second = (one.query.request.time_us for one in past(2))
    rows = gathered(world, 2, lists_from_us=second).ranker
    n = (rows.time_us == first).sum()
    assert n == len(SHOWN)
    names = np.array(rows.item_names)
    said = names[np.isnan(rows.items[:n]).all(0)]
    assert sorted(said) == sorted(names[said_by_retrieval(rows.item_names)])
    assert any(name.startswith("score:") for name in said)
    np.testing.assert_array_equal(rows.labels["relevant_shown"][:n], [0, 1, 0])
    assert np.isnan(rows.labels["relevant"][:n]).all()  # nothing to choose from
    alone = gathered(world, 1, lists_from_us=first).ranker
    same = ~np.isin(np.arange(len(names)), said_by_retrieval(rows.item_names))
    np.testing.assert_array_equal(rows.items[:n, same], alone.items[: len(SHOWN), same])
    assert not len(gathered(world, 2, lists_from_us=second + 1, shown_share=0.0).ranker)


def test_other_weights_are_tried_on_the_same_candidates_and_random_numbers(
    world: Assembled, tmp_path: Path
) -> None:
    view, own = view_of(tmp_path), world.pipeline.logged_surface("home")
    surfaces = {own.name: replace(own, config=own.config.model_copy(update={"size": 5}))}
    pipeline = replace(world.pipeline, surfaces=surfaces, ranker=InTurn())
    made = replace(world, pipeline=pipeline)
    like, both = {"like": 1.0}, {"like": 1.0, "skip": -2.0}
    same = try_weights(past(3), made, view, own.name, (like, like), 9, NoProgress())
    assert (same.n_pages, same.n_viewers, same.kept.mean) == (3, 1, 1)
    assert all(one.difference.mean == 0 for one in same.shifts.values())
    turned = try_weights(past(3), made, view, own.name, (like, both), 2, NoProgress())
    assert turned.n_pages == 2
    assert turned.kept.mean < 1
    for task in ("like", "skip"):  # the better are skipped more: two skips outweigh a like
        shift = turned.shifts[task]
        assert shift.difference.mean == pytest.approx(shift.after.mean - shift.before.mean)
        assert shift.difference.mean < 0
    assert turned.shifts["duration_s"].before.mean == 30


class InTurn:
    """A Ranker: every candidate is better than the one before, and skipped more."""

    def predict(self, features: Features, *, share: bool = False) -> Predictions:
        n = len(features.items)
        values = np.linspace(0, 1, n, dtype=np.float32)
        return Predictions(("like", "skip"), np.stack([values, values], axis=1))
