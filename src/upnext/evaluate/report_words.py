"""How a report names rates, and the sentences it makes of differences: only of those whose interval excludes zero."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from upnext.core.types import Estimate
from upnext.evaluate.report_document import Column, Kind, cell_text, excludes_zero

RATE_NAMES: Final[dict[str, tuple[str, Kind]]] = {
    "watch_s_per_viewer_day": ("watch time per viewer-day", "seconds"),
    "completed_per_viewer_day": ("completed videos per viewer-day", "number"),
    "impressions_per_viewer_day": ("impressions per viewer-day", "number"),
    "watch_s_per_impression": ("watch time per impression", "seconds"),
    "ctr_served": ("clicked / recommended", "share"),
    "ctr_seen": ("clicked / seen", "share"),
    "completion_rate": ("completion rate", "share"),
    "relevance_rate": ("relevance rate", "share"),
    "like_rate": ("like rate", "share"),
    "dislike_rate": ("dislike rate", "share"),
    "share_rate": ("share rate", "share"),
    "not_interested_rate": ("not interested rate", "share"),
    "repeat_share": ("repeated slots", "share"),
    "degraded_share": ("degraded slots", "share"),
    "retention_d1": ("back after 1 day", "share"),
    "retention_d7": ("back after 7 days", "share"),
}


def rate_column(rate: str) -> Column:
    """The column of a rate."""
    return Column(*RATE_NAMES[rate])


def rate_name(rate: str) -> str:
    """Its name in a sentence, with a capital."""
    name = RATE_NAMES[rate][0]
    return name[0].upper() + name[1:]


@dataclass(frozen=True, slots=True)
class Difference:
    """One comparison that a report made, and the words for it: subject, verb, amount, "more than ..."."""

    subject: str
    figure: Estimate
    kind: Kind  # "change" or "points"
    higher: tuple[
        str, str
    ]  # verb before the amount, words after it, where the figure is above zero
    lower: tuple[str, str]  # the same, below

    def sentence(self) -> str:
        """ "Completion rate rose 3.1 % [1.0, 5.2] under r2"."""
        is_lower = self.figure.mean < 0
        verb, after = self.lower if is_lower else self.higher
        ends = (self.figure.mean, self.figure.low, self.figure.high)
        mean, low, high = (-ends[0], -ends[2], -ends[1]) if is_lower else ends
        text = cell_text(Estimate(mean, low, high, self.figure.n_effective), self.kind)
        return " ".join(part for part in (self.subject, verb, text.replace("+", ""), after) if part)


def of_groups(subject: str, figure: Estimate, kind: Kind, than: str) -> Difference:
    """A group's rate beside that of the others: "At 14 h, ... is 3.1 % higher than at other hours"."""
    return Difference(subject, figure, kind, ("is", f"higher than {than}"), ("is", f"lower than {than}"))  # fmt: skip


def told(differences: Iterable[Difference]) -> list[Difference]:
    """Those whose interval excludes zero."""
    return [one for one in differences if excludes_zero(one.figure)]


def strongest(differences: Sequence[Difference], n: int) -> list[Difference]:
    """The n that lie furthest from zero in units of their interval, of those whose interval excludes zero."""
    return sorted(told(differences), key=lambda one: -_distance(one.figure))[:n]


def by_chance(differences: Sequence[Difference]) -> str:
    """How many comparisons exclude zero, beside how many would by chance alone; "" where nothing was compared."""
    compared = [one for one in differences if one.figure.verdict == "ok"]
    if not compared:
        return ""
    return (
        f"{len(told(compared))} of {len(compared)} comparisons have an interval that excludes zero; "
        f"about {0.05 * len(compared):.0f} would by chance alone."
    )


def _distance(figure: Estimate) -> float:
    width = figure.high - figure.low
    return abs(figure.mean) / width if width > 0 else float("inf")
