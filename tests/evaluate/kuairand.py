"""Split T-A of KuaiRand-Pure as BASELINES.md defines it, by the log's own date, straight from the published columns."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from upnext.core.types import Flag
from upnext.evaluate.split import instant_us
from upnext.evaluate.user_items import UserItems
from upnext.features.showings import Showings

N_VIDEOS = 7_583
N_USERS = 27_285


def log_folder() -> Path | None:
    """The folder of KuaiRand-Pure, None when it is not on this machine."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("UPNEXT_DATA", beside)) / "kuairand-pure"
    return folder if folder.is_dir() else None


def test_window() -> tuple[Showings, UserItems, UserItems, int]:
    """(training showings with histories, relevant pairs of the test days, everything shown before, the instant)."""
    import polars as pl

    folder = log_folder()
    assert folder is not None
    log = pl.read_parquet(folder / "log_standard_20220425_20220505.parquet")
    log = log.unique(["user_id", "video_id", "time_ms"], keep="first", maintain_order=True)
    log = log.filter(pl.col("duration_ms") > 0).with_columns(
        is_relevant=(pl.col("is_like") == 1) | (2 * pl.col("play_time_ms") >= pl.col("duration_ms"))
    )
    early, late = log.filter(pl.col("date") <= 20220503), log.filter(pl.col("date") > 20220503)
    relevant = late.filter("is_relevant")
    truth = UserItems.of_pairs(
        relevant["user_id"].to_numpy(), relevant["video_id"].to_numpy(), N_USERS
    )
    histories = _histories(folder)
    user, item, flags, time_us = (
        np.concatenate([past, now])
        for past, now in zip(
            histories,
            (
                early["user_id"].to_numpy(),
                early["video_id"].to_numpy(),
                np.where(early["is_relevant"].to_numpy(), Flag.RELEVANT, Flag.IMPRESSION),
                early["time_ms"].to_numpy() * 1000,
            ),
            strict=True,
        )
    )
    order = np.lexsort((time_us, user))
    train = Showings(
        user[order], item[order], time_us[order], flags[order].astype(np.uint16),
        np.zeros(len(user), np.float32), np.full(len(user), -1), tuple(map(str, range(N_USERS))), (), {},
    )  # fmt: skip
    seen = UserItems.of_pairs(user, item, N_USERS)
    return train, truth, seen, instant_us("2022-05-04T00:00+08:00")


test_window.__test__ = False  # type: ignore[attr-defined]


def _histories(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    import polars as pl

    table = pl.read_parquet(folder / "user_history_before_20220425_last50.parquet")
    parts = []
    for column, flag in (
        ("watch_seq", Flag.IMPRESSION),
        ("like_seq", Flag.IMPRESSION),
        ("long_watch_seq", Flag.RELEVANT),
    ):
        rows = table.select("user_id", column).explode(column).drop_nulls()
        user, item = rows["user_id"].to_numpy(), rows[column].to_numpy()
        parts.append((user, item, np.full(len(user), flag), np.zeros(len(user), np.int64)))
    user, item, flags, time_us = (np.concatenate(column) for column in zip(*parts, strict=True))
    return user, item, flags, time_us
