"""From a mapped row to the events it stands for, their rules, and the ids they get when the file has none.

A derived event_id is the event's time, a BLAKE2b hash of the whole mapped row, and the kind: the same row gives the same ids in
every import, so importing twice adds nothing, and ids sort by time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import polars as pl

from upnext.core.columns import EVENT_KINDS, TARGET_KINDS
from upnext.intake.mapping import TableSpec

ROW: Final = "__row"  # place of the mapped row in its batch
EMIT: Final = "__emit"  # which of the row's events
_OF_A_VIDEO: Final = (
    "impression", "click", "watch", "like", "dislike", "share", "comment", "not_interested",
)  # fmt: skip
_OF_A_TARGET: Final = ("follow", "unfollow", "mute", "more", "less")


def emitted(mapped: pl.DataFrame, spec: TableSpec) -> pl.DataFrame:
    """The events of mapped rows in order of row and emit, with ROW and EMIT; without `emit` a row is one event."""
    rows = mapped.with_row_index(ROW)
    if not spec.emit:
        return rows.with_columns(pl.lit(0, pl.Int32).alias(EMIT))
    parts = []
    for i, emit in enumerate(spec.emit):
        shared = [name for name in spec.columns if name not in emit.columns]
        chosen = rows.filter(pl.col(f"{i}:when")) if emit.when else rows
        parts.append(
            chosen.select(
                pl.col(ROW),
                pl.lit(i, pl.Int32).alias(EMIT),
                pl.lit(emit.kind).alias("kind"),
                *shared,
                *(pl.col(f"{i}:{name}").alias(name) for name in emit.columns),
            )
        )
    return pl.concat(parts, how="diagonal_relaxed").sort(ROW, EMIT)


def broken_events(events: pl.DataFrame, now_us: int) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """Each rule that some event breaks: the column, what is expected, and those events (ROW, got)."""
    rules = _rules(now_us, set(events.columns))
    masks = events.select(bad.fill_null(False).alias(str(i)) for i, (_, _, bad) in enumerate(rules))
    for i, (column, wanted, _) in enumerate(rules):
        mask = masks.get_column(str(i))
        if mask.any():
            got = pl.col(column) if column in events.columns else pl.lit(None)
            yield column, wanted, events.filter(mask).select(ROW, got.alias("got"))


def identified(mapped: pl.DataFrame, events: pl.DataFrame, spec: TableSpec) -> pl.DataFrame:
    """The events with event_id, and where a row gave several, the view_id that they share, unless the file has them."""
    row_ids = _row_ids(mapped)
    at_row = row_ids.gather(events.get_column(ROW))
    added: list[pl.Series | pl.Expr] = []
    if "event_id" not in events.columns:
        kinds = [emit.kind for emit in spec.emit]
        again = [kinds[:i].count(kind) for i, kind in enumerate(kinds)]
        endings = pl.Series([f".{n + 1}" if n else "" for n in again] or [""], dtype=pl.String)
        ending = endings.gather(events.get_column(EMIT))
        added.append((at_row + ":" + events.get_column("kind") + ending).alias("event_id"))
    if spec.emit and "view_id" not in events.columns:
        added.append(at_row.alias("view_id"))
    return events.with_columns(added)


def _row_ids(mapped: pl.DataFrame) -> pl.Series:
    """string[n]: time as 14 hex digits, then 72 bits of the hash of every mapped value that is there."""
    values = [
        pl.lit(f"{name}=") + pl.col(name).cast(pl.String)
        for name in sorted(mapped.columns)
        if not name.endswith(":when")
    ]
    texts = mapped.select(pl.concat_str(values, separator="\x1f", ignore_nulls=True)).to_series()
    hashes = (hashlib.blake2b(t.encode(), digest_size=9).hexdigest() for t in texts)
    times = mapped.get_column("time_us")
    return pl.Series([f"{t:014x}{h}" for t, h in zip(times, hashes)], dtype=pl.String)


def _rules(now_us: int, there: set[str]) -> list[tuple[str, str, pl.Expr]]:
    def column(name: str) -> pl.Expr:
        return pl.col(name) if name in there else pl.lit(None)

    def lacks(name: str) -> pl.Expr:
        return pl.col(name).is_null() | (pl.col(name) == "") if name in there else pl.lit(True)

    def outside(name: str, low: float, high: float) -> pl.Expr:
        return ~pl.col(name).is_between(low, high) if name in there else pl.lit(False)

    kind, time_us = pl.col("kind"), pl.col("time_us")
    no_target = lacks("target_id") | lacks("target_kind")
    rules = [
        ("kind", f"one of {', '.join(EVENT_KINDS)}", kind.is_null() | ~kind.is_in(EVENT_KINDS)),
        ("kind", "no undo: leave out both it and the event it takes back", kind == "undo"),
        ("user_id", "a value", lacks("user_id")),
        ("time_us", "a time", time_us.is_null()),
        ("time_us", "a time after 1970", time_us <= 0),
        ("time_us", "a time that isn't in the future", time_us > now_us),
        ("video_id", "a video", kind.is_in(_OF_A_VIDEO) & lacks("video_id")),
        ("target_id", "a target_kind and target_id, or a video",
         kind.is_in(_OF_A_TARGET) & no_target & lacks("video_id")),
        ("query", "what was searched", (kind == "search") & lacks("query")),
        ("watch_s", "seconds watched", (kind == "watch") & column("watch_s").is_null()),
        ("watch_s", "seconds of 0 or more", outside("watch_s", 0, 1e9)),
        ("duration_s", "seconds above 0", outside("duration_s", 1e-6, 1e9)),
        ("slot", "a place from 0", outside("slot", 0, 1 << 30)),
        ("latitude", "degrees from -90 to 90", outside("latitude", -90, 90)),
        ("longitude", "degrees from -180 to 180", outside("longitude", -180, 180)),
    ]  # fmt: skip
    if "target_kind" in there:
        wanted = f"one of {', '.join(TARGET_KINDS)}"
        rules.append(("target_kind", wanted, ~pl.col("target_kind").is_in(TARGET_KINDS)))
    if "event_id" in there:
        rules.append(("event_id", "a value", lacks("event_id")))
    return rules
