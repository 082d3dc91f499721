"""Which release is current, and which were before: one small file, replaced atomically, so pointer and history never disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

from upnext.core.errors import NotFound, Unavailable

CURRENT: Final = "current.json"


class Promotion(msgspec.Struct, frozen=True):
    """One change of the current release."""

    verb: Literal["promote", "rollback"]
    release_id: str  # current from then on
    time_us: int


class Promotions(msgspec.Struct, frozen=True):
    """All changes so far, oldest first."""

    journal: list[Promotion] = []

    def current(self) -> str | None:
        """The release that is current, None before the first promotion."""
        return self.journal[-1].release_id if self.journal else None

    def promoted(self, release_id: str, time_us: int) -> Promotions:
        """The journal with one more; the same when it is current already."""
        if release_id == self.current():
            return self
        return Promotions([*self.journal, Promotion("promote", release_id, time_us)])

    def standing(self) -> list[str]:
        """The releases whose promotion was not taken back, the current one last: where rollback after rollback leads."""
        stack: list[str] = []
        for entry in self.journal:
            if entry.verb == "promote":
                stack.append(entry.release_id)
            else:
                stack.pop()
        return stack

    def rolled_back(self, time_us: int) -> Promotions:
        """The journal back at the release that was current before. Raises NotFound when none was.

        Each promotion is taken back once: rolling back twice goes two releases back."""
        stack = self.standing()
        if len(stack) < 2:
            raise NotFound(f"no release was current before {self.current() or 'the first one'}")
        return Promotions([*self.journal, Promotion("rollback", stack[-2], time_us)])


def read_promotions(folder: Path) -> Promotions:
    """What the store's file says; nothing promoted without it. Raises Unavailable when it can't be read."""
    file = folder / CURRENT
    try:
        return msgspec.json.decode(file.read_bytes(), type=Promotions)
    except FileNotFoundError:
        return Promotions()
    except (OSError, msgspec.DecodeError) as error:
        raise Unavailable(f"releases {file}: {error}") from error
