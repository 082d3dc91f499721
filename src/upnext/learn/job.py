"""A training job's folder: stages that are done stay done, so a killed job goes on where it was.

Each stage writes into a folder of its own and leaves a mark when whole. A job is known by what it learns from and how (where log and
catalogue ended when it began, the instant, the settings): a folder of another job is never continued. What came to the log and the
catalogue since is left to the next job.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from upnext.catalog.view import CatalogView
from upnext.core.errors import InvalidInput
from upnext.events.log import SqliteEventLog
from upnext.events.past_log import LogEnd

DONE = "done.json"


@dataclass(frozen=True, slots=True)
class Began:
    """Where the stores ended when a job began: all that it will see of them."""

    log_seq: int
    n_histories: int
    n_videos: int
    change_seq: int  # the catalogue's

    @property
    def log_end(self) -> LogEnd:
        """The log's part."""
        return LogEnd(self.log_seq, self.n_histories)

    @staticmethod
    def now(log: SqliteEventLog, view: CatalogView) -> Began:
        """Where they end now. The log is asked first: its events' videos are then in the catalogue."""
        log_seq, n_histories = log.last_seq(), log.n_histories()
        view.refresh()
        return Began(log_seq, n_histories, view.n_items, view.change_seq)

    @staticmethod
    def of_job(folder: Path, log: SqliteEventLog) -> Began:
        """Where they ended when the job in this folder began. Raises InvalidInput when there is none, or when `log` is shorter now."""
        path = folder / "job.json"
        if not path.exists():
            raise InvalidInput(f"train --resume: no job in {folder}")
        known = json.loads(path.read_text("utf-8"))
        began = Began(**{field.name: int(known.get(field.name, 0)) for field in fields(Began)})
        if began.log_seq > log.last_seq():
            raise another_job(folder)
        return began

    def to_json(self) -> dict[str, int]:
        """Plain values."""
        return asdict(self)


class Job:
    """One training job on disk."""

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
        """Without `resume`, or with another job's folder, starts anew. Raises InvalidInput when there is nothing to resume."""
        self.folder = folder
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        path = folder / "job.json"
        known = json.loads(path.read_text("utf-8"))["digest"] if path.exists() else None
        if resume and known is None:
            raise InvalidInput(f"train --resume: no job in {folder}")
        if resume and known != digest:
            raise another_job(folder)
        if not resume and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"digest": digest, **identity}, indent=1), "utf-8")
        self.resumed = resume

    def stage(self, name: str, run: Callable[[Path], Mapping[str, Any]]) -> Mapping[str, Any]:
        """What `run(folder)` says; a stage that was whole before is not run again.

        A stage that was cut off runs again in its folder, where its own checkpoints lie."""
        folder = self.folder / name
        mark = folder / DONE
        if mark.exists():
            said: Mapping[str, Any] = json.loads(mark.read_text("utf-8"))
            return said
        folder.mkdir(parents=True, exist_ok=True)
        said = run(folder)
        temporary = mark.with_suffix(".tmp")
        temporary.write_text(json.dumps(dict(said)), "utf-8")
        temporary.replace(mark)
        return said

    def finish(self) -> None:
        """Removes the folder: the release holds what counts."""
        shutil.rmtree(self.folder)


def another_job(folder: Path) -> InvalidInput:
    """The error for a folder whose job is not the one to resume."""
    return InvalidInput(
        f"train --resume: the job in {folder} learned from another log, instant or settings; "
        "run without --resume"
    )
