"""The catalogue as a request reads it: arrays that follow the file, or stand where a job began."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from catalog_rows import FULL, videos
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.catalog import Catalog, CatalogView
from upnext.core.columns import VIDEOS
from upnext.core.errors import NotFound


def test_dense_columns_hold_the_row_and_its_missing_values(catalog: Catalog, path: Path) -> None:
    catalog.put_videos(videos(FULL, {"video_id": "bare"}))
    view = CatalogView(path)
    assert view.n_items == 2
    assert view.creator.tolist() == [view.code("creator", "creator 1"), -1]
    assert view.uploaded_us.tolist() == [-1_000_000, 0]
    assert view.duration_s[0] == 12.5
    assert np.isnan(view.duration_s[1])
    assert [view.value_of("tag", c) for c in view.tags[0]] == [f"tag {i}" for i in range(8)]
    assert view.tags[1].tolist() == [-1] * 8
    assert view.min_age.tolist() == [16, 0]
    assert view.status.tolist() == [1, 0]
    assert view.is_premium.tolist() == [True, False]
    assert view.moderation("violence").tolist() == [0.5, 0.0]
    assert view.moderation("never heard of").tolist() == [0.0, 0.0]
    assert view.value_of("category", int(view.category[0])) == "music"
    assert view.n_codes("tag") == 11
    assert not view.duration_s.flags.writeable


def test_refresh_reads_only_what_changed_and_grows(catalog: Catalog, path: Path) -> None:
    catalog.put_videos(videos({"video_id": "a", "duration_s": 1.0}, {"video_id": "b"}))
    view = CatalogView(path)
    assert view.refresh().tolist() == []
    catalog.patch_video("b", {"duration_s": 9.0})
    catalog.put_videos(videos(*({"video_id": f"n{i}", "duration_s": i + 1.0} for i in range(3000))))
    before = view.duration_s
    assert view.refresh().tolist() == list(range(1, 3002))
    assert len(before) == 2
    assert view.duration_s[[0, 1, 2, 3001]].tolist() == [1.0, 9.0, 1.0, 3000.0]


def test_countries_follow_the_allowed_and_blocked_sets(catalog: Catalog, path: Path) -> None:
    rows = [
        {"video_id": "everywhere"},
        {"video_id": "only de", "countries_allowed": ["de"]},
        {"video_id": "not us", "countries_blocked": ["US"]},
        {"video_id": "both", "countries_allowed": ["DE", "US"], "countries_blocked": ["US"]},
        {"video_id": "empty sets", "countries_allowed": [], "countries_blocked": []},
    ]
    catalog.put_videos(videos(*rows))
    view = CatalogView(path)
    expected = {
        "DE": [True, True, True, True, True],
        "de": [True, True, True, True, True],
        "US": [True, False, False, False, True],
        "JP": [True, False, True, False, True],
        None: [True, False, False, False, True],
        "Germany": [True, False, False, False, True],
    }
    for country, allowed in expected.items():
        assert view.allowed_in(country).tolist() == allowed, country
    catalog.patch_video("everywhere", {"countries_blocked": ["JP"]})
    catalog.put_videos(videos({"video_id": "new", "countries_allowed": ["JP"]}))
    view.refresh()
    assert view.allowed_in("JP").tolist() == [False, False, True, False, True, True]
    assert view.allowed_in("DE").tolist() == [True, True, True, True, True, False]


def test_moderation_scores_that_go_away_go_away(catalog: Catalog, path: Path) -> None:
    catalog.put_videos(videos({"video_id": "a", "moderation": {"x": 1.0}}, {"video_id": "b"}))
    view = CatalogView(path)
    catalog.patch_video("a", {"moderation": None})
    catalog.patch_video("b", {"moderation": {"x": 0.5, "y": 0.25}})
    view.refresh()
    assert view.moderation("x").tolist() == [0.0, 0.5]
    assert view.moderation("y").tolist() == [0.0, 0.25]


def test_a_video_after_the_refresh_is_unknown_to_the_view(catalog: Catalog, path: Path) -> None:
    view = CatalogView(path)
    assert (view.n_items, view.table().num_rows, view.users().num_rows) == (0, 0, 0)
    assert view.allowed_in("DE").tolist() == []
    catalog.put_videos(videos({"video_id": "a"}))
    assert view.item_id("a") == -1
    view.refresh()
    assert view.item_id("a") == 0
    assert view.item_ids(["a", "\ud800", "b\0"]).tolist() == [0, -1, -1]
    assert view.video_ids(np.array([0, 0])) == ["a", "a"]
    for missing in (lambda: view.video_ids(np.array([5])), lambda: view.videos(np.array([0, 5]))):
        with pytest.raises(NotFound, match="5"):
            missing()


def test_a_view_of_the_first_videos_knows_no_later_one_but_follows_its_own(
    catalog: Catalog, path: Path
) -> None:
    catalog.put_videos(videos({"video_id": "a", "title": "old"}, {"video_id": "b", "title": "old"}))
    catalog.put_videos(videos({"video_id": "c"}))
    view = CatalogView(path)
    view.keep_first(2)
    catalog.put_videos(videos({"video_id": "d"}))
    catalog.put_videos(videos({"video_id": "b", "title": "new"}))
    assert view.refresh().tolist() == [1]
    assert view.n_items == len(view.status) == len(view.allowed_in("DE")) == 2
    assert view.item_ids(["a", "b", "c", "d"]).tolist() == [0, 1, -1, -1]
    assert view.changed_since(0).tolist() == [0, 1]
    assert view.table(["title"]).column("title").to_pylist() == ["old", "new"]
    whole = CatalogView(path)
    whole.keep_first(9)
    assert whole.n_items == 4
    assert np.array_equal(whole.changed_since(view.change_seq - 2), [1, 3])


def test_requests_read_whole_rows_while_a_thread_refreshes(catalog: Catalog, path: Path) -> None:
    """Every video's duration and min_age are written equal; a reader never sees an id without its row."""
    view = CatalogView(path)
    stop, wrong = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            n_items = view.n_items
            ages, allowed = view.min_age, view.allowed_in("DE")
            if len(ages) < n_items or len(allowed) < n_items or (ages[:n_items] != 7).any():
                wrong.append(n_items)
            if n_items and view.item_id(f"v{n_items - 1}") != n_items - 1:
                wrong.append(n_items)

    def refresh() -> None:
        while not stop.is_set():
            view.refresh()

    threads = [threading.Thread(target=read), threading.Thread(target=refresh)]
    for thread in threads:
        thread.start()
    for start in range(0, 6000, 300):
        catalog.put_videos(
            videos(*({"video_id": f"v{i}", "min_age": 7} for i in range(start, start + 300)))
        )
    stop.set()
    for thread in threads:
        thread.join()
    view.refresh()
    assert wrong == []
    assert view.n_items == 6000


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
_ROW = st.fixed_dictionaries(
    {"video_id": _TEXT},
    optional={
        "creator_id": st.none() | _TEXT,
        "tags": st.none() | st.lists(_TEXT, max_size=10),
        "title": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
        "uploaded_us": st.none() | st.integers(-(1 << 62), 1 << 62),
        "duration_s": st.none() | st.floats(0.01, 1e6),
        "moderation": st.none()
        | st.dictionaries(_TEXT, st.sampled_from([0.0, 0.25, 1.0]), min_size=1, max_size=3),
        "content_vector": st.none() | st.lists(st.floats(-4, 4, width=32), min_size=3, max_size=3),
    },
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(_ROW, min_size=1, max_size=6), min_size=1, max_size=4))
def test_any_rows_come_back_equal_and_an_old_view_equals_a_new_one(
    puts: list[list[dict[str, object]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog(Path(folder) / "c.db")
        view = CatalogView(catalog.path)
        wanted: dict[object, dict[str, object]] = {}
        for rows in puts:
            ids = catalog.put_videos(pa.Table.from_pylist(rows, schema=VIDEOS))
            wanted |= {
                row["video_id"]: dict.fromkeys(VIDEOS.names) | {"status": "active"} | row
                for row in rows
            }
            view.refresh()
            assert view.item_ids([str(row["video_id"]) for row in rows]).tolist() == ids.tolist()
        fresh = CatalogView(catalog.path)
        got = fresh.videos(np.arange(fresh.n_items))
        assert got == list(wanted.values())
        for name in ("creator", "uploaded_us", "duration_s", "tags", "status"):
            np.testing.assert_array_equal(getattr(view, name), getattr(fresh, name))
        for one in (view, fresh, catalog):
            one.close()
