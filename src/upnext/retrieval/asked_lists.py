"""Short lists by country and language, made when first asked for: there are more pairs than a platform has viewers of.

The pairs that were asked for most since the last making are made with the whole, off the request path; the first viewer of any other pair waits,
about a millisecond.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from upnext.retrieval.short_list import ShortList

Pair = tuple[str, int]  # country in capitals, language code
N_AHEAD: Final = 64  # pairs made ahead


class AskedLists:
    """The list of each pair that was asked for. A list that one thread makes another may make too: it is the same."""

    def __init__(self, make: Callable[[str, int], ShortList], before: AskedLists | None) -> None:
        """`before`: those of an earlier making; what was asked of it most is made at once."""
        self._make = make
        self._lists = {pair: make(*pair) for pair in (before.wanted() if before else ())}
        self._asked: Counter[Pair] = Counter()

    def of(self, country: str, language: int) -> ShortList:
        """The list of a pair."""
        pair = country, language
        self._asked[pair] += 1
        found = self._lists.get(pair)
        if found is None:
            found = self._lists[pair] = self._make(country, language)
        return found

    def wanted(self) -> list[Pair]:
        """Those asked for most, at most N_AHEAD."""
        return [pair for pair, _ in self._asked.copy().most_common(N_AHEAD)]
