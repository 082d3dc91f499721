"""A training job's folder: stages that are done stay done, so a killed job goes on where it was.

Each stage writes into a folder of its own and leaves a mark when whole. A job is known by what it learns from and how (the log's last
number, the instant, the settings): a folder of another job is never continued.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from upnext.core.errors import InvalidInput

DONE = "done.json"


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
            raise InvalidInput(
                f"train --resume: the job in {folder} learned from another log, instant or settings; "
                "run without --resume"
            )
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
        folder.mkdir(exist_ok=True)
        said = run(folder)
        temporary = mark.with_suffix(".tmp")
        temporary.write_text(json.dumps(dict(said)), "utf-8")
        temporary.replace(mark)
        return said

    def finish(self) -> None:
        """Removes the folder: the release holds what counts."""
        shutil.rmtree(self.folder)
