"""The merge's weights: one set for all surfaces, and one of its own for each surface whose requests could teach it (learn/blend.py).

blend.json: {"format": 2, "weights": {column: weight}, "surfaces": {surface: {column: weight}}, "n_requests": {surface: those that it was
learned from}}. Releases of before have {column: weight} alone: one set for all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from upnext.core.errors import expected

FORMAT: Final = 2


@dataclass(frozen=True)
class Mixing:
    """Weights by column; a surface that is not among `surfaces` has those of all."""

    weights: Mapping[str, float]
    surfaces: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    n_requests: Mapping[str, int] = field(default_factory=dict)

    def of(self, surface: str) -> Mapping[str, float]:
        """The weights that a surface's candidates are merged by."""
        return self.surfaces.get(surface, self.weights)

    def save(self, folder: Path) -> None:
        """Writes blend.json."""
        folder.mkdir(parents=True, exist_ok=True)
        said = {
            "format": FORMAT,
            "weights": dict(self.weights),
            "surfaces": {name: dict(own) for name, own in self.surfaces.items()},
            "n_requests": dict(self.n_requests),
        }
        (folder / "blend.json").write_text(json.dumps(said, indent=1), "utf-8")

    @staticmethod
    def load(folder: Path) -> Mixing:
        """What save wrote, or the one set of an older release. Raises InvalidInput for a file of another format."""
        path = folder / "blend.json"
        said: Any = json.loads(path.read_text("utf-8"))
        if isinstance(said, dict) and all(isinstance(one, (int, float)) for one in said.values()):
            return Mixing(said)
        if not isinstance(said, dict) or said.get("format") != FORMAT:
            found = said.get("format") if isinstance(said, dict) else type(said).__name__
            raise expected(str(path), f"format {FORMAT}", found)
        return Mixing(said["weights"], said["surfaces"], said["n_requests"])
