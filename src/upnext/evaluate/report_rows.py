"""Showings with everything a report groups them by: the viewer's clock, who the viewer is, what the video is.

Hours and weekdays are the viewer's (request's time zone, else the profile's, else the country's main one, else UTC). A season is the northern
one, or six months later where the country's main place lies south of the equator: simple, and meaningless in the tropics. How popular a video or
how large a creator is, is counted before the middle of the span and used after it: sizes counted on the showings that they sort would find
differences where none are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from upnext.catalog.view import CatalogView
from upnext.core.columns import VIDEO_STATUSES
from upnext.core.types import Array, Float64
from upnext.evaluate.binary import mass_bins
from upnext.features.local_time import southern_countries, zone_name

UNKNOWN: Final = "unknown"
AGES: Final = ((18, "under 18"), (25, "18-24"), (35, "25-34"), (45, "35-44"), (55, "45-54"))
OLDEST: Final = "55 and over"
WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
SEASONS: Final = ("winter", "spring", "summer", "autumn")
NOT_YET: Final = "none yet"
SIZES: Final = ("small", "medium", "large")
_ACTIVE: Final = VIDEO_STATUSES.index("active")


@dataclass(frozen=True)
class Viewers:
    """What the catalogue says of viewers: user_id, age, gender, language, home (country), home_zone."""

    frame: pl.DataFrame

    @staticmethod
    def of(view: CatalogView) -> Viewers:
        """All of them."""
        users = pl.DataFrame(pl.from_arrow(view.users()))
        age = pl.lit(OLDEST)
        for below, name in reversed(AGES):
            age = pl.when(pl.col("age") < below).then(pl.lit(name)).otherwise(age)
        frame = users.select(
            pl.col("user_id").cast(pl.Categorical),
            age=pl.when(pl.col("age").is_not_null()).then(age),
            gender=pl.col("gender"),
            language=pl.col("language"),
            home=pl.col("country").str.to_uppercase(),
            home_zone=pl.col("time_zone"),
        )
        return Viewers(frame)


@dataclass(frozen=True)
class Items:
    """What is known of n videos: item_id, popularity, creator_size, video_language; and how many active ones are in each group."""

    frame: pl.DataFrame
    n_active: int

    @staticmethod
    def of(view: CatalogView, relevant: Float64, impressions: Float64) -> Items:
        """From counts float64[n_items] of the first half of the span."""
        n = view.n_items
        is_active = view.status[:n] == _ACTIVE
        languages = [view.value_of("language", c) for c in range(view.n_codes("language"))]
        frame = pl.DataFrame(
            {
                "item_id": np.arange(n),
                "popularity": decile_names(relevant),
                "creator_size": creator_sizes(view.creator[:n], impressions),
                "video_language": pl.Series([*languages, UNKNOWN], dtype=pl.String).gather(
                    np.where(view.language[:n] < 0, len(languages), view.language[:n])
                ),
                "is_active": is_active,
            }
        )
        return Items(frame, int(is_active.sum()))

    def sizes(self, key: str) -> dict[str, int]:
        """{group: its active videos}."""
        counts = self.frame.filter("is_active").group_by(key).agg(pl.len())
        return dict(counts.iter_rows())


def decile_names(relevant: Float64) -> list[str]:
    """Per video its decile by a count, "01" (least) to "10", equal counts together; NOT_YET for a count of 0."""
    names = np.full(len(relevant), NOT_YET, object)
    is_some = relevant > 0
    names[is_some] = [f"{b + 1:02d}" for b in mass_bins(relevant[is_some], 10).tolist()]
    return list(names)


def creator_sizes(creator: Array, impressions: Float64) -> list[str]:
    """Per video its creator's third by impressions, of the creators who had any; NOT_YET, and UNKNOWN without a creator."""
    n = int(creator.max(initial=-1)) + 1
    has = creator >= 0
    reached = np.bincount(creator[has], impressions[has], minlength=n)
    size = np.full(n + 1, NOT_YET, object)
    size[-1] = UNKNOWN
    is_some = np.flatnonzero(reached > 0)
    size[is_some] = np.array(SIZES, object)[mass_bins(reached[is_some], 3)]
    return list(size[creator])


def attached(
    outcomes: pl.DataFrame, viewers: Viewers, items: Items, middle_us: int
) -> pl.DataFrame:
    """The showings with hour, weekday, month, season; age, gender, country, language; popularity, creator_size, video_language.

    The first and last two of a video are null before `middle_us` and where there is no video."""
    rows = outcomes.join(viewers.frame, on="user_id", how="left", maintain_order="left")
    rows = rows.with_columns(
        country=pl.coalesce("home", pl.col("country").cast(pl.String).str.to_uppercase()),
        time_zone=pl.coalesce(pl.col("time_zone").cast(pl.String), "home_zone"),
    )
    rows = _with_clock(rows)
    known = [pl.col(k).fill_null(UNKNOWN) for k in ("age", "gender", "country", "language")]
    rows = rows.with_columns(*known)
    described = items.frame.drop("is_active")
    rows = rows.join(described, on="item_id", how="left", maintain_order="left")
    late = pl.col("time_us") >= middle_us
    return rows.with_columns(pl.when(late).then(k).alias(k) for k in ("popularity", "creator_size"))


def _with_clock(rows: pl.DataFrame) -> pl.DataFrame:
    """hour, weekday, month and season by the viewer's wall clock: one conversion per time zone."""
    places = rows.select("time_zone", "country").unique()
    zones = [zone_name(zone, country) for zone, country in places.iter_rows()]
    named = places.with_columns(zone=pl.Series(zones, dtype=pl.String))
    rows = rows.join(named, on=["time_zone", "country"], how="left", nulls_equal=True)
    moment = pl.from_epoch("time_us", time_unit="us").dt.replace_time_zone("UTC")
    parts = [
        part.with_columns(local=moment.dt.convert_time_zone(zone).dt.replace_time_zone(None))
        for (zone,), part in rows.group_by("zone", maintain_order=True)
    ]
    rows = pl.concat(parts) if parts else rows.with_columns(local=pl.lit(None, pl.Datetime("us")))
    local = pl.col("local")
    south = pl.col("country").is_in(sorted(southern_countries())).fill_null(value=False)
    quarter = (local.dt.month() % 12) // 3  # December to February is 0
    season = (quarter + pl.when(south).then(2).otherwise(0)) % 4
    names = dict(enumerate(SEASONS))
    days = dict(enumerate(WEEKDAYS, start=1))
    return rows.with_columns(
        hour=local.dt.hour().cast(pl.String).str.zfill(2),
        weekday=local.dt.weekday().replace_strict(days, return_dtype=pl.String),
        month=local.dt.strftime("%Y-%m"),
        season=season.replace_strict(names, return_dtype=pl.String),
        local_day=local.dt.date(),
    ).drop("zone", "local")
