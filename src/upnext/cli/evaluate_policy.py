"""`upnext evaluate --policy RELEASE --log slates`: what a release would have earned on the pages that were served."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from upnext.artifacts.releases import ReleaseStore
from upnext.cli.opened import readers
from upnext.core.errors import InvalidInput, expected
from upnext.evaluate.off_policy.release_report import (
    ReleaseReport,
    release_report,
    reward_rows,
    slot_rows,
    verdict_line,
)
from upnext.evaluate.off_policy.release_value import ASSUMES
from upnext.evaluate.split import instant_us
from upnext.settings.offline import offline_settings
from upnext.settings.settings import load

SLATES: Final = "slates"  # the one log that knows every propensity of ours


def run(
    policy: str,
    log: Path | None,
    since: str | None,
    until: str | None,
    pages: int,
    config: Path | None,
    as_json: bool,
    out: Console,
    err: Console,
) -> None:
    """Replays logged pages through the release and prints what it would have earned, with intervals and verdicts."""
    began = time.monotonic()
    if log not in (None, Path(SLATES)):
        raise InvalidInput(
            f"--policy asks about a release of ours: expected --log {SLATES}, got {str(log)!r}; "
            "a mapping file names its target policy itself"
        )
    if pages < 1:
        raise expected("--pages", "at least 1", pages)
    settings = load(config)
    readers(settings)
    release_id, folder, learned_until_us = _release(ReleaseStore(settings.releases_path), policy)
    from_us = instant_us(since) if since else learned_until_us
    until_us = instant_us(until) if until else None
    if from_us < learned_until_us:
        err.print(
            "warning: the release learned from feedback after this instant; its estimate is too good",
            style="yellow",
        )
    err.print(f"replaying logged pages through release {release_id}", highlight=False)
    report = release_report(
        offline_settings(settings), folder, (from_us, until_us), max_pages=pages
    )
    if not report.n_logged:
        raise InvalidInput(
            f"evaluate: no page was logged {_window_words(since, until, release_id)}"
        )
    if as_json:
        about = {
            "release_id": release_id,
            "from_us": from_us,
            "until_us": until_us,
            "seconds": round(time.monotonic() - began, 1),
        }
        out.file.write(json.dumps({"about": about, **report.to_json()}) + "\n")
        return
    _draw(release_id, report, out)


def _release(releases: ReleaseStore, policy: str) -> tuple[str, Path, int]:
    """(id, folder, where its data end) of "current", "new" (the newest) or an id."""
    release_id: str | None = policy
    if policy == "current":
        release_id = releases.current()
    elif policy == "new":
        known = releases.list()
        release_id = known[-1].release_id if known else None
    if release_id is None:
        raise InvalidInput("evaluate: no release yet; run `upnext train` first")
    opened = releases.open(release_id)
    return release_id, opened.path, int(opened.manifest.data_window.get("until_us", 0))


def _window_words(since: str | None, until: str | None, release_id: str) -> str:
    if since or until:
        return "in this window"
    return (
        f"after release {release_id} learned; --from an earlier instant judges it on what it "
        "learned from, and the gate's word on it is in `upnext release list`"
    )


def _draw(release_id: str, report: ReleaseReport, out: Console) -> None:
    for name, value in report.surfaces.items():
        about = f"{name}: {value.n_pages:,} pages of {value.n_viewers:,} viewers"
        if value.top and value.reason:
            about += f", first {value.depth} of {value.n_slots} slots"
        _table(f"release {release_id} on {about}", reward_rows(value), out)
        _table(f"support on {name}", slot_rows(value), out)
        out.print(escape(verdict_line(name, value)), highlight=False)
    if not report.surfaces:
        out.print("not identifiable: no logged page can be evaluated", highlight=False)
    for name, words in ASSUMES.items():
        out.print(f"{name}: assumes that {words}", highlight=False)
    served = ", ".join(f"{release} {n:,}" for release, n in report.logged_by.items())
    drawn = "" if report.share == 1 else f", of which {report.share:.1%} were drawn"
    out.print(f"{report.n_logged:,} pages logged, by release {served}{drawn}", highlight=False)
    for why, n in report.left_out.items():
        out.print(f"left out: {n:,} pages: {why}", highlight=False)


def _table(title: str, rows: list[dict[str, str]], out: Console) -> None:
    table = Table(*map(escape, rows[0]), title=escape(title))
    for row in rows:
        table.add_row(*map(escape, row.values()))
    out.print(table)
