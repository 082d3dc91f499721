"""Each source's own promise, on catalogues small enough to work out by hand."""

import subprocess
import sys

import numpy as np
import pytest
from retrieval_world import DAY_US, NOW_US, Shelf, Tally, query_of

from upnext.core.id_set import IdSet
from upnext.core.randomness import rng_for
from upnext.core.types import Profile
from upnext.retrieval.asked_lists import AskedLists
from upnext.retrieval.config import FollowedConfig, FreshConfig, LocalConfig, PopularConfig
from upnext.retrieval.followed import Followed
from upnext.retrieval.fresh import Fresh
from upnext.retrieval.local import Local, distance_km
from upnext.retrieval.popular import Popular
from upnext.retrieval.selection import largest_rows
from upnext.retrieval.short_list import best_open, by_group, top
from upnext.retrieval.trending import Trending, surprise


def popular(counts, language, **config):
    videos = Shelf(len(language), language=np.asarray(language, np.int32))
    tally = Tally({"relevant_1d": np.asarray(counts, float)})
    return Popular(videos, tally, PopularConfig(**config)), tally


def test_popular_videos_in_the_viewers_language_come_first_and_the_others_follow():
    source, _ = popular([9, 8, 7, 6, 0], [0, 1, 0, 1, 1])
    assert source.fetch(query_of(language="hi"), 4).item_id.tolist() == [1, 3, 0, 2]
    assert source.fetch(query_of(), 4).item_id.tolist() == [0, 1, 2, 3]
    by_profile = query_of(profile=Profile(language="hi"))
    assert source.fetch(by_profile, 1).item_id.tolist() == [1]


def test_a_language_never_empties_the_list_and_an_unknown_one_changes_nothing():
    source, _ = popular([9, 8, 7], [0, 0, 0])
    assert source.fetch(query_of(language="hi"), 3).item_id.tolist() == [0, 1, 2]
    assert source.fetch(query_of(language="xx"), 3).item_id.tolist() == [0, 1, 2]


def test_counters_are_read_at_most_every_five_seconds_and_never_by_a_request():
    source, tally = popular([1, 2, 3], [0, 0, 0])
    source.refresh(NOW_US)
    n_reads = tally.n_reads
    source.refresh(NOW_US + 4_900_000)
    for _ in range(3):
        source.fetch(query_of(), 2)
    assert tally.n_reads == n_reads
    tally.columns["relevant_1d"] = np.array([5.0, 2.0, 3.0])
    source.refresh(NOW_US + 5_000_000)
    assert source.fetch(query_of(), 1).item_id.tolist() == [0]


def test_a_viewer_who_saw_the_top_of_the_list_is_served_from_further_down():
    source, _ = popular(np.arange(1000, 0, -1), np.zeros(1000))
    found = source.fetch(query_of(seen=np.arange(900)), 10)
    assert found.item_id.tolist() == list(range(900, 910))


def test_a_video_without_counts_is_not_popular():
    source, _ = popular([0, 3, 0], [0, 0, 0])
    assert source.fetch(query_of(), 3).item_id.tolist() == [1]


def test_short_lists_break_ties_by_id():
    found = top(np.array([1.0, 3.0, 3.0, 2.0]), 3)
    assert found.item_id.tolist() == [1, 2, 3]
    groups = by_group(np.array([1.0, 3.0, 0.0, 2.0]), np.array([0, 1, 1, 0]), 5)
    assert {code: part.item_id.tolist() for code, part in groups.items()} == {0: [3, 0], 1: [1]}


def test_trending_is_what_beats_its_own_week():
    """Video 0 is large and steady (168 a week: 6 in six hours), video 1 small and rising, video 2 one lucky view."""
    videos = Shelf(3)
    tally = Tally({"relevant_7d": np.array([168.0, 28, 0]), "relevant_6h": np.array([6.0, 10, 1])})
    assert Trending(videos, tally).fetch(query_of(), 3).item_id.tolist() == [1]
    lately, usually = np.array([10.0]), np.array([1.0])
    assert surprise(lately, usually, 2)[0] == pytest.approx(9 / np.sqrt(2))


def liked_in(country, counts, tally):
    """Adds relevant showings of an hour ago in a country, {video: how many}."""
    for item, n in counts.items():
        for _ in range(n):
            tally.countries.add(country, item, 1.0, NOW_US - 3_600_000_000)


def test_what_a_country_likes_leads_there_as_far_as_its_own_counts_go():
    """Everyone: 0 before 1 before 2. India likes 2: with a thousand showings that decides, with two it does not."""
    everyone = [500.0, 300, 200]
    source, tally = popular(everyone, [0, 0, 0], country_prior=100)
    liked_in("IN", {2: 900, 1: 100}, tally)
    liked_in("FR", {2: 2}, tally)
    assert source.fetch(query_of(country="in"), 3).item_id.tolist() == [2, 1, 0]
    assert source.fetch(query_of(country="FR"), 3).item_id.tolist() == [0, 1, 2]
    assert source.fetch(query_of(country="ZZ"), 3).item_id.tolist() == [0, 1, 2]
    assert source.fetch(query_of(), 3).item_id.tolist() == [0, 1, 2]
    by_profile = query_of(profile=Profile(country="IN"))
    assert source.fetch(by_profile, 1).item_id.tolist() == [2]


def test_the_score_in_a_country_is_its_share_smoothed_by_everyones_share():
    source, tally = popular([60.0, 40], [0, 0], country_prior=10)
    liked_in("IN", {1: 8}, tally)
    kept = 8 * 2 ** (-1 / 24)  # an hour of a day's half-life has passed
    found = source.fetch(query_of(country="IN"), 2)
    expected = [100 * (kept + 10 * 0.4) / (kept + 10), 100 * (0 + 10 * 0.6) / (kept + 10)]
    assert found.item_id.tolist() == [1, 0]
    assert found.columns["source:popular"] == pytest.approx(expected, rel=1e-5)


def test_in_a_country_of_several_languages_the_viewers_own_comes_first():
    source, tally = popular([9.0, 8, 7, 6], [0, 1, 0, 1])
    liked_in("IN", {3: 500, 2: 400}, tally)
    assert source.fetch(query_of(country="IN", language="hi"), 2).item_id.tolist() == [3, 1]
    assert source.fetch(query_of(country="IN", language="en"), 2).item_id.tolist() == [2, 0]
    assert set(source.fetch(query_of(country="IN", language="hi"), 4).item_id) == {0, 1, 2, 3}


def test_a_countrys_list_follows_its_counts_at_the_next_refresh():
    source, tally = popular([9.0, 8], [0, 0], country_prior=1)
    assert source.fetch(query_of(country="IN"), 2).item_id.tolist() == [0, 1]
    liked_in("IN", {1: 50}, tally)
    assert source.fetch(query_of(country="IN"), 2).item_id.tolist() == [0, 1]
    source.refresh(NOW_US + 6_000_000)
    assert source.fetch(query_of(country="IN"), 2).item_id.tolist() == [1, 0]


def test_the_pairs_asked_for_are_made_ahead_and_those_asked_no_more_are_not():
    made = []

    def make(country, language):
        made.append((country, language))
        return top(np.array([1.0]), 1)

    first = AskedLists(make, None)
    for country in ("IN", "FR", "IN"):
        first.of(country, 0)
    assert made == [("IN", 0), ("FR", 0)]  # each once
    second = AskedLists(make, first)
    second.of("IN", 0)
    assert made[2:] == [("IN", 0), ("FR", 0)]
    third = AskedLists(make, second)
    assert made[4:] == [("IN", 0)]
    assert third.wanted() == []


def trending_world():
    """Video 0 trends everywhere, 1 in Hindi, 2 in India alone; 3 was seen there once."""
    videos = Shelf(5, language=np.array([0, 1, 0, 0, 1], np.int32))
    tally = Tally({"relevant_7d": np.zeros(5), "relevant_6h": np.array([50.0, 20, 0, 0, 0])})
    liked_in("IN", {2: 30, 3: 1}, tally)
    return Trending(videos, tally)


def test_what_trends_in_the_viewers_country_comes_first_then_their_language_then_all():
    source = trending_world()
    assert source.fetch(query_of(country="IN", language="en"), 9).item_id.tolist() == [2, 0, 1]
    assert source.fetch(query_of(country="IN", language="hi"), 9).item_id.tolist() == [1, 0]
    assert source.fetch(query_of(country="FR", language="hi"), 9).item_id.tolist() == [1, 0]
    assert source.fetch(query_of(country="IN"), 9).item_id.tolist() == [2, 0, 1]
    assert source.fetch(query_of(), 9).item_id.tolist() == [0, 1]


def near_paris():
    """Paris, Versailles, Lyon, one without a place, Auckland and Fiji either side of the date line."""
    return Shelf(
        6,
        latitude=np.array([48.86, 48.80, 45.76, np.nan, -36.85, -17.7], np.float32),
        longitude=np.array([2.35, 2.13, 4.84, np.nan, 174.8, -179.2], np.float32),
        language=np.array([0, 0, 0, 1, 1, 1], np.int32),
    )


def test_local_videos_are_near_and_popular_ones_among_them_first():
    source = Local(near_paris(), Tally({"relevant_7d": np.array([1.0, 30, 500, 900, 5, 5])}))
    found = source.fetch(query_of(latitude=48.86, longitude=2.34), 5)
    assert found.item_id.tolist() == [1, 0, 2]
    assert source.fetch(query_of(latitude=48.86, longitude=2.34), 1).item_id.tolist() == [1]


def test_the_date_line_is_no_border():
    source = Local(near_paris(), Tally(), LocalConfig(cell_degrees=2, rings=(1, 12)))
    found = source.fetch(query_of(latitude=-17.7, longitude=179.5), 1)
    assert found.item_id.tolist() == [5]


def test_without_a_place_local_is_what_the_viewers_language_watches():
    source = Local(near_paris(), Tally({"relevant_7d": np.array([1.0, 30, 500, 900, 5, 7])}))
    found = source.fetch(query_of(language="hi"), 5)
    assert found.item_id.tolist() == [3, 5, 4]


def test_distances_are_great_circles():
    paris_lyon = distance_km(48.8566, 2.3522, np.array([45.7640]), np.array([4.8357]))
    assert paris_lyon[0] == pytest.approx(392, abs=2)
    assert distance_km(0, 0, np.array([0.0]), np.array([180.0]))[0] == pytest.approx(20015, abs=1)


def test_fresh_gives_new_and_unexplored_videos_more_often_and_all_their_chance():
    n = 20
    uploaded_us = NOW_US - np.where(np.arange(n) < 10, 1, 20) * DAY_US
    impressions = np.where(np.arange(n) % 2, 10_000.0, 0.0)
    videos = Shelf(n, uploaded_us=uploaded_us)
    source = Fresh(videos, Tally({"impressions_total": impressions}), FreshConfig(half_life_h=480))
    times = np.zeros(n)
    for seed in range(400):
        times[source.fetch(query_of(seed=seed), 5).item_id] += 1
    assert times[0:10:2].mean() > 1.5 * times[10:20:2].mean()  # newer
    assert times[0:10:2].mean() > 3 * times[1:10:2].mean()  # less explored
    assert times.min() > 0


def test_an_upload_of_the_future_is_not_fresh_yet():
    uploaded_us = np.array([NOW_US + 1, NOW_US, 0])
    source = Fresh(Shelf(3, uploaded_us=uploaded_us), Tally())
    assert source.fetch(query_of(), 3).item_id.tolist() == [1]


def test_followed_creators_newest_videos_come_in_the_order_of_upload():
    creator = np.array([0, 1, 0, 2, 1, 0, -1], np.int64)
    uploaded_us = NOW_US - np.array([5, 4, 3, 2, 1, 7, 0]) * DAY_US
    videos = Shelf(7, creator=creator, uploaded_us=uploaded_us)
    source = Followed(videos, FollowedConfig(per_creator=2))
    found = source.fetch(query_of(followed=[0, 1, 77]), 9)
    assert found.item_id.tolist() == [4, 2, 1, 0]  # creator 0's third newest is left out
    assert found.columns["source:followed"].tolist() == [-1, -3, -4, -5]


def test_a_video_that_a_followed_creator_uploads_later_is_found_after_a_refresh():
    videos = Shelf(2, creator=np.array([0, 1], np.int64))
    source = Followed(videos)
    source.refresh(NOW_US)
    videos.n_items = 3
    videos.creator = np.array([0, 1, 1], np.int64)
    videos.uploaded_us = np.append(videos.uploaded_us, NOW_US - 1)
    source.refresh(NOW_US + 11_000_000)
    assert source.fetch(query_of(followed=[1]), 5).item_id.tolist() == [2, 1]


def test_what_serving_imports_needs_no_torch():
    modules = ["two_tower.user_tower", "inverted_index", "popular", "trending", "local", "fresh", "followed",
               "item_to_item", "relevant", "config", "covisits"]  # fmt: skip
    code = "import sys\nsys.modules.update(dict.fromkeys(('torch', 'onnx', 'scipy')))\n"  # refuses them
    code += "\n".join(f"import upnext.retrieval.{name}" for name in modules)
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_largest_values_come_first_and_the_lower_row_of_equals():
    values = np.array([3.0, -1.0, 2.0, 2.0, 5.0, 2.0])
    assert largest_rows(values, 3).tolist() == [4, 0, 2]
    assert largest_rows(values, 4).tolist() == [4, 0, 2, 3]
    assert largest_rows(values, 1).tolist() == [4]
    assert largest_rows(values, 9).tolist() == [4, 0, 2, 3, 5, 1]
    assert largest_rows(values[:0], 4).tolist() == largest_rows(values, 0).tolist() == []


def test_fresh_draws_what_numpys_own_gumbel_draws():
    source = Fresh(Shelf(3000), Tally(), FreshConfig(size=3000))
    found = source.fetch(query_of(seed=5), 3000)
    age_h = (NOW_US - source._videos.uploaded_us) / 3_600_000_000
    log_value = (-age_h / 48.0 * np.log(2)).astype(np.float32)
    drawn = log_value + rng_for("fresh", 5, "u", 0).gumbel(size=3000)
    assert found.item_id.tolist() == np.argsort(-drawn, kind="stable").tolist()
    assert (
        found.columns["source:fresh"].tolist() == np.sort(drawn)[::-1].astype(np.float32).tolist()
    )


def test_the_best_come_first_and_ties_by_id():
    ids, nobody, everybody = (
        np.array([9, 4, 7, 1]),
        IdSet(np.zeros(0, np.int64)).table,
        np.ones(10, bool),
    )

    def best(values, k, allowed=everybody):
        found, kept = best_open(ids[: len(values)], np.array(values), nobody, allowed, k)
        assert kept.tolist() == sorted(kept, reverse=True)
        return found.tolist()

    assert best([2.0, 5.0, 2.0, 3.0], 4) == [4, 1, 7, 9]
    assert best([1.0, 4.0, 2.0, 3.0], 9) == [4, 1, 7, 9]
    assert best([2.0, 5.0, 2.0, 3.0], 3) == [4, 1, 7]
    assert best([2.0, 2.0, 2.0, 2.0], 2) == [1, 4]
    assert best([2.0, 5.0, 2.0, 3.0], 3, everybody[:8]) == [4, 1, 7]
    assert best([2.0, 5.0, 2.0, 3.0], 0) == best([], 3) == best([1.0, 1.0], 2, ~everybody) == []
