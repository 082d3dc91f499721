"""What every slot of logged pages came to: clicks, relevance, seconds watched, likes, and the surface's value of them.

Feedback joins its slot by request_id and video; what came without a request_id joins the viewer's latest page with that video in the 24 hours
before. A slot that nothing is known of earned nothing: it was served, and seeing it was up to its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl

from upnext.core.clock import HOUR_US
from upnext.core.types import Float64
from upnext.evaluate.off_policy.logged_pages import REWARDS, Pages, rewards_of
from upnext.features.config import FeaturesConfig
from upnext.features.event_rows import ReadLog
from upnext.features.feedback_join import join_feedback
from upnext.features.labels import LABELS, has_long_view, labels_from
from upnext.features.past_events import events_by_time

_JOIN_WITHIN_US: Final = 24 * HOUR_US


def page_rewards(
    pages: Pages,
    log: ReadLog,
    config: FeaturesConfig,
    weights: Mapping[str, Mapping[str, float]],
    *,
    before_us: int | None = None,
) -> Float64:
    """float64[n, k, m]: REWARDS of every slot, by all feedback before `before_us`; `weights`: {surface: {task: weight}}."""
    n, k = pages.item_id.shape
    result = np.zeros((n, k, len(REWARDS)))
    if not n:
        return result
    labels = _labels(pages, log, config, before_us)
    page, slot = np.nonzero(pages.item_id >= 0)
    slots = pl.DataFrame(
        {
            "row": np.arange(len(page)),
            "request_id": np.array(pages.request_id, dtype=object)[page],
            "user_id": np.array(pages.user_id, dtype=object)[page],
            "item_id": pages.item_id[page, slot],
            "time_us": pages.time_us[page],
        },
        schema_overrides={"request_id": pl.String, "user_id": pl.String},
    )
    found = pl.concat([_by_request(slots, labels), _by_viewer(slots, labels)])
    found = found.group_by("row").agg(pl.col(LABELS).max())
    columns = {name: _column(found, name, len(slots)) for name in LABELS}
    columns["relevant_shown"] = columns["relevant"]
    surface = np.array(pages.surface, dtype=object)[page]
    for name in sorted(set(pages.surface)):
        mine = surface == name
        part = {task: column[mine] for task, column in columns.items()}
        earned = rewards_of(part, weights.get(name, {}), int(mine.sum()))
        result[page[mine], slot[mine]] = earned
    return result


def _labels(
    pages: Pages, log: ReadLog, config: FeaturesConfig, before_us: int | None
) -> pl.DataFrame:
    """request_id, user_id, item_id, time_us and LABELS of every showing of the pages' viewers from the first page on."""
    events = events_by_time(log, before_us)
    viewers = pl.Series(sorted(set(pages.user_id)), dtype=pl.String)
    is_theirs = pl.col("user_id").cast(pl.String).is_in(viewers.implode())
    events = events.filter((pl.col("time_us") >= int(pages.time_us.min())) & is_theirs)
    joined = join_feedback(events, None, config)
    context = events.select("request_id")[joined.event].cast(pl.String)
    labels = labels_from(joined.flags, joined.watch_s, has_long_view=has_long_view(events))
    showings = pl.DataFrame(
        {
            "user_id": np.array(joined.user_ids, dtype=object)[joined.user],
            "item_id": joined.item_id,
            "time_us": joined.time_us,
            **{name: np.nan_to_num(label) for name, label in labels.items()},
        },
        schema_overrides={"user_id": pl.String},
    )
    return pl.concat([showings, context], how="horizontal")


def _by_request(slots: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    named = labels.filter(pl.col("request_id").is_not_null())
    key = ["request_id", "user_id", "item_id"]
    return slots.select("row", *key).join(named, on=key).select("row", *LABELS)


def _by_viewer(slots: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    nameless = labels.filter(pl.col("request_id").is_null()).sort("time_us")
    known = slots.select("row", "user_id", "item_id", "time_us").sort("time_us")
    joined = nameless.join_asof(
        known,
        on="time_us",
        by=["user_id", "item_id"],
        tolerance=_JOIN_WITHIN_US,
        check_sortedness=False,
    )
    return joined.filter(pl.col("row").is_not_null()).select("row", *LABELS)


def _column(found: pl.DataFrame, name: str, n: int) -> Float64:
    column = np.zeros(n)
    column[found.get_column("row").to_numpy()] = found.get_column(name).to_numpy()
    return column
