"""The catalogue: ids that stay, strict rows, whole transactions."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from catalog_rows import FULL, videos

from upnext.catalog import Catalog, CatalogView
from upnext.core.columns import USERS, VIDEOS
from upnext.core.errors import InvalidInput, NotFound, Unavailable


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
