"""The catalogue: ids that stay, strict rows, and arrays that follow the file."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.catalog import Catalog, CatalogView
from upnext.core.columns import USERS, VIDEOS
from upnext.core.errors import InvalidInput, NotFound, Unavailable


def videos(*rows: dict[str, object]) -> pa.Table:
    names = [name for name in VIDEOS.names if any(name in row for row in rows)]
    schema = pa.schema([VIDEOS.field(name) for name in names])
    return pa.Table.from_pylist(list(rows), schema=schema)


FULL = {
    "video_id": "שלום 🎬 " + "x" * 1000,
    "creator_id": "creator 1",
    "uploaded_us": -1_000_000,
    "duration_s": 12.5,
    "title": "סרטון מספר אחת 😀",
    "description": "",
    "tags": [f"tag {i}" for i in range(11)],
    "category": "music",
    "language": "he",
    "countries_allowed": ["DE", "FR"],
    "countries_blocked": ["US"],
    "latitude": 32.0,
    "longitude": 34.75,
    "min_age": 16,
    "is_premium": True,
    "moderation": {"violence": 0.5, "clickbait": 0.25},
    "status": "hidden",
    "thumbnail_url": "https://example.org/1.jpg",
    "content_vector": [0.5, -1.0, 2.0],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def catalog(path: Path) -> Catalog:
    return Catalog(path)


def test_ids_are_dense_from_zero_and_stay_when_a_video_comes_again(catalog: Catalog) -> None:
    first = catalog.put_videos(videos({"video_id": "a"}, {"video_id": "b"}))
    again = catalog.put_videos(videos({"video_id": "b"}, {"video_id": "c"}, {"video_id": "a"}))
    assert first.tolist() == [0, 1]
    assert again.tolist() == [1, 2, 0]
    assert again.dtype == np.int64


def test_a_full_row_comes_back_as_it_went_in(catalog: Catalog, path: Path) -> None:
    bare = {"video_id": "bare"}
    catalog.put_videos(videos(FULL, bare))
    view = CatalogView(path)
    full_row, bare_row = view.videos(np.array([0, 1]))
    assert full_row == FULL
    assert bare_row == dict.fromkeys(VIDEOS.names) | {"video_id": "bare", "status": "active"}
    assert view.table().schema == VIDEOS
    assert view.table().to_pylist(maps_as_pydicts="strict") == [full_row, bare_row]
    assert view.table(["title", "video_id"]).column_names == ["title", "video_id"]


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


def test_a_deleted_video_keeps_its_id_and_revives_under_it(catalog: Catalog, path: Path) -> None:
    catalog.put_videos(videos({"video_id": "a", "title": "t"}, {"video_id": "b"}))
    view = CatalogView(path)
    catalog.delete_video("a")
    catalog.delete_video("a")
    assert view.refresh().tolist() == [0]
    assert view.status.tolist() == [2, 0]
    with pytest.raises(NotFound, match="'a'"):
        catalog.patch_video("a", {"title": "new"})
    assert catalog.put_videos(videos({"video_id": "c"}, {"video_id": "a"})).tolist() == [2, 0]
    view.refresh()
    assert view.status.tolist() == [0, 0, 0]
    with pytest.raises(NotFound):
        catalog.delete_video("never")


def test_a_video_named_before_it_is_known_is_hidden_until_its_row_comes(
    catalog: Catalog, path: Path
) -> None:
    assert catalog.item_ids(["x", "y", "x"]).tolist() == [-1, -1, -1]
    assert catalog.item_ids(["x", "y", "x"], create=True).tolist() == [0, 1, 0]
    view = CatalogView(path)
    assert view.videos(np.array([0]))[0]["status"] == "unknown"
    with pytest.raises(NotFound):
        catalog.patch_video("x", {"title": "t"})
    assert catalog.put_videos(videos({"video_id": "y", "duration_s": 3.0})).tolist() == [1]
    assert np.isnan(catalog.durations(np.array([0, -1]))).all()
    assert catalog.durations(np.array([1])).tolist() == [3.0]


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


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"duration_s": -1.0}, "row 1.*'bad'.*duration_s.*above 0.*-1.0"),
        ({"duration_s": float("inf")}, "duration_s"),
        ({"duration_s": float("nan")}, "duration_s"),
        ({"status": "gone"}, "status.*one of active.*'gone'"),
        ({"tags": ["ok", ""]}, "tags"),
        ({"tags": ["ok", None]}, "tags"),
        ({"countries_allowed": ["Germany"]}, "countries_allowed.*two letters"),
        ({"latitude": 91.0}, "latitude"),
        ({"moderation": {"x": 1.5}}, "moderation.*from 0 to 1"),
        ({"content_vector": [1.0, float("nan")]}, "content_vector.*finite"),
        ({"min_age": -1}, "min_age"),
    ],
)
def test_a_bad_row_is_refused_by_row_and_field_and_nothing_is_written(
    catalog: Catalog, row: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        catalog.put_videos(videos({"video_id": "good"}, {"video_id": "bad"} | row))
    assert catalog.item_ids(["good"]).tolist() == [-1]


def test_columns_and_types_are_strict(catalog: Catalog) -> None:
    with pytest.raises(InvalidInput, match="did you mean 'title'"):
        catalog.put_videos(pa.table({"video_id": ["a"], "titel": ["x"]}))
    with pytest.raises(InvalidInput, match="video_id"):
        catalog.put_videos(pa.table({"title": ["x"]}))
    with pytest.raises(InvalidInput, match="duration_s"):
        catalog.put_videos(pa.table({"video_id": ["a"], "duration_s": ["12"]}))
    with pytest.raises(InvalidInput, match=r"row 1, field 'uploaded_us'.*1.5"):
        catalog.put_videos(pa.table({"video_id": ["a", "b"], "uploaded_us": [1.0, 1.5]}))
    with pytest.raises(InvalidInput, match=r"row 1.*video_id"):
        catalog.put_videos(pa.table({"video_id": ["a", None]}))
    with pytest.raises(InvalidInput, match=r"row 0.*video_id"):
        catalog.put_videos(pa.table({"video_id": [""]}))
    catalog.put_videos(
        pa.table(
            {"video_id": pa.array(["a"], pa.large_string()), "min_age": pa.array([3], pa.int64())}
        )
    )


def test_a_patch_is_strict_and_leaves_other_fields(catalog: Catalog, path: Path) -> None:
    catalog.put_videos(videos(FULL))
    video_id = str(FULL["video_id"])
    assert catalog.patch_video(video_id, {"title": "new", "tags": ["one"], "min_age": None}) == 0
    assert CatalogView(path).videos(np.array([0]))[0] == FULL | {
        "title": "new",
        "tags": ["one"],
        "min_age": None,
    }
    bad: list[tuple[dict[str, object], str]] = [
        ({"duration": 3}, "did you mean 'duration_s'"),
        ({"video_id": "other"}, "can be set"),
        ({"min_age": 1.5}, "int32"),
        ({"min_age": True}, "int32"),
        ({"is_premium": 1}, "bool"),
        ({"title": 3}, "string"),
        ({"title": "\ud800"}, "string"),
        ({"content_vector": [1.0]}, "3 numbers"),
        ({"min_age": 1 << 40}, "int32"),
    ]
    for fields, words in bad:
        with pytest.raises(InvalidInput, match=words):
            catalog.patch_video(video_id, fields)
    with pytest.raises(NotFound):
        catalog.patch_video("nobody", {"title": "x"})


def test_users_are_put_patched_and_deleted(catalog: Catalog, path: Path) -> None:
    row = {"user_id": "u😀", "age": 30, "country": "DE", "city": "Köln", "is_creator": True}
    catalog.put_users(pa.Table.from_pylist([row, {"user_id": "bare"}], schema=USERS))
    view = CatalogView(path)
    profile = view.profile("u😀")
    assert profile is not None
    assert (profile.age, profile.country, profile.is_creator) == (30, "DE", True)
    assert view.code("city", "Köln") == 0
    catalog.patch_user("u😀", {"age": 31})
    patched = view.profile("u😀")
    assert patched is not None
    assert patched.age == 31
    assert view.users().schema == USERS
    assert view.users().column("user_id").to_pylist() == ["bare", "u😀"]
    with pytest.raises(InvalidInput, match="age"):
        catalog.patch_user("bare", {"age": 200})
    catalog.delete_user("bare")
    assert view.profile("bare") is None
    assert view.profile("\ud800") is None
    with pytest.raises(NotFound):
        catalog.delete_user("bare")


def test_creators_have_codes_before_their_videos(catalog: Catalog) -> None:
    assert catalog.creator_codes(["x"]).tolist() == [-1]
    assert catalog.creator_codes(["x", "y", "x"], create=True).tolist() == [0, 1, 0]
    catalog.put_videos(
        videos({"video_id": "a", "creator_id": "y"}, {"video_id": "b", "creator_id": "z"})
    )
    assert catalog.creator_codes(["z", "y"]).tolist() == [2, 1]


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


def test_an_interrupted_put_leaves_the_file_as_it_was(
    catalog: Catalog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.put_videos(videos({"video_id": "a"}))
    monkeypatch.setattr("upnext.catalog.store._CHUNK", 2)
    rows = [
        {"video_id": f"v{i}", "countries_allowed": [f"{chr(65 + i // 26)}{chr(65 + i % 26)}"]}
        for i in range(300)
    ]
    with pytest.raises(InvalidInput, match="at most 256"):
        catalog.put_videos(videos(*rows))
    assert CatalogView(path).n_items == 1
    assert catalog.put_videos(videos({"video_id": "b"})).tolist() == [1]


def test_a_locked_file_is_unavailable_and_a_foreign_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("hello, this is not a database at all, " * 50)
    with pytest.raises(InvalidInput, match="not a catalogue"):
        Catalog(tmp_path / "text.db")
    with pytest.raises(NotFound):
        CatalogView(tmp_path / "none.db")
    catalog = Catalog(tmp_path / "c.db")
    catalog._connection.execute("PRAGMA busy_timeout=50")
    other = sqlite3.connect(tmp_path / "c.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        catalog.put_videos(videos({"video_id": "a"}))
    other.execute("ROLLBACK")
    other.close()
    assert catalog.put_videos(videos({"video_id": "a"})).tolist() == [0]


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
