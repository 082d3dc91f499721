"""Keys of any length in a store that takes 511 bytes: a long key keeps its first 400 and a digest of the whole."""

from __future__ import annotations

import hashlib
from typing import Final

MAX_KEY: Final = 479  # as stored, without the tag byte; LMDB's own limit is 511
PREFIX: Final = 400  # a prefix scan is exact up to this length
RESERVED: Final = b"\x00"  # tag of the store's own entries
_PLAIN: Final = b"\x01"


def stored_key(key: bytes) -> bytes:
    """The key as the store has it: tagged, and shortened where it is longer than MAX_KEY."""
    if len(key) <= MAX_KEY:
        return _PLAIN + key
    return _PLAIN + key[:PREFIX] + b"\xff" + hashlib.blake2b(key, digest_size=32).digest() + _LONG


_LONG: Final = bytes(
    MAX_KEY - PREFIX - 32
)  # pads to one byte over MAX_KEY: no plain key is as long
