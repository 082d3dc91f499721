"""Counters at rest: blocks of 64 videos, and per page of 1024 blocks how many deltas each has taken; countries' shards likewise.

A reader compares the pages with its own and fetches only the blocks that differ: a million videos are 16 pages of 4 KiB.
"""

from __future__ import annotations

from typing import Final

from upnext.core.protocols import StateStore
from upnext.features.counters import PAGE, CounterTable
from upnext.features.country_counts import CountryCounts
from upnext.features.state_keys import (
    COUNTRIES_KEY,
    PAGES_KEY,
    block_key,
    country_key,
    page_key,
    shard_key,
)

_FETCH: Final = 1024  # blocks per read


def counter_writes(table: CounterTable) -> dict[bytes, bytes | None]:
    """What the store lacks of the table since the last call."""
    writes: dict[bytes, bytes | None] = {}
    pages: set[int] = set()
    for block, data in table.take_changed():
        writes[block_key(block)] = data
        pages.add(block // PAGE)
    for page in sorted(pages):
        writes[page_key(page)] = table.versions(page)
    if pages and max(pages) >= table.n_stored_pages:
        table.n_stored_pages = max(pages) + 1
        writes[PAGES_KEY] = table.n_stored_pages.to_bytes(8, "little")
    writes.update(_country_writes(table.countries))
    return writes


def _country_writes(countries: CountryCounts) -> dict[bytes, bytes | None]:
    writes: dict[bytes, bytes | None] = {}
    changed: set[str] = set()
    for country, number, data in countries.take_changed():
        writes[shard_key(country, number)] = data
        changed.add(country)
    for country in sorted(changed):
        writes[country_key(country)] = countries.versions(country)
    if changed:
        writes[COUNTRIES_KEY] = " ".join(countries.names).encode()
    return writes


def refresh_table(table: CounterTable, store: StateStore) -> int:
    """Brings the table up to the store -> how many blocks changed. Raises Unavailable when the store can't answer."""
    (data,) = store.get([PAGES_KEY])
    table.n_stored_pages = int.from_bytes(data, "little") if data is not None else 0
    pages = store.get([page_key(page) for page in range(table.n_stored_pages)])
    n_changed = 0
    for page, versions in enumerate(pages):
        if versions is None:
            continue
        stale = table.stale(page, versions)
        for start in range(0, len(stale), _FETCH):
            blocks = [int(block) for block in stale[start : start + _FETCH]]
            for block, rows in zip(blocks, store.get([block_key(block) for block in blocks])):
                if rows is not None:
                    version = int.from_bytes(versions[4 * (block % PAGE) :][:4], "little")
                    table.load_block(block, rows, version)
        n_changed += len(stale)
    _refresh_countries(table.countries, store)
    return n_changed


def _refresh_countries(countries: CountryCounts, store: StateStore) -> None:
    (data,) = store.get([COUNTRIES_KEY])
    names = data.decode().split() if data else []
    for country, versions in zip(names, store.get([country_key(name) for name in names])):
        if versions is None:
            continue
        stale = countries.stale(country, versions)
        for number, rows in zip(stale, store.get([shard_key(country, n) for n in stale])):
            if rows is not None:
                version = int.from_bytes(versions[4 * number :][:4], "little")
                countries.load(country, number, rows, version)
