"""The gate's second witness: what the candidate would have earned on the pages that the present release served in the window.

The pages, the feedback and the exact propensities are in the log, so this judges the candidate's whole pipeline under the settings of today by
what viewers did, not by whether it lists what they were shown (evaluate/off_policy/release_value.py). It has a veto, and no more:

- refused when the log can answer (at least the first slot of a surface) and the whole 95 % interval of the paired difference in the surface's
  value lies below the margin: the candidate is known to be worse.
- not refused because it may be worse, which is the rule for NDCG@10 and the log losses. Those compare two releases viewer by viewer and are precise;
  the variance of an off-policy estimate grows with how much the candidate differs, so that rule would refuse every real change and
  let through only releases that change nothing.
- "not identifiable" says so in the release's figures and decides nothing: what the log does not know is no evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from upnext.core.types import Estimate
from upnext.evaluate.gather import OfflineSettings
from upnext.evaluate.off_policy.release_report import ReleaseReport, release_report
from upnext.evaluate.off_policy.release_value import HEADLINE, SurfaceValue
from upnext.evaluate.off_policy.report import estimate_json

REWARD: Final = "value"  # by the surface's weights
LEAST_PAGES: Final = 200
LEAST_VIEWERS: Final = 30


@dataclass(frozen=True)
class OffPolicyWord:
    """What the log of slates says of a candidate: why it is refused, and the figures for its manifest."""

    reasons: tuple[str, ...]
    figures: dict[str, Any]


def off_policy_word(
    settings: OfflineSettings,
    candidate: Path,
    present: str,
    window: tuple[int, int],
    *,
    max_pages: int,
    margin: float,
    seed: int,
) -> OffPolicyWord:
    """The word on the release in folder `candidate`, against `present`, on at most `max_pages` of its pages."""
    report = release_report(
        settings, candidate, window, max_pages=max_pages, seed=seed, logged_by=present
    )
    return word_on(report, present, margin)


def word_on(report: ReleaseReport, present: str, margin: float) -> OffPolicyWord:
    """The same of a report."""
    n_pages = sum(value.n_pages for value in report.surfaces.values())
    figures: dict[str, Any] = {"against": present, "n_logged": report.n_logged, "n_pages": n_pages}
    figures["left_out"] = dict(report.left_out)
    figures["surfaces"] = {name: _figures(value) for name, value in report.surfaces.items()}
    reasons = [
        _refusal(name, value)
        for name, value in report.surfaces.items()
        if not _why_silent(value) and _is_worse(value, margin)
    ]
    return OffPolicyWord(tuple(reasons), figures)


def _figures(value: SurfaceValue) -> dict[str, Any]:
    silent = _why_silent(value)
    figures: dict[str, Any] = {
        "verdict": "not identifiable" if silent else "ok",
        "reason": silent or value.reason,
        "depth": value.depth,
        "n_slots": value.n_slots,
        "n_pages": value.n_pages,
    }
    if value.top:
        reward = value.top[REWARD]
        figures["logged"] = estimate_json(reward.logged)
        figures["value"] = estimate_json(reward.estimates[HEADLINE])
        figures["difference"] = estimate_json(reward.differences[HEADLINE])
    return figures


def _why_silent(value: SurfaceValue) -> str:
    """Why nothing is decided on this surface; "" where something is."""
    if value.n_pages < LEAST_PAGES:
        return f"only {value.n_pages} pages, at least {LEAST_PAGES} needed"
    if value.n_viewers < LEAST_VIEWERS:
        return f"only {value.n_viewers} viewers, at least {LEAST_VIEWERS} needed"
    return "" if value.depth else value.reason


def _is_worse(value: SurfaceValue, margin: float) -> bool:
    reward = value.top[REWARD]
    return reward.differences[HEADLINE].high < -margin * abs(reward.logged.mean)


def _refusal(name: str, value: SurfaceValue) -> str:
    reward = value.top[REWARD]
    difference, logged = reward.differences[HEADLINE], reward.logged.mean
    return (
        f"off-policy value on {name}, first {value.depth} of {value.n_slots} slots: "
        f"{_share(difference.mean, logged)} against the pages as served, 95 % interval "
        f"[{_share(difference.low, logged)}, {_share(difference.high, logged)}] of {value.n_pages:,} pages"
    )


def _share(part: float, whole: float) -> str:
    return f"{part / abs(whole):+.2%}" if whole else f"{part:+.4g}"


def told(figures: Mapping[str, Any]) -> str:
    """A manifest's off-policy figures in a few words, for a table of releases."""
    parts = []
    for name, one in figures.get("surfaces", {}).items():
        if one["verdict"] != "ok":
            parts.append(f"{name}: not identifiable")
            continue
        found = Estimate(
            *(one["difference"][key] for key in ("mean", "low", "high", "n_effective"))
        )
        logged = one["logged"]["mean"]
        between = f"[{_share(found.low, logged)}, {_share(found.high, logged)}]"
        slots = f"{one['depth']} of {one['n_slots']} slots"
        parts.append(f"{name}: {_share(found.mean, logged)} {between} ({slots})")
    return "; ".join(parts) or "no pages"
