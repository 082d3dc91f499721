"""The stores of a data folder, opened for writing in the intake process."""

from __future__ import annotations

import logging
import shutil
import threading
from dataclasses import dataclass, field

from upnext.catalog import Catalog
from upnext.core.clock import Clock, SystemClock
from upnext.core.errors import Unavailable
from upnext.events.log import SqliteEventLog
from upnext.features.live import StateWriter
from upnext.serve.writers import Writers
from upnext.settings.settings import Settings
from upnext.state.lmdb_state import LmdbState

log = logging.getLogger(__name__)


@dataclass
class OpenStores:
    """The catalogue, the log and the state with the one Writers over them."""

    catalog: Catalog
    log: SqliteEventLog
    state: StateWriter
    store: LmdbState
    writers: Writers
    syncing: threading.Lock = field(default_factory=threading.Lock)
    is_closed: bool = False

    def sync(self) -> None:
        """Brings the log's slates and the state to the disk and shortens the log's WAL; from any thread, beside the writing one.

        The log first: after a power loss a state ahead of its log has to be built anew."""
        with self.syncing:
            if not self.is_closed:
                self.log.checkpoint()
                self.store.sync()

    def is_in_place(self) -> bool:
        """Whether the state's file still stands where workers read it."""
        return self.store.is_in_place()

    def watermark(self) -> int:
        """The log_seq that the state reflects."""
        return self.store.watermark()

    def close(self) -> None:
        """Syncs and closes everything."""
        with self.syncing:
            self.is_closed = True
            self.log.checkpoint()
            self.store.sync()
            self.store.close()
            self.log.close()
            self.catalog.close()


def open_stores(
    settings: Settings, clock: Clock | None = None, *, synced: bool = True
) -> OpenStores:
    """Opens everything, makes what is absent, and brings the state up to the log; a state that can't be read is built anew.

    synced False, for simulations: no commit of the log waits for the disk.
    Raises: Unavailable where the catalogue or the log can't be opened."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    catalog = Catalog(settings.catalog_path)
    event_log = SqliteEventLog(settings.events_path, synced=synced)
    store, state = _state(settings, event_log)
    writers = Writers(catalog, event_log, state, clock or SystemClock())
    return OpenStores(catalog, event_log, state, store, writers)


def _state(settings: Settings, event_log: SqliteEventLog) -> tuple[LmdbState, StateWriter]:
    try:
        return _caught_up(settings, event_log)
    except (Unavailable, ValueError) as error:  # ValueError: bytes that are no viewer
        log.error("state unreadable; building it from the log", extra={"error": str(error)})
        shutil.rmtree(settings.state_path, ignore_errors=True)
        return _caught_up(settings, event_log)


def _caught_up(settings: Settings, event_log: SqliteEventLog) -> tuple[LmdbState, StateWriter]:
    store = LmdbState(settings.state_path)
    state = StateWriter(store, settings.features)
    if (
        store.watermark() > event_log.last_seq()
    ):  # another log's state, or a log restored from a copy
        log.error("state is ahead of the log; building it anew")
        state.rebuild(event_log)
    n_applied = state.catch_up(event_log)
    log.info("state caught up", extra={"n_applied": n_applied, "watermark": store.watermark()})
    return store, state
