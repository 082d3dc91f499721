"""Ids that sort by the time they were made (UUID version 7, RFC 9562): unique indexes over them grow at their end."""

from __future__ import annotations

import os
import time


def time_ordered_id() -> bytes:
    """32 hex digits as ASCII bytes: 48 bits of Unix milliseconds, then version, variant and 74 random bits."""
    tail = int.from_bytes(os.urandom(10), "big")
    tail = (tail & ~(0xF << 76)) | (0x7 << 76)
    tail = (tail & ~(0x3 << 62)) | (0x2 << 62)
    return b"%012x%020x" % (time.time_ns() // 1_000_000, tail)
