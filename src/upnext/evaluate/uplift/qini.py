"""Whether a ranking by uplift is right, on rows whose treatment was drawn with one known probability (Radcliffe 2007).

The best share phi of the rows by score is treated; what that gains per row of the slice, beside treating nobody, is

    Q(phi) = (sum of y over treated rows / n_1 - sum of y over untreated rows / n_0), both among the best phi, n_1 and n_0 of the whole slice

so that Q(1) is the mean effect. AUUC is the area under Q; the Qini coefficient is the area between Q and the line to Q(1), which a ranking by
chance follows: 0 for it, and below 0 for one that is worse than chance. Rows of equal score are in or out together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Estimate, Float64, Int64
from upnext.evaluate.bootstrap import estimate_of, resample, user_rows
from upnext.evaluate.quotient import quotient
from upnext.evaluate.uplift.effects import Study

_CELLS = 1 << 17  # resampling counts held at once; each is spread over rows


@dataclass(frozen=True, slots=True)
class Qini:
    """How well a score ranks rows by their uplift."""

    share: Float64  # [m] of the rows treated, from 0 to 1
    gain: Float64  # [m] Q at these shares
    coefficient: Estimate
    area: Estimate  # AUUC


def qini(study: Study, score: Float64, *, n_resamples: int = 200, seed: int = 0) -> Qini:
    """The curve of score float64[n] on a randomised slice, with intervals over resampled viewers.

    Raises InvalidInput unless there are n finite scores."""
    if len(score) != len(study.outcome) or not np.isfinite(score).all():
        raise expected("score", f"{len(study.outcome)} finite numbers", score)
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    unit, n_viewers = user_rows(study.viewer)
    slice_ = _Slice(order, ends, unit[order], study)

    share, gain = slice_.curve(np.ones((1, n_viewers)))
    blocks = resample(n_viewers, n_resamples=n_resamples, seed=seed, cells=_CELLS)
    drawn = np.concatenate([slice_.areas(block) for block in blocks])
    point = slice_.areas(np.ones((1, n_viewers)))[0]
    return Qini(
        share=share[0],
        gain=gain[0],
        coefficient=estimate_of(float(point[0]), drawn[:, 0], n_viewers),
        area=estimate_of(float(point[1]), drawn[:, 1], n_viewers),
    )


@dataclass(frozen=True)
class _Slice:
    order: Int64  # [n] best score first
    ends: Int64  # [m] the last row of each run of equal scores, in that order
    unit: Int64  # [n] viewers, in that order
    study: Study

    def curve(self, w: Float64) -> tuple[Float64, Float64]:
        """(share float64[b, m + 1], Q float64[b, m + 1]) with viewers counted float64[b, viewers] times."""
        counts = w[:, self.unit]
        treated = self.study.treated[self.order]
        y = self.study.outcome[self.order]
        parts = []
        for arm in (treated, ~treated):
            n = counts @ arm.astype(np.float64)
            among_best = np.cumsum(counts * (arm * y), axis=1)[:, self.ends]
            parts.append(quotient(among_best, n[:, None]))
        rows = np.cumsum(counts, axis=1)
        share = quotient(rows[:, self.ends], rows[:, -1:])
        start = np.zeros((len(w), 1))
        return np.hstack([start, share]), np.hstack([start, parts[0] - parts[1]])

    def areas(self, w: Float64) -> Float64:
        """float64[b, 2]: area between Q and the line, area under Q."""
        share, gain = self.curve(w)
        middle = (gain[:, 1:] + gain[:, :-1]) / 2
        under = (np.diff(share, axis=1) * middle).sum(axis=1)
        return np.stack([under - gain[:, -1] / 2, under], axis=1)
