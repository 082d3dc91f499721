"""The same promises over the real log, state store and catalogue."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
from feature_world import MemoryView, random_day

from upnext.catalog.store import Catalog
from upnext.catalog.view import CatalogView
from upnext.core.columns import VIDEOS
from upnext.core.types import Candidates, Request
from upnext.events.log import SqliteEventLog
from upnext.features.counters import CounterTable
from upnext.features.live import StateReader, StateWriter
from upnext.features.plan import FeaturePlan
from upnext.features.replay import replay
from upnext.features.showings import showings_of
from upnext.state.lmdb_state import LmdbState

N = 40


def catalogue(path: Path) -> CatalogView:
    rows = [
        {
            "video_id": f"v{i}",
            "creator_id": f"c{i % 9}",
            "duration_s": 10.0,
            "category": f"k{i % 4}",
        }
        for i in range(N)
    ]
    catalog = Catalog(path / "catalog.db")
    catalog.put_videos(pa.Table.from_pylist(rows, schema=VIDEOS))
    catalog.close()
    return CatalogView(path / "catalog.db")


def test_live_updates_rebuild_and_replay_agree_over_the_real_stores(tmp_path: Path) -> None:
    events = [msgspec.structs.replace(e, log_seq=0) for e in random_day(11, 400, n_items=N)]
    log = SqliteEventLog(tmp_path / "log")
    live, rebuilt = (
        LmdbState(tmp_path / "live", map_size=1 << 26),
        LmdbState(tmp_path / "again", map_size=1 << 26),
    )
    writer = StateWriter(live)
    for start in range(0, len(events), 37):
        batch = events[start : start + 37]
        writer.apply(batch, (), log.append(batch)[-1])
    StateWriter(rebuilt).rebuild(log)
    assert live.checksum() == rebuilt.checksum()
    assert writer.catch_up(log) == 0

    view = catalogue(tmp_path)
    reader = StateReader(live, view)
    reader.refresh_counters()
    last_us = max(e.time_us for e in events) + 1
    user_id = events[-1].user_id
    query = reader.hydrate(Request("r", user_id, "home", 5, last_us, device="phone"))
    candidates = Candidates(np.arange(N))
    served = FeaturePlan(view, reader.counters).read(query, candidates)

    counters = CounterTable()
    *_, _last = replay(log, view, counters)
    items = np.arange(N)
    assert (counters.read(items, last_us) == reader.counters.read(items, last_us)).all()
    again = FeaturePlan(view, counters).read(query, candidates)
    np.testing.assert_array_equal(served.items, again.items)
    assert len(query.user.history) > 20
    showings = showings_of(log, view)
    mine = showings.item_id[showings.user == showings.user_ids.index(user_id)]
    assert query.user.history.item_id.tolist() == mine[-200:].tolist()
    for store in (live, rebuilt):
        store.close()
    log.close()


def test_the_stand_in_catalogue_has_what_the_real_one_has(tmp_path: Path) -> None:
    real, stand_in = catalogue(tmp_path), MemoryView(N)
    for name in ("creator", "uploaded_us", "duration_s", "category", "language", "tags", "min_age",
                 "status", "is_premium", "latitude", "longitude"):  # fmt: skip
        assert getattr(real, name).shape == getattr(stand_in, name).shape, name
        assert getattr(real, name).dtype == getattr(stand_in, name).dtype, name
