"""The rows of a split as files that any model can learn from, so that lists made elsewhere are judged on the very same rows.

A folder of Parquet, with the platform's own ids and without the truth:

    rows.parquet   user, item, time_us (null: a stored history, in its order), a bool per deed, is_relevant, watch_s, duration_s, surface;
                   by user, oldest first: all that may be learned from
    items.parquet  item, duration_s, is_active: the catalogue that is ranked
    asked.parquet  split (the checksum of the whole split), setting, user, asked_us, seen: whom a list is asked for, and which videos it
                   must leave out (none where nothing is excluded)

A file of lists (given_lists.py) is asked.parquet with `items` in the place of `asked_us` and `seen`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from upnext.catalog.view import CatalogView
from upnext.core.columns import VIDEO_STATUSES
from upnext.core.errors import InvalidInput, Unavailable, expected
from upnext.core.types import Flag
from upnext.evaluate.split import Split
from upnext.evaluate.split_file import split_sha256
from upnext.evaluate.user_items import UserItems
from upnext.evaluate.window import Window
from upnext.features.showings import Showings

SETTINGS: Final = {"seen_excluded": True, "nothing_excluded": False}
_DEEDS: Final = {
    "is_impression": Flag.IMPRESSION,
    "is_relevant": Flag.RELEVANT,
    "is_click": Flag.CLICK,
    "is_watched_half": Flag.WATCHED_HALF,
    "is_completed": Flag.COMPLETED,
    "is_long_view": Flag.LONG_VIEW,
    "is_like": Flag.LIKE,
    "is_dislike": Flag.DISLIKE | Flag.NOT_INTERESTED,
    "is_skipped": Flag.SKIPPED,
    "is_share": Flag.SHARE,
    "is_comment": Flag.COMMENT,
    "is_follow": Flag.FOLLOW,
}


def check_one_list_each(window: Window) -> None:
    """Raises InvalidInput for a split whose lists may know more than its training rows, or that asks a viewer for several."""
    if window.kind == "time" and window.target != "all":
        raise InvalidInput(
            f"rows and lists of others: expected the target all or --split last, got the target {window.target}: "
            "its lists may know the viewer's own window, which is not among the rows"
        )


def write_rows(folder: Path, window: Window, view: CatalogView) -> str:
    """Writes rows.parquet, items.parquet and asked.parquet of all viewers; returns the split's sha256.

    Raises InvalidInput when nothing is left to judge, for such a split as above, or when the folder can't be one."""
    check_one_list_each(window)
    if folder.exists() and not folder.is_dir():
        raise expected("--export-rows", "a folder, or a name that is free", str(folder))
    splits = {name: window.whole_split(exclude_seen=seen) for name, seen in SETTINGS.items()}
    items = pl.DataFrame(pl.from_arrow(view.table(["video_id"])))["video_id"]
    sha256 = split_sha256(window, items)
    is_active = view.status == VIDEO_STATUSES.index("active")
    catalogue = {"item": items, "duration_s": pl.Series(view.duration_s), "is_active": is_active}
    files = {
        "rows": _rows(next(iter(splits.values())).train, items, view),
        "items": pl.DataFrame(catalogue).with_columns(pl.col("duration_s").fill_nan(None)),
        "asked": pl.concat([_asked(name, split, items) for name, split in splits.items()]),
    }
    files["asked"] = files["asked"].select(pl.lit(sha256).alias("split"), pl.all())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, frame in files.items():
            frame.write_parquet(folder / f"{name}.parquet")
    except OSError as error:
        raise Unavailable(f"--export-rows: {folder}: {error.strerror or error}") from error
    return sha256


def _rows(train: Showings, items: pl.Series, view: CatalogView) -> pl.DataFrame:
    surfaces = pl.Series([None, *(moment.surface for moment in train.moments)], dtype=pl.String)
    deeds = {name: (train.flags & np.uint16(bits)) != 0 for name, bits in _DEEDS.items()}
    frame = pl.DataFrame(
        {
            "user": pl.Series(train.user_ids, dtype=pl.String).gather(train.user),
            "item": items.gather(train.item_id),
            "time_us": train.time_us,
            **deeds,
            "watch_s": train.watch_s,
            "duration_s": view.duration_s[train.item_id],
            "surface": surfaces.gather(train.moment + 1),
        }
    )
    time = pl.when(pl.col("time_us") > 0).then("time_us")
    return frame.with_columns(time, pl.col("watch_s", "duration_s").fill_nan(None))


def _asked(setting: str, split: Split, items: pl.Series) -> pl.DataFrame:
    seen = split.seen if split.is_seen_excluded else _nothing(len(split.user))
    offsets = pa.array(seen.indptr, pa.int64())
    left_out = pa.LargeListArray.from_arrays(offsets, items.gather(seen.item_id).to_arrow())
    return pl.DataFrame(
        {
            "setting": pl.repeat(setting, len(split.user), eager=True),
            "user": pl.Series(split.user_ids(), dtype=pl.String),
            "asked_us": split.asked_us,
            "seen": pl.Series(left_out, dtype=pl.List(pl.String)),
        }
    )


def _nothing(n_users: int) -> UserItems:
    return UserItems(np.zeros(n_users + 1, np.int64), np.zeros(0, np.int64))
