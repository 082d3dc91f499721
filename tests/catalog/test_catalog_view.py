"""The catalogue as a request reads it: arrays that follow the file, or stand where a job began."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from upnext.catalog import Catalog, CatalogView


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def catalog(path: Path) -> Catalog:
    return Catalog(path)


def videos(*video_ids: str, title: str) -> pa.Table:
    return pa.table({"video_id": list(video_ids), "title": [title] * len(video_ids)})


def test_a_view_of_the_first_videos_knows_no_later_one_but_follows_its_own(
    catalog: Catalog, path: Path
) -> None:
    catalog.put_videos(videos("a", "b", title="old"))
    catalog.put_videos(videos("c", title="before the limit"))
    view = CatalogView(path)
    view.keep_first(2)
    catalog.put_videos(videos("d", title="after the limit"))
    catalog.put_videos(videos("b", title="new"))
    assert view.refresh().tolist() == [1]
    assert view.n_items == len(view.status) == len(view.allowed_in("DE")) == 2
    assert view.item_ids(["a", "b", "c", "d"]).tolist() == [0, 1, -1, -1]
    assert view.changed_since(0).tolist() == [0, 1]
    assert view.table(["title"]).column("title").to_pylist() == ["old", "new"]
    whole = CatalogView(path)
    whole.keep_first(9)
    assert whole.n_items == 4
    assert np.array_equal(whole.changed_since(view.change_seq - 2), [1, 3])
