"""What a viewer searched for, as hashed uni- and bigrams (Covington et al. 2016, section 3.2)."""

from __future__ import annotations

import re
from itertools import pairwise

from upnext.core.randomness import key_of

_WORD = re.compile(r"\w+")
_POSITIVE = (1 << 63) - 1


def tokens_of(query: str | None) -> list[int]:
    """The 63-bit keys of the words and of the pairs of neighbouring words of a query, lower-cased; empty for none."""
    words = _WORD.findall(query.lower()) if query else []
    pairs = [f"{a} {b}" for a, b in pairwise(words)]
    return [key_of("token", token) & _POSITIVE for token in words + pairs]
