"""`upnext evaluate --upnext`: do up-next lists go with the video being watched, in language and category, source by source?

Each viewer asks at the instant, beside the video that they last found relevant before it, with the state as it was then. A request of
the past does not say what was being watched unless its slate was logged; so this is one question asked of all alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from upnext.catalog.view import CatalogView
from upnext.cli.evaluate_tables import draw
from upnext.cli.opened import readers
from upnext.cli.progress import RichProgress
from upnext.core.columns import VIDEO_STATUSES
from upnext.core.errors import InvalidInput, expected
from upnext.core.randomness import rng_for
from upnext.core.types import Array, Estimate, Int64, Request
from upnext.evaluate.bootstrap import intervals
from upnext.evaluate.consistency import last_relevant, same_code
from upnext.evaluate.figures import figure_text, figures_json
from upnext.evaluate.gather import offline_parts
from upnext.evaluate.offline import PastHydrator, advance, lists_of
from upnext.evaluate.random_lists import random_lists
from upnext.evaluate.split import instant_us
from upnext.features.counters import CounterTable
from upnext.features.replay import PastState
from upnext.features.showings import showings_of
from upnext.pipeline.assemble import assemble
from upnext.pipeline.release_parts import ReleaseParts
from upnext.settings.offline import offline_settings
from upnext.settings.settings import Settings, load

K = 10
SURFACE = "upnext"


@dataclass(frozen=True)
class Watching:
    """u viewers, each beside a video, at an instant."""

    user_id: tuple[str, ...]
    item_id: Int64  # [u]
    at_us: int


def run(
    since: str | None,
    release: str | None,
    users: int,
    config: Path | None,
    as_json: bool,
    out: Console,
    err: Console,
) -> None:
    """Prints the share of each source's, the merged and the ranked list that is like the video being watched."""
    if users < 1:
        raise expected("--users", "at least 1", users)
    settings = load(config)
    if SURFACE not in settings.surfaces:
        raise InvalidInput("evaluate --upnext: the settings have no surface 'upnext'")
    view, log, releases = readers(settings)
    release_id = release or releases.current()
    if release_id is None:
        raise InvalidInput("evaluate: no release yet; run `upnext train` first")
    opened = releases.open(release_id)
    learned_us = int(opened.manifest.data_window.get("until_us", 0))
    at_us = instant_us(since) if since else learned_us
    showings = showings_of(log, view, settings.features)
    last = last_relevant(showings, np.arange(len(showings.user_ids)), at_us)
    rows = np.flatnonzero(last >= 0)
    if not len(rows):
        raise InvalidInput(
            "evaluate --upnext: nobody had found a video relevant before the instant"
        )
    if len(rows) > users:
        rng = rng_for(0, "evaluated-viewers")
        rows = np.sort(rng.choice(rows, users, replace=False))
    watching = Watching(tuple(showings.user_ids[row] for row in rows.tolist()), last[rows], at_us)
    figures = consistency_of(settings, opened.path, watching, err)
    if as_json:
        shown = {name: figures_json(row) for name, row in figures.items()}
        about = {"release_id": release_id, "at_us": at_us, "viewers": len(rows)}
        out.file.write(json.dumps({**about, "lists": shown}) + "\n")
        return
    table = [
        {"list": name, **{key: figure_text(value, 3) for key, value in row.items()}}
        for name, row in figures.items()
    ]
    draw(f"up-next beside the video being watched, {len(rows):,} viewers", table, out)


def consistency_of(
    settings: Settings, release: Path, watching: Watching, err: Console
) -> dict[str, dict[str, Estimate]]:
    """{list: {"same_language@10", "same_category@10"}} of every source, the merged and the ranked list, and of random lists."""
    view, log, _ = readers(settings)
    counters = CounterTable(view.n_items)
    past, progress = PastState(view, counters, settings.features), RichProgress(err)
    advance(past, log, watching.at_us, progress)
    parts = offline_parts(offline_settings(settings), view, counters)
    assembled = assemble(replace(parts, hydrator=PastHydrator(past)), ReleaseParts.load(release))
    assembled.refresh_lists(watching.at_us)
    requests = _requests(watching, view)
    lists = lists_of(assembled, requests, exclude_seen=True, progress=progress)
    is_listable = view.status == VIDEO_STATUSES.index("active")
    lists["random"] = random_lists(is_listable, None, K)(np.arange(len(requests)))
    codes = {"same_language": view.language, "same_category": view.category}
    return {
        name: _intervals(ranked, watching.item_id, codes)
        for name, ranked in lists.items()
        if (ranked[:, 0] >= 0).any()
    }


def _requests(watching: Watching, view: CatalogView) -> list[Request]:
    return [
        Request(
            request_id=f"evaluate-{user_id}",
            user_id=user_id,
            surface=SURFACE,
            size=1,
            time_us=watching.at_us,
            current_video_id=video_id,
        )
        for user_id, video_id in zip(
            watching.user_id, view.video_ids(watching.item_id), strict=True
        )
    ]


def _intervals(ranked: Int64, current: Int64, codes: Mapping[str, Array]) -> dict[str, Estimate]:
    shares = {f"{name}@{K}": same_code(ranked, K, current, code) for name, code in codes.items()}
    return intervals(shares)
