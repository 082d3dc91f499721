"""What is to be known of a log before any figure from it is believed: each finding with what is normal and a verdict.

Most published splits have one of these faults: order that carries nothing (ratings entered in one sitting: Klenitskiy et al. 2024), equal times,
the same request on both sides of the instant, videos before their upload, repeats, days without data. A warning is no failure: it says
which figure not to lean on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from upnext.core.clock import DAY_US, HOUR_US
from upnext.core.types import Array, Estimate, Flag, Int64
from upnext.evaluate.figures import figure_json, figure_text, point
from upnext.evaluate.sequentiality import order_lost
from upnext.evaluate.user_items import UserItems
from upnext.features.showings import Showings

Verdict = Literal["ok", "warn", "note"]
NOT_SEEN = "can't be seen from a log: features of videos or viewers that were averaged over the test period before they were imported"


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure of the audit; "note" where no value is wrong in itself."""

    name: str
    figure: Estimate
    normal: str
    verdict: Verdict
    says: str = ""

    def to_json(self) -> dict[str, object]:
        """figure_json with "normal" and "says"; "verdict" is the audit's."""
        return {
            **figure_json(self.figure),
            "normal": self.normal,
            "verdict": self.verdict,
            "says": self.says,
        }


def audit(
    showings: Showings,
    events: pl.DataFrame,
    uploaded_us: Int64,
    from_us: int,
    until_us: int | None = None,
    learned_until_us: int | None = None,
) -> list[Finding]:
    """The findings on a log and the split at from_us.

    events: columns user_id, item_id, kind, time_us, request_id and, where the log keeps it, event_id; uploaded_us int64[n_items], 0
    missing; learned_until_us: where the judged release's data end. Showings without a time (stored histories) count only for order."""
    shown = events.filter(pl.col("kind").cast(pl.String) == "impression")
    return [
        _order(showings),
        *_ties(shown),
        *_duplicates(shown, events),
        *_leakage(showings, events, uploaded_us, from_us, learned_until_us),
        *_time(showings.time_us[showings.time_us > 0], from_us),
        *_sparsity(showings, from_us, until_us),
    ]


def audit_json(findings: Sequence[Finding]) -> dict[str, object]:
    """{"findings": {name: ...}, "n_warnings", "not_seen"}, plain values."""
    return {
        "findings": {finding.name: finding.to_json() for finding in findings},
        "n_warnings": sum(finding.verdict == "warn" for finding in findings),
        "not_seen": NOT_SEEN,
    }


def audit_rows(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """A table's rows: figure, value, normal, verdict, what it means."""
    return [
        {
            "finding": finding.name,
            "value": figure_text(finding.figure),
            "normal": finding.normal,
            "verdict": finding.verdict,
            "says": finding.says,
        }
        for finding in findings
    ]


def _order(showings: Showings) -> Finding:
    # histories have an order and no times: each of their rows is a moment of its own
    is_new = (np.diff(showings.time_us, prepend=0) != 0) | (showings.time_us == 0)
    lost = order_lost(showings.user, showings.item_id, np.cumsum(is_new))
    if lost.verdict != "ok":
        says = "too few steps from one video to the next are shared by viewers: nothing can be said"
        return Finding("order_lost", lost, "above 0.10", "note", says)
    if lost.low > 0 and lost.mean > 0.1:
        says = "order says what comes next"
        return Finding("order_lost", lost, "above 0.10", "ok", says)
    says = "order says little: next-item figures measure taste and popularity"
    return Finding("order_lost", lost, "above 0.10", "warn", says)


def _ties(shown: pl.DataFrame) -> list[Finding]:
    same = pl.len().over("user_id", "time_us") > 1
    pages = pl.col("request_id").n_unique().over("user_id", "time_us")
    told = shown.select(
        is_paged=same & (pages == 1) & pl.col("request_id").is_not_null(),
        is_tied=same & ((pages > 1) | pl.col("request_id").is_null()),
        is_last=pl.col("time_us") == pl.col("time_us").max().over("user_id"),
    )
    tied, last = told["is_tied"].to_numpy(), told["is_last"].to_numpy()
    return [
        _share(
            "tied_showings", tied, 0.05,
            "showings share viewer and time with one of another page", "their order is made up",
        ),
        _share(
            "tied_last", tied[last], 0.05,
            "latest showings share their time", "leave-last-out takes one of several at random",
        ),
        _share("tied_on_pages", told["is_paged"].to_numpy(), 1.0, "showings share their page's time", ""),
    ]  # fmt: skip


def _duplicates(shown: pl.DataFrame, events: pl.DataFrame) -> list[Finding]:
    n_same = len(shown) - shown.select("user_id", "item_id", "time_us").n_unique()
    found = [
        _part(
            "repeated_showings", n_same, len(shown), 0.001,
            "showings repeat viewer, video and time", "they count twice in popularity and training",
        )
    ]  # fmt: skip
    if "event_id" in events.columns:
        n_ids = len(events) - events["event_id"].n_unique()
        found.append(
            _part(
                "repeated_event_ids",
                n_ids,
                len(events),
                0.0,
                "events repeat an id",
                "the log is damaged",
            )
        )
    return found


def _leakage(
    showings: Showings,
    events: pl.DataFrame,
    uploaded_us: Int64,
    from_us: int,
    learned_until_us: int | None,
) -> list[Finding]:
    uploaded = uploaded_us[showings.item_id]
    is_known = (uploaded > 0) & (showings.time_us > 0)
    is_early = showings.time_us[is_known] < uploaded[is_known]
    of_requests = events.filter(pl.col("request_id").is_not_null())
    begun = pl.col("time_us").min().over("request_id") < from_us
    late = of_requests.select(begun=begun, is_late=pl.col("time_us") >= from_us).filter("is_late")
    found = [
        _share(
            "shown_before_upload", is_early, 0.001,
            "showings are before their video's upload", "upload times are wrong, or of a later version",
        ),
        _share(
            "request_on_both_sides", late["begun"].to_numpy(), 0.01,
            "events of the window belong to a request from before it", "training has seen part of the answer",
        ),
    ]  # fmt: skip
    if learned_until_us is not None:
        times = events.filter(pl.col("time_us") >= from_us)["time_us"].to_numpy()
        found.append(
            _share(
                "learned_after_instant", times < learned_until_us, 0.0,
                "events of the window are before the end of the release's data", "it has learned what it is judged on",
            )
        )  # fmt: skip
    return found


def _time(time_us: Int64, from_us: int) -> list[Finding]:
    if not len(time_us):
        says = "no showing has a time: a split in time is not possible"
        return [Finding("days", point(0.0, 0), "", "warn", says)]
    ordered = np.sort(time_us)
    days = np.unique(ordered // DAY_US)
    span, n = int(days[-1] - days[0]) + 1, len(ordered)
    gap_h = float(np.diff(ordered).max(initial=0)) / HOUR_US
    after = float((ordered >= from_us).mean())
    is_usual = 0.01 <= after <= 0.3
    says = "showings are in the window or after it"
    if not is_usual:
        says += ": figures are noise" if after < 0.01 else ": little is left to learn from"
    return [
        Finding("days", point(float(span), n), "", "note", f"from {_minute(ordered[0])} to {_minute(ordered[-1])}, UTC"),
        _part("days_without_data", span - len(days), span, 0.0, "days in between have no showing", "windows by days miss some"),
        Finding("largest_gap_h", point(gap_h, n), "below 24", "ok" if gap_h < 24 else "warn", "hours without any showing"),
        Finding("share_after_instant", point(after, n), "0.01 to 0.3", "ok" if is_usual else "warn", says),
    ]  # fmt: skip


def _sparsity(showings: Showings, from_us: int, until_us: int | None) -> list[Finding]:
    n_users = len(showings.user_ids)
    of_user = np.bincount(showings.user, minlength=n_users)
    of_item = np.bincount(showings.item_id)
    before = showings.time_us < from_us
    late = ~before & ((showings.flags & np.uint16(Flag.RELEVANT)) != 0)
    if until_us is not None:
        late &= showings.time_us < until_us
    truth = UserItems.of_pairs(showings.user[late], showings.item_id[late], n_users)
    has_past = np.bincount(showings.user[before], minlength=n_users) > 0
    was_shown = np.bincount(showings.item_id[before], minlength=len(of_item)) > 0
    return [
        _share(
            "viewers_with_one_showing", of_user[of_user > 0] == 1, 0.3,
            "viewers were shown one video", "little is known of those who are judged",
        ),
        _share(
            "videos_with_one_showing", of_item[of_item > 0] == 1, 0.5,
            "videos were shown once", "co-watching can't place them",
        ),
        _share(
            "cold_viewers", ~has_past[truth.counts() > 0], 0.3,
            "viewers with truth have no past", "read the segment viewer=new beside the whole",
        ),
        _share(
            "cold_pairs", ~was_shown[truth.item_id], 0.3,
            "relevant pairs are of videos never shown before", "read the segment video=never_shown beside the whole",
        ),
    ]  # fmt: skip


def _share(name: str, is_so: Array, most: float, what: str, then: str) -> Finding:
    return _part(name, int(np.count_nonzero(is_so)), len(is_so), most, what, then)


def _part(name: str, count: int, of: int, most: float, what: str, then: str) -> Finding:
    """A share of `of`; a warning above `most` says what follows. most = 1: nothing is wrong with any value."""
    share = count / of if of else math.nan
    says = f"{count:,} of {of:,} {what}"
    if not of or most >= 1:
        return Finding(name, point(share, of), "", "note", says)
    verdict: Verdict = "ok" if share <= most else "warn"
    says += f": {then}" if verdict == "warn" else ""
    return Finding(name, point(share, of), f"at most {most:g}", verdict, says)


def _minute(time_us: np.int64) -> str:
    return str(np.datetime64(int(time_us), "us").astype("datetime64[m]"))
