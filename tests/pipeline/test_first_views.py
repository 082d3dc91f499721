"""A new video moves towards its first viewers while the platform runs: from the log through the state into the index."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pipeline_world import NOW_US

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.store import Catalog
from upnext.catalog.view import CatalogView
from upnext.core.clock import ManualClock
from upnext.core.columns import VIDEOS
from upnext.core.event import Event
from upnext.core.types import Float32
from upnext.events.log import SqliteEventLog
from upnext.features.live import StateReader, StateWriter
from upnext.pipeline.assemble import Parts
from upnext.pipeline.serving import Serving
from upnext.settings.settings import Settings
from upnext.state.lmdb_state import LmdbState


class Running:
    """A serving process and the writer of its state, in one."""

    def __init__(self, settings: Settings) -> None:
        log = SqliteEventLog(settings.events_path, read_only=True)
        self.state = LmdbState(settings.state_path)
        self.writer = StateWriter(self.state, settings.features)
        self.writer.catch_up(log)
        log.close()
        self.view = CatalogView(settings.catalog_path)
        self.reader = StateReader(self.state, self.view, settings.features)
        self.reader.refresh_counters()
        parts = Parts(
            self.view, self.reader.counters, self.reader, settings.surfaces, settings.pipeline,
            settings.filters, settings.retrieval,
        )  # fmt: skip
        releases = ReleaseStore(settings.releases_path)
        self.serving = Serving(parts, releases, ManualClock(NOW_US), reader=self.reader)
        current = releases.current()
        assert current is not None
        release = self.serving._assembled.release
        assert release is not None
        self.release = release

    def send(self, kind: str, user_id: str, item_id: int, **more: object) -> None:
        seq = self.state.watermark() + 1
        self.writer.apply(
            [
                Event(
                    event_id=f"e{seq}", kind=kind, user_id=user_id, item_id=item_id,
                    time_us=NOW_US - 1000 + seq % 900, log_seq=seq, **more,  # type: ignore[arg-type]
                )
            ],
            [],
            seq,
        )  # fmt: skip
        self.serving.follow_counters()

    def found(self, item_id: int) -> Float32:
        """The vector under which the index finds the video."""
        index, axes = self.release.index, np.eye(self.release.tower.embedding_size)
        ids, scores = index.search(axes.astype(np.float32), len(index))
        vector: Float32 = scores[ids == item_id]
        return vector


@pytest.fixture
def running(settings: Settings, catalog: Catalog) -> Iterator[Running]:
    one = Running(settings)
    catalog.put_videos(
        pa.Table.from_pylist(
            [{"video_id": "brand-new", "title": "Nothing like it", "status": "active"}],
            schema=VIDEOS,
        )
    )
    one.serving.follow_catalog()
    yield one
    one.state.close()
    one.view.close()


def viewers_of(one: Running, n: int) -> list[str]:
    """Viewers with a history."""
    ids = [str(user_id) for user_id in one.view.users().column("user_id").to_pylist()]
    return ids[:n]


def test_a_new_video_moves_as_viewers_find_it_relevant(running: Running) -> None:
    item = running.view.item_id("brand-new")
    by_content = running.found(item).copy()
    places = [by_content]
    for user_id in viewers_of(running, 3):
        running.send("impression", user_id, item)
        assert np.array_equal(running.found(item), places[-1])  # shown is not yet liked
        running.send("like", user_id, item)
        places.append(running.found(item).copy())
    steps = [float(np.abs(b - a).max()) for a, b in pairwise(places)]
    assert min(steps) > 1e-4
    assert np.array_equal(running.release.vectors.rows(np.array([item]))[0], places[-1])


def test_what_is_taken_back_moves_the_video_back(running: Running) -> None:
    item = running.view.item_id("brand-new")
    (user_id,) = viewers_of(running, 1)
    before = running.found(item).copy()
    running.send("impression", user_id, item)
    running.send("like", user_id, item)
    assert not np.allclose(running.found(item), before)
    running.send("undo", user_id, item, undoes_kind="like")
    assert np.allclose(running.found(item), before, atol=1e-6)


def test_a_change_of_the_title_keeps_what_the_viewers_said(
    running: Running, catalog: Catalog
) -> None:
    item = running.view.item_id("brand-new")
    (user_id,) = viewers_of(running, 1)
    running.send("impression", user_id, item)
    running.send("like", user_id, item)
    moved = running.found(item).copy()
    catalog.put_videos(
        pa.Table.from_pylist(
            [{"video_id": "brand-new", "title": "Nothing like it", "is_premium": True,
              "status": "active"}],
            schema=VIDEOS,
        )
    )  # fmt: skip
    running.serving.follow_catalog()
    assert np.allclose(running.found(item), moved, atol=1e-5)


def test_trained_videos_stay_where_training_put_them(running: Running) -> None:
    trained = np.flatnonzero(~running.release.tower.are_new(np.arange(running.release.n_items)))
    before = running.release.vectors.rows(trained[:1]).copy()
    for user_id in viewers_of(running, 2):
        running.send("like", user_id, int(trained[0]))
    assert np.array_equal(running.release.vectors.rows(trained[:1]), before)


def test_a_process_that_starts_later_finds_the_video_where_it_is(
    running: Running, settings: Settings, tmp_path: Path
) -> None:
    item = running.view.item_id("brand-new")
    for user_id in viewers_of(running, 2):
        running.send("impression", user_id, item)
        running.send("like", user_id, item)
    moved = running.found(item).copy()
    parts = running.serving._parts
    later = Serving(
        parts, ReleaseStore(settings.releases_path), ManualClock(NOW_US), reader=running.reader
    )
    later.follow_counters()
    release = later._assembled.release
    assert release is not None
    assert np.allclose(release.vectors.rows(np.array([item]))[0], moved, atol=1e-6)
