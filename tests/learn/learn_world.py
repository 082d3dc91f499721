"""Small simulated platforms on disk for the training tests, and a Progress that can be made to fail."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.store import Catalog
from upnext.catalog.view import CatalogView
from upnext.core.clock import DAY_US
from upnext.core.protocols import NoProgress, Progress
from upnext.events.log import SqliteEventLog
from upnext.intake import Stores, import_tables, plan_of
from upnext.learn.train import Training, TrainReport
from upnext.settings.settings import CONFIG_NAME, Settings, load
from upnext.simulate.history import simulate_history
from upnext.simulate.tables import write_tables
from upnext.simulate.world import END_US, World

DAYS = 4
UNTIL_US = END_US - DAY_US  # a day of events lies after it
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
    tables: Mapping[str, pa.Table], root: Path, *, text: str = TINY, before_us: int | None = None
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
