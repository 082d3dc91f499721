"""The merge's weights: a conditional logistic regression of relevance on the blend's columns, by Newton's method.

Every request is one choice among its own candidates (McFadden 1974): the loss of a request is the mean of -log softmax(rows @ weights) over
its relevant rows. What all candidates of a request share, how busy the viewer is or how much of the day is left, cancels and can't be mistaken for
something that tells candidates apart. Few columns and many rows: exact in a handful of steps, deterministic, and small enough to read
in blend.json.

What is popular changes from day to day, together for everyone: ten thousand requests of one day are one observation of that, not ten thousand. Counts of
nested windows explain each day in a way of its own, with large weights of opposite signs that are wrong on the next. So a count enters as its difference from
that of the next longer window (TRENDS), and the ridge is a share of the requests, for more requests of the same days tell nothing more of other days.
LAB.md has what it gave on a day after; stretches of the same day that are held out can't tell it.

Surfaces are mixed differently where their requests say so. All requests give the common weights; each surface then has its own, from its own requests,
drawn towards the common ones by a ridge on the difference: the most likely weights when surfaces scatter about the common ones with a variance of 1 /
TOWARDS_ALL in each standardised column (a normal prior around the whole, as of a mixed model). With few requests that is nearly the common set, with many the surface's own; below LEAST_REQUESTS, and where one
surface has all requests, it is the common set itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from upnext.core.types import Bool, Float32, Float64, Int64
from upnext.pipeline.blend import DEFAULT_MIXING, weight_row
from upnext.pipeline.mixing import Mixing
from upnext.pipeline.rows import GatheredRows

STEPS = 50
LEAST_DEVIATION = 1e-9  # of a column that varies
RIDGE = 0.04  # of half the squared weights of standardised columns, beside the mean of the requests' losses
TRENDS = {
    "log_relevant_6h": "log_relevant_1d",
    "log_relevant_1d": "log_relevant_7d",
    "log_impressions_1d": "log_relevant_1d",
}
TOWARDS_ALL = 50.0  # the same of a surface's difference from the common weights
LEAST_REQUESTS = 100  # with something relevant and something else, for weights of a surface's own


@dataclass(frozen=True)
class Told:
    """What requests say: standardised columns of their candidates, and which were relevant."""

    z: Float64  # [m, c]
    label: Float32  # [m] 0 or 1
    request: Int64  # [m] ascending from 0

    def where(self, mask: Bool) -> Told:
        """The rows of whole requests, which are numbered anew."""
        request = np.unique(self.request[mask], return_inverse=True)[1]
        return Told(self.z[mask], self.label[mask], request.astype(np.int64))

    def n_requests(self) -> int:
        """Requests that have both a relevant row and another."""
        n_relevant = np.bincount(self.request, self.label)
        return int(((n_relevant > 0) & (n_relevant < np.bincount(self.request))).sum())


def learned_mixing(gathered: GatheredRows) -> Mixing:
    """The weights that a job's rows teach; our defaults where the rows can't tell."""
    choices = gathered.choices
    if len(np.unique(choices.label)) < 2:
        return DEFAULT_MIXING
    return fit_mixing(
        (choices.blend, choices.label, choices.requests()),
        choices.surface, gathered.blend_names, gathered.surfaces,
    )  # fmt: skip


def fit_mixing(
    rows: tuple[Float32, Float32, Int64],
    surface: Int64,
    names: Sequence[str],
    surfaces: Sequence[str],
    ridge: float = RIDGE,
) -> Mixing:
    """The weights by column `names`, of all surfaces together and of each.

    rows: columns float32[m, c], label 0 or 1 float32[m], request int64[m] ascending from 0; surface int64[m]: each row's place in `surfaces`. ridge: of the common weights.
    Requests without a relevant row or with nothing else say nothing. A column that never varies gets 0."""
    x, label, request = rows
    basis = _basis(names, x.std(axis=0) > LEAST_DEVIATION)
    told, scale = _standardised(x @ basis, label, request)
    common = _fitted(told, np.zeros(len(names)), ridge * max(1, told.n_requests()))
    parts = {name: told.where(surface == code) for code, name in enumerate(surfaces)}
    n_requests = {name: part.n_requests() for name, part in parts.items() if len(part.label)}
    own = {}
    if len(n_requests) > 1:
        for name, n in n_requests.items():
            if n >= LEAST_REQUESTS:
                beta = _fitted(parts[name], common, TOWARDS_ALL)
                own[name] = _weights(beta, scale, basis, names)
    return Mixing(_weights(common, scale, basis, names), own, n_requests)


def set_blend(gathered: GatheredRows, mixing: Mixing) -> None:
    """Gives the rows, which were read before the blend was known, their blend score as serving will read it on their surface."""
    column = gathered.ranker.item_names.index("score:blend")
    for code, name in enumerate(gathered.surfaces):
        rows = np.flatnonzero(gathered.surface == code)
        weight = weight_row(mixing.of(name), gathered.blend_names)
        gathered.ranker.items[rows, column] = gathered.blend[rows] @ weight


def _standardised(rows: Float64, label: Float32, request: Int64) -> tuple[Told, Float64]:
    """(the rows in deviations, 0 in a column that never varies; the deviations float64[c], inf of such a column)."""
    scale = rows.std(axis=0)
    scale = np.where(scale > LEAST_DEVIATION, scale, np.inf)
    return Told((rows - rows.mean(axis=0)) / scale, label, request), scale


def _basis(names: Sequence[str], varies: Bool) -> Float64:
    """float64[c, c]: columns times it are those that weights are fitted for; a column that never varies stays alone."""
    basis = np.eye(len(names))
    for name, longer in TRENDS.items():
        if {name, longer} <= set(names):
            column, other = names.index(name), names.index(longer)
            basis[other, column] = -1.0 if varies[column] and varies[other] else 0.0
    return basis


def _weights(
    beta: Float64, scale: Float64, basis: Float64, names: Sequence[str]
) -> dict[str, float]:
    return dict(zip(names, (basis @ (beta / scale)).tolist(), strict=True))


def _fitted(told: Told, towards: Float64, reg: float) -> Float64:
    """float64[c]: the weights with the least loss beside half of reg times their squared distance from `towards` float64[c].

    Newton's method, each step halved until it helps: a full one overshoots where rows are nearly separable."""
    requests, beta = _Requests(told), towards.copy()
    loss, p = requests.loss(beta)
    for _ in range(STEPS):
        gradient, hessian = requests.slope(p)
        gradient -= reg * (beta - towards)
        step = np.linalg.solve(hessian + reg * np.eye(len(beta)), gradient)
        gain = float(gradient @ step)
        if gain < 1e-9 * requests.n:
            break
        while True:
            tried = beta + step
            reached, p_there = requests.loss(tried)
            reached += reg / 2 * float(((tried - towards) ** 2).sum())
            if reached <= loss - 1e-4 * gain:
                break
            step, gain = step / 2, gain / 2
            if gain < 1e-12 * requests.n:
                return beta
        beta, loss, p = tried, reached, p_there
    return beta


class _Requests:
    """The conditional likelihood of what requests say."""

    def __init__(self, told: Told) -> None:
        self._told = told
        n_relevant = np.bincount(told.request, told.label)
        self._share = told.label / np.maximum(n_relevant, 1)[told.request]
        self._is_told = (n_relevant > 0)[told.request]
        self._starts = np.flatnonzero(np.diff(told.request, prepend=-1))
        self.n = max(1, int((n_relevant > 0).sum()))  # requests with something relevant

    def loss(self, beta: Float64) -> tuple[float, Float64]:
        """(the sum of the requests' losses, float64[m] the softmax over the rows of each that counts, 0 elsewhere)."""
        request, starts = self._told.request, self._starts
        score = self._told.z @ beta
        score -= np.maximum.reduceat(score, starts)[request]
        p = np.exp(score)
        total = np.add.reduceat(p, starts)[request]
        loss = -float((self._share * (score - np.log(total))).sum())
        return loss, np.where(self._is_told, p / total, 0.0)

    def slope(self, p: Float64) -> tuple[Float64, Float64]:
        """(float64[c] down the loss, float64[c, c] its curvature) where the softmax is p."""
        z, request = self._told.z, self._told.request
        expected = np.stack([np.bincount(request, p * column) for column in z.T], axis=1)
        curvature = (z * p[:, None]).T @ z - expected.T @ expected
        return z.T @ (self._share - p), curvature
