"""The creators' side of a two-sided experiment: what `upnext experiment start` and `report` say of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from upnext.catalog.view import CatalogView
from upnext.core.columns import VIDEO_STATUSES
from upnext.core.errors import InvalidInput
from upnext.core.types import Estimate
from upnext.evaluate.experiments.corpora import NOBODY, CorpusSize, Uploaded
from upnext.evaluate.experiments.creators import MIN_VIEWERS, CreatorFigure, CreatorsReport
from upnext.evaluate.experiments.decisions import SRM_ALARM
from upnext.evaluate.experiments.definition import Experiment
from upnext.settings.settings import Settings

_ACTIVE: Final = VIDEO_STATUSES.index("active")
_MIND: Final = (
    "viewers' figures and guardrails above are of these creators: which ones fell into which arm is chance, and their intervals don't"
    " hold it; with few creators an arm may have better videos by luck. An A/A test tells how much"
)
_WHY_NOT: Final = (
    "a test of creators alone (some treated, before all viewers) would be wrong: each view that a treated creator wins is lost by"
    " another, most of all by the control's, and their difference counts it twice. Here an arm's creators share that arm's viewers"
    " alone (docs/creators.md)"
)


def uploaded_of(settings: Settings) -> Uploaded:
    """The catalogue's creators and videos. Raises InvalidInput without a catalogue."""
    if not settings.catalog_path.exists():
        raise InvalidInput(f"no catalogue in {settings.folder}: run `upnext import` first")
    with closing(CatalogView(settings.catalog_path)) as view:
        return Uploaded(
            creator_ids=view.values_from("creator", 0),
            creator=view.creator,
            uploaded_us=view.uploaded_us,
            is_active=np.asarray(view.status == _ACTIVE),
        )


def corpus_lines(experiment: Experiment, sizes: Sequence[CorpusSize], n_ranked: int) -> list[str]:
    """What viewers can choose from, and what to mind."""
    lines = [f"corpora: {_corpora(sizes)}"]
    has_others = not experiment.allocation().owned.all()
    small = [one for one in sizes if one.n_videos < n_ranked and (one.arm != NOBODY or has_others)]
    if small:
        lines.append(
            f"note: {', '.join(one.arm for one in small)}: fewer videos than a page is ranked from ({n_ranked:,}); viewers will see"
            " all of them soon"
        )
    if not has_others and sizes[-1].n_videos:
        lines.append(
            f"note: {sizes[-1].n_videos:,} videos are of no arm (they name no creator), and every viewer is in one: nobody sees them until the stop"
        )
    return lines


def draw_creators(experiment: Experiment, report: CreatorsReport, out: Console) -> None:
    """Prints the creators' side."""
    out.print(f"corpora: {_corpora(report.corpora)}", highlight=False)
    across = report.n_across / max(1, report.n_slots)
    out.print(
        f"slots since the start: {report.n_slots:,}, across arms {report.n_across:,} ({across:.2%}): pages drawn before servers followed",
        highlight=False,
    )
    counts = ", ".join(
        f"{arm} {report.n_creators[arm]:,} ({report.n_joined[arm]:,} joined since)"
        for arm in experiment.arms
    )
    alarm = "ALARM" if report.sample_ratio_p < SRM_ALARM else "as chance gives"
    out.print(
        f"creators: {counts}; sample ratio p = {report.sample_ratio_p:.3g}, {alarm}",
        highlight=False,
    )
    attention = ", ".join(f"{arm} {n:.3g}" for arm, n in report.attention.items())
    out.print(
        f"viewers a creator: {attention}; what viewers give is at equal attention below",
        highlight=False,
    )
    out.print(_table(experiment, report.figures))
    for line in (*_findings(experiment, report.figures), _cost_line(report), _MIND, _WHY_NOT):
        out.print(line, highlight=False)


def _table(experiment: Experiment, figures: Sequence[CreatorFigure]) -> Table:
    table = Table("metric", "arm", experiment.control, "arm's", "effect a creator", "relative", "whole platform",
        title="per creator since the start; 95 % intervals over creators, adjusted by what was known before, for one look")  # fmt: skip
    for one in figures:
        effect = one.effect
        said = ["-"] * 3
        if effect is not None:
            said = [_number(effect.per_capita), _share(effect.relative), _number(effect.total)]
        table.add_row(one.metric, one.arm, f"{one.control_mean:.4g}", f"{one.mean:.4g}", *said)
    table.caption = "active: uploaded or shown; exposure: slots of pages; whole platform: if all creators were treated"
    return table


def _findings(experiment: Experiment, figures: Sequence[CreatorFigure]) -> list[str]:
    lines = []
    for one in figures:
        if one.metric != "uploads":
            continue
        start = f"uploads a creator, {one.arm} against {experiment.control}"
        if one.effect is None:
            lines.append(f"{start}: fewer than two creators in an arm, nothing can be said")
            continue
        effect = one.effect.per_capita
        is_told = effect.low > 0 or effect.high < 0
        verdict = "higher" if effect.mean > 0 else "lower"
        lines.append(f"{start}: {verdict if is_told else 'no difference can be told from chance'}")
    return lines


def _cost_line(report: CreatorsReport) -> str:
    cost = report.cost
    sizes = {one.arm: one.n_videos for one in report.corpora}
    control = next(iter(sizes))
    if cost.watch_s is None:
        return (
            f"corpus cost: can't be told, it takes {MIN_VIEWERS} viewers with a page both in {control} and in no arm, there are"
            f" {cost.n_control:,} and {cost.n_outside:,}"
        )
    return (
        f"corpus cost: viewers of {control}, with {sizes[control]:,} videos, watch {_share(cost.watch_s)} against viewers in no arm, with"
        f" {sizes[NOBODY]:,}; it ends with the experiment"
    )


def _corpora(sizes: Sequence[CorpusSize]) -> str:
    return "; ".join(
        f"{one.arm} {one.n_videos:,} videos of {one.n_creators:,} creators" for one in sizes
    )


def _number(figure: Estimate) -> str:
    return f"{figure.mean:+.4g} [{figure.low:+.4g}, {figure.high:+.4g}]"


def _share(figure: Estimate) -> str:
    if not np.isfinite(figure.mean):
        return "-"
    return f"{figure.mean:+.1%} [{figure.low:+.1%}, {figure.high:+.1%}]"
