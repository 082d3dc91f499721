"""A release judged on the log of slates, as `upnext evaluate --policy` prints it and the gate reads it (docs/evaluate.md)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from upnext.core.types import Estimate
from upnext.evaluate.gather import OfflineSettings
from upnext.evaluate.off_policy.gather_pages import PageTask, gathered_pages, in_window
from upnext.evaluate.off_policy.logged_pages import REWARDS
from upnext.evaluate.off_policy.page_rewards import page_rewards
from upnext.evaluate.off_policy.release_value import (
    ASSUMES,
    HEADLINE,
    LEVEL,
    RewardValue,
    SlotSupport,
    SurfaceValue,
    values_of,
)
from upnext.evaluate.off_policy.report import estimate_json, shown
from upnext.evaluate.off_policy.support import Support

VERSION: Final = 1
MAX_PAGES: Final = 20_000


@dataclass(frozen=True)
class ReleaseReport:
    """What a release would have earned on every surface, and on what pages that rests."""

    surfaces: Mapping[str, SurfaceValue]
    n_logged: int  # pages in the window
    share: float  # of them that were drawn
    logged_by: Mapping[str, int]  # release -> its pages in the window
    left_out: Mapping[str, int]  # why a drawn page was not evaluated -> how many

    def to_json(self) -> dict[str, Any]:
        """Plain values only: numbers that can't be are null."""
        return {
            "version": VERSION,
            "level": LEVEL,
            "assumes": dict(ASSUMES),
            "n_logged": self.n_logged,
            "share": self.share,
            "logged_by": dict(self.logged_by),
            "left_out": dict(self.left_out),
            "surfaces": {name: _surface_json(value) for name, value in self.surfaces.items()},
        }


def release_report(
    settings: OfflineSettings,
    release: Path,
    window: tuple[int, int | None],
    *,
    max_pages: int = MAX_PAGES,
    seed: int = 0,
    logged_by: str | None = None,
) -> ReleaseReport:
    """The release in folder `release`, under these settings, on the pages that were logged in the window [from, until).

    `logged_by`: pages that one release served; None: any. Feedback counts up to the window's end. No pages: no surfaces."""
    log = settings.stores()[1]
    served: Counter[str] = Counter(r.release_id for r in in_window(log, *window, logged_by))
    n_logged = sum(served.values())
    share = min(1.0, max_pages / max(1, n_logged))
    if not n_logged:
        return ReleaseReport({}, 0, share, served, {})
    task = PageTask(settings, release, *window, share, seed, logged_by)
    found = gathered_pages(task, min(n_logged, max_pages))
    weights = {name: surface.weights for name, surface in settings.surfaces.items()}
    rewards = page_rewards(found.pages, log, settings.features, weights, before_us=window[1])
    return ReleaseReport(
        values_of(found.pages, rewards), n_logged, share, served, dict(found.left_out.most_common())
    )


def _surface_json(value: SurfaceValue) -> dict[str, Any]:
    return {
        "verdict": value.verdict,
        "reason": value.reason,
        "depth": value.depth,
        "n_slots": value.n_slots,
        "n_pages": value.n_pages,
        "n_viewers": value.n_viewers,
        "page": {name: _reward_json(reward) for name, reward in value.page.items()},
        "top": {name: _reward_json(reward) for name, reward in value.top.items()},
        "slots": [_slot_json(slot) for slot in value.slots],
    }


def _reward_json(reward: RewardValue) -> dict[str, Any]:
    return {
        "logged": estimate_json(reward.logged),
        "estimates": {name: estimate_json(e) for name, e in reward.estimates.items()},
        "differences": {name: estimate_json(e) for name, e in reward.differences.items()},
    }


def _slot_json(slot: SlotSupport) -> dict[str, Any]:
    return {
        "slot": slot.slot,
        "n_pages": slot.n_pages,
        "cascade": _support_json(slot.cascade),
        "own": _support_json(slot.own),
        "outside": _finite(slot.cascade.never_logged),
    }


def _support_json(support: Support) -> dict[str, Any]:
    return {
        "mean_weight": _finite(support.mean_weight),
        "standard_error": _finite(support.standard_error),
        "n_effective": support.n_effective,
        "reason": support.reason,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def reward_rows(value: SurfaceValue) -> list[dict[str, str]]:
    """One row of text per reward, of the slots that the log can answer for; of the whole page where there are none."""
    slots = value.top or value.page
    rows = []
    for name in REWARDS:
        reward = slots[name]
        row = {"per page": name, "as logged": _with_interval(reward.logged)}
        row[HEADLINE] = _with_interval(reward.estimates[HEADLINE])
        row["less logged"] = _with_interval(reward.differences[HEADLINE])
        row |= {e: shown(reward.estimates[e].mean) for e in ASSUMES if e != HEADLINE}
        row["verdict"] = reward.estimates[HEADLINE].verdict
        rows.append(row)
    return rows


def slot_rows(value: SurfaceValue, at_most: int = 12) -> list[dict[str, str]]:
    """One row of text per slot: the first few, and the first that the log can't answer for."""
    rows = []
    for slot in value.slots[: max(at_most, value.depth + 1)]:
        outside = slot.cascade.never_logged
        rows.append({
            "slot": str(slot.slot + 1),
            "pages": f"{slot.n_pages:,}",
            "E[w] down to it": _weight(slot.cascade),
            "effective pages": f"{slot.cascade.n_effective:,.0f}",
            "E[w] of it alone": _weight(slot.own),
            "effective, alone": f"{slot.own.n_effective:,.0f}",
            "outside the logged candidates": "?" if math.isnan(outside) else f"{outside:.1%}",
        })  # fmt: skip
    return rows


def verdict_line(name: str, value: SurfaceValue) -> str:
    """The verdict on a surface in one sentence."""
    if not value.reason:
        return f"{name}: ok, all {value.n_slots} slots"
    if not value.depth:
        return (
            f"{name}: not identifiable ({value.reason}); the figures above are not to be believed"
        )
    return (
        f"{name}: not identifiable as a whole; the figures are of the first {value.depth} of "
        f"{value.n_slots} slots ({value.reason})"
    )


def _weight(support: Support) -> str:
    return f"{support.mean_weight:.3f} ± {support.standard_error:.3f}"


def _with_interval(value: Estimate) -> str:
    return f"{shown(value.mean)} [{shown(value.low)}, {shown(value.high)}]"
