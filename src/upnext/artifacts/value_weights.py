"""Weights of the value that are in force beside those of the settings: a history in one file, which running servers follow.

weights.json of the data folder: {"format": 1, "changes": [{"time_us", "surface", "weights": {task: weight} or null, "note"}]}, oldest first. A change
says what a surface's weights are from then on, over those of the settings, task by task; null: those of the settings again. Nothing is
taken out, so an old slate can be explained by the weights that made it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from upnext.artifacts.durable_folder import replace_file
from upnext.core.errors import Unavailable

Version = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Change:
    """What a surface's weights are from an instant on."""

    time_us: int
    surface: str
    weights: Mapping[str, float] | None  # None: those of the settings
    note: str = ""


class ValueWeights:
    """Any number of processes read the file; one person changes it at a time, whole."""

    def __init__(self, path: Path) -> None:
        """The file is made with the first change."""
        self.path = path

    def version(self) -> Version:
        """Another one whenever the file is; None without one."""
        try:
            told = self.path.stat()
        except FileNotFoundError:
            return None
        return told.st_ino, told.st_mtime_ns

    def changes(self) -> list[Change]:
        """All of them, oldest first. Raises Unavailable naming the file where it can't be read."""
        try:
            said = json.loads(self.path.read_bytes())["changes"]
            return [Change(**one) for one in said]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"{self.path}: can't be read: {error}") from error

    def at(self, time_us: int | None = None) -> dict[str, Mapping[str, float]]:
        """{surface: its weights over those of the settings} at an instant; None: now. Raises Unavailable."""
        found: dict[str, Mapping[str, float]] = {}
        for one in self.changes():
            if time_us is not None and one.time_us > time_us:
                break
            found[one.surface] = one.weights or {}
        return found

    def add(self, change: Change) -> None:
        """Puts a change in force. Raises Unavailable."""
        changes = [*self.changes(), change]
        data = {"format": 1, "changes": [asdict(one) for one in changes]}
        replace_file(self.path, json.dumps(data, indent=1).encode() + b"\n")
