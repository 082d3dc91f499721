"""Writes src/upnext/simulate/reference/kuairand_pure.json from KuaiRand-Pure's own files: python benchmarks/kuairand_marginals.py FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl

from upnext.simulate.marginals import REFERENCE, Marginals, Shown, marginals

POOL = 7_583  # videos of video_features_basic_pure.csv
EIGHT_HOURS_US = 8 * 3_600_000_000  # days are Beijing's


def read(folder: Path) -> Marginals:
    """The marginals of the standard log in `folder`, without repeated rows and rows of unknown duration."""
    log = (
        pl.read_parquet(folder / "log_standard_20220425_20220505.parquet")
        .unique(["user_id", "video_id", "time_ms"], keep="first", maintain_order=True)
        .filter(pl.col("duration_ms") > 0)
    )
    _, viewer = np.unique(log["user_id"].to_numpy(), return_inverse=True)
    _, video = np.unique(log["video_id"].to_numpy(), return_inverse=True)
    said = {
        "like": "is_like", "follow": "is_follow", "comment": "is_comment", "share": "is_forward",
        "dislike": "is_hate",
    }  # fmt: skip
    shown = Shown(
        viewer,
        video,
        log["time_ms"].to_numpy().astype(np.int64) * 1_000 + EIGHT_HOURS_US,
        log["duration_ms"].to_numpy() / 1_000,
        log["play_time_ms"].to_numpy() / 1_000,
        {kind: log[column].to_numpy() > 0 for kind, column in said.items()},
        POOL,
    )
    return marginals(shown)


if __name__ == "__main__":
    root = Path(__file__).resolve().parent.parent
    target = root / "src" / "upnext" / "simulate" / "reference" / REFERENCE
    target.write_text(json.dumps(read(Path(sys.argv[1])).to_json(), indent=1) + "\n", "utf-8")
    print(target.relative_to(root))
