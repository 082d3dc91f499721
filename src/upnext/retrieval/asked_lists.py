"""Short lists by country and language, made when first asked for: there are more pairs than a platform has viewers of.

A pair that was asked for before is made with the whole, off the request path; only the first viewer of a pair waits, about a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from upnext.retrieval.short_list import ShortList

Pair = tuple[str, int]  # country in capitals, language code
MOST_PAIRS: Final = 512


class AskedLists:
    """The list of each pair that was asked for. A list that one thread makes another may make too: it is the same."""

    def __init__(self, make: Callable[[str, int], ShortList], before: AskedLists | None) -> None:
        """`before`: those of an earlier making, whose pairs get their lists at once."""
        self._make = make
        self._lists = {pair: make(*pair) for pair in (before.pairs() if before else ())}

    def of(self, country: str, language: int) -> ShortList:
        """The list of a pair."""
        found = self._lists.get((country, language))
        if found is None:
            found = self._make(country, language)
            if len(self._lists) < MOST_PAIRS:
                self._lists[country, language] = found
        return found

    def pairs(self) -> list[Pair]:
        """Those that have a list by now."""
        return list(self._lists)
