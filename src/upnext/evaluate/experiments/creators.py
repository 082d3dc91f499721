"""What a two-sided experiment did to creators: uploads, activity, exposure and likes per creator of each arm.

Arms are compared per capita and adjusted by what was known of each creator in the days before (co_diversion.effect_of_arms). Unlike the
viewers' intervals these are for one look at the end: creators answer within weeks. What the smaller corpus costs viewers is the control
arm's watch time against that of viewers in no arm.

Exposure, likes and watch time come from an arm's viewers. That one arm got more viewers a creator is chance, so these figures are at equal
attention: each arm's as if it had as many viewers a creator as all arms together, and the noise of its viewers is added to that of its
creators (both sides' variances, as Owen 2007, "The pigeonhole bootstrap", adds those of rows and columns).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl

from upnext.core.clock import DAY_US
from upnext.core.types import Estimate, Float64, Int64
from upnext.evaluate.co_diversion import TwoSidedEffect, corpus_cost, effect_of_arms
from upnext.evaluate.experiments.assignment import NO_ARM
from upnext.evaluate.experiments.corpora import NOBODY, CorpusSize, Uploaded, corpus_sizes
from upnext.evaluate.experiments.decisions import sample_ratio_p
from upnext.evaluate.experiments.definition import Experiment
from upnext.evaluate.experiments.exposed import BEFORE_D
from upnext.evaluate.experiments.report import plain
from upnext.evaluate.quotient import quotient
from upnext.evaluate.slot_join import slot_outcomes, standing
from upnext.evaluate.slot_log import LogPart, WholeLog, log_parts

CREATOR_METRICS: Final = ("uploads", "active", "exposure", "likes", "watch_s")
Z_95: Final = 1.96
MIN_VIEWERS: Final = 100  # on either side, to say what the corpus costs
_SUMS: Final = ("exposure", "likes", "watch_s")


@dataclass(frozen=True, slots=True)
class CreatorFigure:
    """One metric of an arm's creators against the control's."""

    metric: str
    arm: str
    control_mean: float  # per creator; of what viewers give, at equal attention
    mean: float
    effect: TwoSidedEffect | None  # None: fewer than two creators in an arm


@dataclass(frozen=True, slots=True)
class CorpusCost:
    """What a smaller corpus does to viewers: the control arm's watch time over that of viewers in no arm, less 1."""

    n_control: int  # viewers with a page
    n_outside: int
    watch_s: Estimate | None  # None: too few viewers on a side


@dataclass(frozen=True)
class CreatorsReport:
    """The creators' side of the report."""

    corpora: tuple[CorpusSize, ...]  # as they are now
    n_creators: Mapping[str, int]  # with a video, by arm
    n_joined: Mapping[str, int]  # of them those whose first video came since the start
    sample_ratio_p: float
    attention: Mapping[str, float]  # viewers with a page since the start per creator, by arm
    figures: tuple[CreatorFigure, ...]
    n_slots: int  # served since the start
    n_across: int  # of them those of a creator whom the viewer should not see
    cost: CorpusCost

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not finite is null."""
        return {key: plain(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class _Told:
    """What one part of the log says."""

    since: Float64  # [n_creators, 3] _SUMS from the start on
    before: Float64  # [n_creators, 3] in the BEFORE_D days before it
    upload_us: Int64  # [n_items] the first event of its upload, 0 for none
    n_slots: int
    n_across: int
    viewer_row: Int64  # [u] of viewers with a page since the start
    viewer_sums: Float64  # [u, 3] _SUMS from their first page on


@dataclass(frozen=True)
class _Given:
    """What viewers give to creators."""

    row: Int64  # [u] arms of viewers
    sums: Float64  # [u, 3]
    n_creators: Int64  # [arms]

    @property
    def attention(self) -> Float64:
        """float64[arms]: viewers a creator, NaN without creators."""
        return quotient(self._n_viewers.astype(np.float64), self.n_creators.astype(np.float64))

    @property
    def factors(self) -> Float64:
        """float64[arms + 1]: what makes an arm's sums those of equal attention; the last is for creators in no arm."""
        own = np.where(self._n_viewers > 0, self.attention, np.nan)
        return np.append(np.nan_to_num(quotient(np.full(len(own), self._overall), own), nan=1.0), 1)

    def noisier(self, figure: CreatorFigure, other: int, n_platform: int) -> CreatorFigure:
        """The figure with the noise of both arms' viewers added, if it is of what viewers give."""
        effect = figure.effect
        if effect is None or figure.metric not in _SUMS:
            return figure
        sums = self.sums[:, _SUMS.index(figure.metric)]
        sides = [sums[self.row == side] for side in (0, other)]
        if min(len(one) for one in sides) < 2:
            return replace(figure, effect=None)
        error = float(np.sqrt(sum(one.var(ddof=1) / len(one) for one in sides))) * self._overall
        half = Z_95 * error
        control = abs(effect.control_mean)
        wider = TwoSidedEffect(
            per_capita=_wider(effect.per_capita, half),
            relative=_wider(effect.relative, half / control if control else float("nan")),
            total=_wider(effect.total, half * n_platform),
            control_mean=effect.control_mean,
        )
        return replace(figure, effect=wider)

    @property
    def _n_viewers(self) -> Int64:
        return np.bincount(self.row[self.row >= 0], minlength=len(self.n_creators))

    @property
    def _overall(self) -> float:
        n = int(self.n_creators.sum())
        return float(self._n_viewers.sum() / n) if n else float("nan")


def creators_report(
    log: WholeLog, experiment: Experiment, uploaded: Uploaded, until_us: int
) -> CreatorsReport:
    """The creators of the whole log. Raises Unavailable."""
    row = uploaded.rows(experiment)
    told = [_told(part, experiment, uploaded, row, until_us) for part in log_parts(log)]
    uploads, earlier = _uploads(uploaded, told, experiment.started_us, until_us)
    since, before = sum(one.since for one in told), sum(one.before for one in told)
    known = uploads.sum(axis=1) + earlier > 0  # a creator has a video
    joined = known & (earlier + uploads[:, 0] == 0)
    since, before = np.asarray(since)[known], np.asarray(before)[known]
    new = uploads[known, 1]
    outcomes = {
        "uploads": new,
        "active": ((new > 0) | (since[:, 0] > 0)).astype(np.float64),
    }
    covariates = np.column_stack(
        [uploads[known, 0], np.log1p(earlier[known] + uploads[known, 0]), before]
    )
    arms = list(experiment.arms)
    n_creators = np.bincount(row[known] + 1, minlength=len(arms) + 1)
    n_joined = np.bincount(row[joined] + 1, minlength=len(arms) + 1)
    given = _Given(
        np.concatenate([one.viewer_row for one in told]),
        np.concatenate([one.viewer_sums for one in told]),
        n_creators[1:],
    )
    outcomes |= {name: since[:, j] * given.factors[row[known]] for j, name in enumerate(_SUMS)}
    figures = [
        given.noisier(
            _figure(name, outcomes[name], row[known], covariates, other, arms), other, len(new)
        )
        for name in CREATOR_METRICS
        for other in range(1, len(arms))
    ]
    shares = [arm.share for arm in experiment.arms.values()]
    return CreatorsReport(
        corpora=tuple(corpus_sizes(experiment, uploaded)),
        n_creators=dict(zip([NOBODY, *arms], n_creators.tolist())),
        n_joined=dict(zip([NOBODY, *arms], n_joined.tolist())),
        sample_ratio_p=sample_ratio_p(n_creators[1:].tolist(), shares),
        attention=dict(zip(arms, given.attention.tolist())),
        figures=tuple(figures),
        n_slots=sum(one.n_slots for one in told),
        n_across=sum(one.n_across for one in told),
        cost=_cost(given),
    )


def _told(
    part: LogPart, experiment: Experiment, uploaded: Uploaded, row: Int64, until_us: int
) -> _Told:
    outcomes = slot_outcomes(part).filter(pl.col("time_us") < until_us)
    outcomes = _with_viewers(outcomes.with_columns(pl.col("user_id").cast(pl.String)), experiment)
    item_id = outcomes.get_column("item_id").fill_null(-1).to_numpy()
    creator = np.append(uploaded.creator, -1)[
        np.where(item_id < len(uploaded.creator), item_id, -1)
    ]
    time_us = outcomes.get_column("time_us").to_numpy()
    start_us = experiment.started_us
    since = time_us >= start_us
    before = ~since & (time_us >= start_us - BEFORE_D * DAY_US)
    served = outcomes.get_column("is_served").to_numpy()
    sums = [served, outcomes.get_column("is_liked").to_numpy(), outcomes.get_column("watch_s").to_numpy()]  # fmt: skip
    viewer = outcomes.get_column("viewer").to_numpy()
    own = viewer == np.append(row, NO_ARM)[creator]
    n = len(uploaded.creator_ids)

    def totals(within: Any) -> Float64:
        within = within & (creator >= 0)
        counted = [np.bincount(creator[within], one[within], minlength=n) for one in sums]
        return np.stack(counted, axis=1)

    shown = served & since
    viewer_row, viewer_sums = _of_viewers(outcomes.filter(since))
    return _Told(
        since=totals(since),
        before=totals(before),
        upload_us=_upload_events(part, len(uploaded.creator)),
        n_slots=int(shown.sum()),
        n_across=int((shown & ~own).sum()),
        viewer_row=viewer_row,
        viewer_sums=viewer_sums,
    )


def _with_viewers(outcomes: pl.DataFrame, experiment: Experiment) -> pl.DataFrame:
    """The showings with `viewer`, the row of the viewer's arm."""
    users = outcomes.select(pl.col("user_id").unique())
    rows = experiment.allocation().rows(users.get_column("user_id").to_list())
    users = users.with_columns(viewer=pl.Series(rows, dtype=pl.Int64))
    return outcomes.join(users, on="user_id", how="left", maintain_order="left")


def _of_viewers(since: pl.DataFrame) -> tuple[Int64, Float64]:
    """(int64[u] arms of the viewers, float64[u, 3] their _SUMS from the first page since the start on)."""
    first = since.filter("is_served").group_by("user_id").agg(first_us=pl.col("time_us").min())
    rows = since.join(first, on="user_id").filter(pl.col("time_us") >= pl.col("first_us"))
    counted = [pl.col(name).cast(pl.Float64).sum() for name in ("is_served", "is_liked", "watch_s")]
    sums = rows.group_by("user_id").agg(pl.col("viewer").first(), *counted).sort("user_id")
    return sums.get_column("viewer").to_numpy(), sums.drop("user_id", "viewer").to_numpy()


def _upload_events(part: LogPart, n_items: int) -> Int64:
    """int64[n_items]: when a video's upload was first told of, 0 where never."""
    events = standing(part.events).filter(pl.col("kind") == "upload").drop_nulls("item_id")
    events = events.filter(pl.col("item_id").is_between(0, n_items - 1)).sort("time_us")
    events = events.unique("item_id", keep="first")
    found = np.zeros(n_items, np.int64)
    found[events.get_column("item_id").to_numpy()] = events.get_column("time_us").to_numpy()
    return found


def _uploads(
    uploaded: Uploaded, told: list[_Told], start_us: int, until_us: int
) -> tuple[Float64, Float64]:
    """(float64[n_creators, 2]: videos of the BEFORE_D days before the start, since the start; float64[n_creators]: older ones).

    By the catalogue's time of upload; where that is missing by the event's, and without either a video is old."""
    upload_us = np.where(uploaded.uploaded_us > 0, uploaded.uploaded_us, 0)
    for one in told:
        upload_us = np.where(upload_us > 0, upload_us, one.upload_us)
    n, has = len(uploaded.creator_ids), uploaded.creator >= 0
    is_new = upload_us >= start_us
    is_late = ~is_new & (upload_us >= start_us - BEFORE_D * DAY_US)

    def count(which: Any) -> Float64:
        return np.bincount(uploaded.creator[has & which], minlength=n).astype(np.float64)

    recent, new = count(is_late), count(is_new & (upload_us < until_us))
    return np.stack([recent, new], axis=1), count(~is_new & ~is_late)


def _figure(
    name: str, outcome: Float64, row: Int64, before: Float64, other: int, arms: list[str]
) -> CreatorFigure:
    control, treated = outcome[row == 0], outcome[row == other]
    means = [float(one.mean()) if len(one) else float("nan") for one in (control, treated)]
    effect = None
    if min(len(control), len(treated)) >= 2:
        effect = effect_of_arms(outcome, row, before=before, treated=other)
    return CreatorFigure(name, arms[other], means[0], means[1], effect)


def _cost(given: _Given) -> CorpusCost:
    watch_s = given.sums[:, _SUMS.index("watch_s")]
    control, outside = (watch_s[given.row == side] for side in (0, NO_ARM))
    said = None
    if min(len(control), len(outside)) >= MIN_VIEWERS:
        said = corpus_cost(control, outside)
    return CorpusCost(len(control), len(outside), said)


def _wider(figure: Estimate, half: float) -> Estimate:
    """The estimate with another, independent half-width added to its interval's."""
    low = figure.mean - float(np.hypot(figure.mean - figure.low, half))
    high = figure.mean + float(np.hypot(figure.high - figure.mean, half))
    return replace(figure, low=low, high=high)
