"""Small simulated platforms on disk for the training tests, and a Progress that can be made to fail."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.store import Catalog
from upnext.catalog.view import CatalogView
from upnext.core.clock import DAY_US
from upnext.core.event import Event
from upnext.core.protocols import NoProgress, Progress
from upnext.core.types import Request
from upnext.events.log import SqliteEventLog
from upnext.features.live import StateReader, StateWriter
from upnext.intake import Stores, import_tables, plan_of
from upnext.learn.fine_tune import FineTuning
from upnext.learn.train import Training
from upnext.learn.train_report import TrainReport
from upnext.pipeline.assemble import Parts, assemble
from upnext.pipeline.release_parts import ReleaseParts
from upnext.settings.settings import CONFIG_NAME, Settings, load
from upnext.simulate.history import simulate_history
from upnext.simulate.tables import write_tables
from upnext.simulate.world import END_US, World
from upnext.state.lmdb_state import LmdbState

DAYS = 4
UNTIL_US = END_US - DAY_US  # a day of events lies after it
SOURCES = """
[surfaces.home.sources]
relevant = 100
item_to_item = 100
popular = 100
search_history = 30
user_knn = 30
interests = 30
content_profile = 30
factorisation = 30
"""
TINY = """
[learn]
threads = 1
max_ranker_showings = 300
gate_users = 100
refit_epochs = 2
[retrieval.two_tower]
epochs = 2
embedding_size = 16
input_size = 16
hidden = [32]
content_hidden = 32
batch_size = 64
n_uniform = 64
[ranking]
experts = 2
expert_hidden = [16, 8]
head_hidden = 8
epochs = 2
batch_size = 64
"""


def tables_of(viewers: int, videos: int, days: int) -> dict[str, pa.Table]:
    """The tables of a made-up platform."""
    return simulate_history(World.make(viewers, videos, seed=3), days=days)


def platform(
    tables: Mapping[str, pa.Table],
    root: Path,
    *,
    text: str = SOURCES + TINY,
    before_us: int | None = None,
) -> Settings:
    """The settings of a new folder that holds the tables; events at or after `before_us` are left out."""
    events = tables["events"]
    if before_us is not None:
        events = events.filter(pc.less(events.column("time_us"), before_us))
    mapping = write_tables({**tables, "events": events}, root / "tables")
    (root / CONFIG_NAME).write_text(text, "utf-8")
    settings = load(root / CONFIG_NAME)
    settings.folder.mkdir()
    catalog, log = Catalog(settings.catalog_path), SqliteEventLog(settings.events_path)
    import_tables(plan_of(mapping), Stores(catalog, log), NoProgress(), now_us=END_US)
    log.close()
    catalog.close()
    return settings


def train(
    settings: Settings,
    until_us: int | None = UNTIL_US,
    *,
    resume: bool = False,
    force: bool = True,
    progress: Progress | None = None,
) -> TrainReport:
    """One training job over the folder's stores."""
    log = SqliteEventLog(settings.events_path, read_only=True)
    view, releases = CatalogView(settings.catalog_path), ReleaseStore(settings.releases_path)
    training = Training(settings, view, log, releases, progress or NoProgress())
    try:
        return training.run(until_us, resume=resume, force=force)
    finally:
        log.close()


def fine_tune(
    settings: Settings, *, resume: bool = False, progress: Progress | None = None
) -> TrainReport:
    """The current release of the folder's stores fine-tuned on everything that came since."""
    log = SqliteEventLog(settings.events_path, read_only=True)
    view, releases = CatalogView(settings.catalog_path), ReleaseStore(settings.releases_path)
    job = FineTuning(settings, view, log, releases, progress or NoProgress())
    try:
        return job.run(None, resume=resume, force=True)
    finally:
        log.close()


def serve_pages(
    settings: Settings, release_id: str, n_pages: int, *, from_us: int, every_us: int = 10_000_000
) -> None:
    """Logs pages of a release for one viewer after the other, each answered by an impression a slot and now and then a click."""
    view, log = CatalogView(settings.catalog_path), SqliteEventLog(settings.events_path)
    state = LmdbState(settings.state_path)
    writer = StateWriter(state, settings.features)
    writer.catch_up(log)
    reader = StateReader(state, view, settings.features)
    parts = Parts(
        view, reader.counters, reader, settings.surfaces, settings.pipeline, settings.filters,
        settings.retrieval,
    )  # fmt: skip
    release = ReleaseParts.load(settings.releases_path / release_id)
    assembled = assemble(parts, release, release_id)
    user_ids = view.users().column("user_id").to_pylist()
    for i in range(n_pages):
        now_us = from_us + i * every_us
        reader.refresh_counters()
        assembled.refresh_lists(now_us)
        request = Request(f"page{i}", user_ids[i % len(user_ids)], "home", 5, now_us, f"s{i}")
        record = assembled.pipeline.recommend(request).record
        events = [
            Event(
                event_id=f"page{i}:{slot}:{kind}", kind=kind, user_id=request.user_id, request_id=f"page{i}",
                session_id=f"s{i}", time_us=now_us + 1 + slot, received_us=now_us + every_us // 2,
                video_id=video_id, item_id=item_id, surface="home", slot=slot,
            )
            for slot, (video_id, item_id) in enumerate(zip(record.video_id, record.item_id))
            for kind in (("impression", "click", "like") if (item_id + i) % 3 == 0 else ("impression",))
        ]  # fmt: skip
        [slate_seq] = log.append([], [record])
        writer.apply([], [msgspec.structs.replace(record, log_seq=slate_seq)], slate_seq)
        numbers = log.append(events)
        stamped = [msgspec.structs.replace(e, log_seq=n) for e, n in zip(events, numbers)]
        writer.apply(stamped, [], numbers[-1])
    state.close()
    log.close()


def release_folder(settings: Settings, report: TrainReport) -> Path:
    """Where a published release lies."""
    assert report.release_id is not None
    return settings.releases_path / report.release_id


def digests(folder: Path) -> dict[str, str]:
    """{file: sha256} of everything that a release serves with."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


class Told:
    """A Progress that notes which tasks began."""

    def __init__(self) -> None:
        self.tasks: list[str] = []

    def start(self, task: str, total: int | None, unit: str) -> None:
        """Notes the task."""
        self.tasks.append(task)

    def advance(self, n: int, **shown: float) -> None:
        """Nothing."""

    def done(self) -> None:
        """Nothing."""


class KillAt(Told):
    """A Progress that kills its own process with SIGKILL when more than a share of a task is done."""

    def __init__(self, task: str, share: float) -> None:
        super().__init__()
        self._task, self._share = task, share
        self._total, self._done = 0, 0

    def start(self, task: str, total: int | None, unit: str) -> None:
        """Begins to count."""
        super().start(task, total, unit)
        self._total, self._done = total or 0, 0

    def advance(self, n: int, **shown: float) -> None:
        """Counts, and ends the process where it was told to."""
        self._done += n
        if self.tasks[-1] == self._task and self._done > self._share * self._total:
            os.kill(os.getpid(), signal.SIGKILL)


def parameters(text: str, **changed: Any) -> str:
    """The settings' text with keys of [learn] added."""
    lines = "\n".join(f"{key} = {value}" for key, value in changed.items())
    return text.replace("[learn]", f"[learn]\n{lines}")


def parts_of(settings: Settings) -> tuple[CatalogView, Parts]:
    """The stores of a trained platform, its state brought up to the log."""
    view = CatalogView(settings.catalog_path)
    past, writer = (
        SqliteEventLog(settings.events_path, read_only=True),
        LmdbState(settings.state_path),
    )
    StateWriter(writer, settings.features).catch_up(past)
    writer.close()
    reader = StateReader(LmdbState(settings.state_path, read_only=True), view, settings.features)
    reader.refresh_counters()
    parts = Parts(
        view, reader.counters, reader, settings.surfaces, settings.pipeline, settings.filters,
        settings.retrieval,
    )  # fmt: skip
    return view, parts


def grow(settings: Settings) -> None:
    """Three videos, five hundred events of known viewers from before UNTIL_US, and a viewer's history."""
    catalog = Catalog(settings.catalog_path)
    videos = CatalogView(settings.catalog_path).table().slice(10, 3)
    ids = pa.array([f"late-{i}" for i in range(3)])
    catalog.put_videos(videos.set_column(videos.schema.names.index("video_id"), "video_id", ids))
    catalog.close()
    late = CatalogView(settings.catalog_path).item_id("late-1")
    writer = SqliteEventLog(settings.events_path)
    more = next(iter(writer.scan())).slice(0, 500)
    ids = pa.array([f"late-{i}" for i in range(len(more))])
    columns = {"event_id": ids, "item_id": pa.array([late] * len(more), pa.int64())}
    more = more.drop_columns(["log_seq", *columns])
    for name, column in columns.items():
        more = more.append_column(name, column)
    writer.import_sealed([more])
    viewer = more.column("user_id")[0].as_py()
    history = {"user_id": [viewer], "position": [0], "video_id": ["late-1"], "item_id": [late]}
    writer.add_histories(pa.table(history))
    writer.close()
