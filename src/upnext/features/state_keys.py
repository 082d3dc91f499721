"""The keys of the online state.

user/<user> the viewer; seen/<user>\\0<day> videos seen that day; sess/<user>\\0<session> what a session was served, and
sessions/<user> which sessions are kept; cnt/<block> counters of 64 videos, cntlog/<page> how many deltas each block has taken (so
that a reader fetches what changed, and every key is a function of the log alone), cnt/pages how many such pages there are; first/<item_id> a video's first viewers;
land/<country>/<shard> relevance by video in a country, landlog/<country> how many changes each shard has taken, lands which countries.
"""

from __future__ import annotations

import hashlib
from typing import Final

_MAX_PART: Final = 200  # bytes; LMDB's keys end at 511
PAGES_KEY: Final = b"cnt/pages"
COUNTRIES_KEY: Final = b"lands"


def user_key(user_id: str) -> bytes:
    """Of the viewer's record."""
    return b"user/" + _part(user_id)


def seen_key(user_id: str, day: int) -> bytes:
    """Of the videos a viewer saw on one day since 1970."""
    return b"seen/" + _part(user_id) + b"\0%d" % day


def session_key(user_id: str, session_id: str) -> bytes:
    """Of one session."""
    return b"sess/" + _part(user_id) + b"\0" + _part(session_id)


def sessions_key(user_id: str) -> bytes:
    """Of the list of a viewer's kept sessions."""
    return b"sessions/" + _part(user_id)


def block_key(block: int) -> bytes:
    """Of a block of counters."""
    return b"cnt/%d" % block


def page_key(page: int) -> bytes:
    """Of a page of block versions."""
    return b"cntlog/%d" % page


def first_key(item_id: int) -> bytes:
    """Of a video's first viewers."""
    return b"first/%d" % item_id


def shard_key(country: str, number: int) -> bytes:
    """Of a shard of a country's counts."""
    return b"land/%s/%d" % (country.encode(), number)


def country_key(country: str) -> bytes:
    """Of a country's shard versions."""
    return b"landlog/" + country.encode()


def _part(text: str) -> bytes:
    data = text.encode()
    if len(data) > _MAX_PART or b"\0" in data:
        return b"#" + hashlib.blake2b(data, digest_size=24).hexdigest().encode()
    return data
