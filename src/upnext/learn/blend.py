"""The merge's weights: a conditional logistic regression of relevance on the blend's columns, by Newton's method.

Every request is one choice among its own candidates (McFadden 1974): the loss of a request is the mean of -log softmax(rows @ weights) over
its relevant rows. What all candidates of a request share, how busy the viewer is or how much of the day is left, cancels and can't be mistaken for
something that tells candidates apart. Few columns and many rows: exact in a handful of steps, deterministic, and small enough to read
in blend.json.

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
LONGEST_STEP = (
    2.0  # of a standardised column's weight: Newton's method overshoots where rows are separable
)
REG = 0.1  # of half the squared weights of standardised columns, beside the sum of all requests' losses
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
) -> Mixing:
    """The weights by column `names`, of all surfaces together and of each.

    rows: columns float32[m, c], label 0 or 1 float32[m], request int64[m] ascending from 0; surface int64[m]: each row's place in `surfaces`.
    Requests without a relevant row or with nothing else say nothing. A column that never varies gets 0."""
    told, scale = _standardised(*rows)
    common = _fitted(told, np.zeros(len(names)), REG)
    parts = {name: told.where(surface == code) for code, name in enumerate(surfaces)}
    n_requests = {name: part.n_requests() for name, part in parts.items() if len(part.label)}
    own = {}
    if len(n_requests) > 1:
        for name, n in n_requests.items():
            if n >= LEAST_REQUESTS:
                own[name] = _weights(_fitted(parts[name], common, TOWARDS_ALL), scale, names)
    return Mixing(_weights(common, scale, names), own, n_requests)


def set_blend(gathered: GatheredRows, mixing: Mixing) -> None:
    """Gives the rows, which were read before the blend was known, their blend score as serving will read it on their surface."""
    column = gathered.ranker.item_names.index("score:blend")
    for code, name in enumerate(gathered.surfaces):
        rows = np.flatnonzero(gathered.surface == code)
        weight = weight_row(mixing.of(name), gathered.blend_names)
        gathered.ranker.items[rows, column] = gathered.blend[rows] @ weight


def _standardised(rows: Float32, label: Float32, request: Int64) -> tuple[Told, Float64]:
    """(the rows in deviations, 0 in a column that never varies; the deviations float64[c], inf of such a column)."""
    x = rows.astype(np.float64)
    scale = x.std(axis=0)
    scale = np.where(scale > 1e-9, scale, np.inf)
    return Told((x - x.mean(axis=0)) / scale, label, request), scale


def _weights(beta: Float64, scale: Float64, names: Sequence[str]) -> dict[str, float]:
    return dict(zip(names, (beta / scale).tolist(), strict=True))


def _fitted(told: Told, towards: Float64, reg: float) -> Float64:
    """float64[c]: the weights with the least loss beside half of reg times their squared distance from `towards` float64[c]."""
    z, label, request = told.z, told.label, told.request
    n_relevant = np.bincount(request, label)
    share = label / np.maximum(n_relevant, 1)[request]
    is_told = n_relevant > 0
    n = max(1, int(is_told.sum()))
    beta = towards.copy()
    for _ in range(STEPS):
        p = _softmax(z @ beta, request) * is_told[request]
        expected = np.stack([np.bincount(request, p * column) for column in z.T], axis=1)
        gradient = (z.T @ (share - p) - reg * (beta - towards)) / n
        hessian = ((z * p[:, None]).T @ z - expected.T @ expected + reg * np.eye(len(beta))) / n
        step = np.clip(np.linalg.solve(hessian, gradient), -LONGEST_STEP, LONGEST_STEP)
        beta += step
        if np.abs(step).max() < 1e-8:
            break
    return beta


def _softmax(score: Float64, request: Int64) -> Float64:
    """float64[m]: the softmax over the rows of each request, ascending from 0."""
    starts = np.flatnonzero(np.diff(request, prepend=-1))
    shifted = np.exp(score - np.maximum.reduceat(score, starts)[request])
    return np.asarray(shifted / np.add.reduceat(shifted, starts)[request], np.float64)
