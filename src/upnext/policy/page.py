"""One page in the making, in machine code: who is eligible for the next slot, how likely, and what placing a video changes.

The formulas are those of policy/plackett_luce.py. Each candidate carries its weight in the softmax, which a placed video changes only where
it is more similar than all placed before, and its breach: the strongest rule that it would break, 0 for none. Rules give way weakest first,
so the eligible are those whose breach is the least of all that are left.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from upnext.core.compiled import compiled, compiled_sums
from upnext.core.types import Bool, Float32, Float64, Int64
from upnext.policy.cap import Int32, count_in_run
from upnext.policy.config import PolicyConfig

RULES: Final = ("category", "creator", "duplicate")  # the first to give way stands first
# breaches: the rules, counted from 1, and one that never gives way
_CATEGORY, _CREATOR, _DUPLICATE, _PLACED = 1, 2, 3, 4
_FAINT: Final = 1e-9  # a sum of weights below it, or above its inverse, is too far from the numbers that doubles are fine in
_OFF: Final = 1 << 30  # a cap that nothing reaches


class Terms(NamedTuple):
    """The settings as the loops read them; what is off is out of reach."""

    is_greedy: bool
    epsilon: float
    relevance: float  # of one standard deviation, in scores over temperature
    distance: float  # of similarity 1, in the same; at most 0
    max_per_category: int
    category_window: int
    max_per_creator: int
    duplicate_similarity: float


class Videos(NamedTuple):
    """The n candidates of a page, in the order in which sums are taken."""

    z: Float64  # [n] standardised values
    category: Int64  # [n] codes, -1 unknown
    creator: Int64  # [n] codes, -1 unknown
    vectors: Float32  # [n, d] unit rows; d = 0: nothing is similar


class _Page(NamedTuple):
    """What the placed videos have made of the candidates."""

    score: Float64  # [n] of the value alone, over temperature, less a constant
    weight: Float64  # [n] exp(score less the distance's share)
    similarity: Float32  # [n] the greatest to a placed video, at least 0
    cosine: Float32  # [n] to the last placed video
    nearer: Int32  # [n] a buffer: the rows whose similarity the last placed video raised
    n_category: Int32  # [n] placed videos of the candidate's category, in the run
    n_creator: Int32  # [n] of its creator
    breach: Int32  # [n]


class _Slot(NamedTuple):
    """A slot's distribution: p = per_weight * weight + even where the breach is this, else 0."""

    breach: int
    n_eligible: int
    per_weight: float
    even: float


def terms_of(config: PolicyConfig) -> Terms:
    """The terms of these settings."""
    per_temperature = 1 / config.temperature if config.temperature > 0 else 1.0
    limit = config.duplicate_similarity
    return Terms(
        is_greedy=config.temperature == 0,
        epsilon=config.epsilon,
        relevance=config.mmr_lambda * per_temperature,
        distance=(config.mmr_lambda - 1) * per_temperature,
        max_per_category=config.max_per_category or _OFF,
        category_window=config.category_window,
        max_per_creator=config.max_per_creator or _OFF,
        duplicate_similarity=limit if limit < 1 else math.inf,
    )


@compiled
def draw_rows(terms: Terms, videos: Videos, noise: Float64) -> tuple[Int64, Float64, Int64]:
    """(rows int64[k], propensity float64[k], n_eligible int64[k]): a slot for each noise float64[k] in [0, 1); k at most n."""
    page = _empty_page(terms, videos)
    k = len(noise)
    rows, propensity, n_eligible = np.zeros(k, np.int64), np.zeros(k), np.zeros(k, np.int64)
    for j in range(k):
        slot = _next_slot(terms, page)
        row = _pick(page, slot, noise[j])
        rows[j] = row
        propensity[j] = _probability(page, slot, row)
        n_eligible[j] = slot.n_eligible
        _place(terms, videos, page, rows[: j + 1])
    return rows, propensity, n_eligible


@compiled
def draft_rows(
    terms: Terms,
    videos: Videos,
    rival_terms: Terms,
    rival_videos: Videos,
    noise: Float64,
    coin: Float64,
) -> tuple[Int64, Float64, Int64, Int64]:
    """(rows, propensity, n_eligible, team, each [k]): two policies take turns over the same rows (team draft).

    In rounds of two slots a coin float64[(k + 1) // 2] says who picks first; team 1 is the rival. A first pick is of either with one half, so
    its probability is the mean of both; a second pick is the other's for certain. Each is given the slots and teams before it."""
    page, rival_page = _empty_page(terms, videos), _empty_page(rival_terms, rival_videos)
    k = len(noise)
    rows, propensity, n_eligible = np.zeros(k, np.int64), np.zeros(k), np.zeros(k, np.int64)
    team = np.zeros(k, np.int64)
    for j in range(k):
        slot, rival_slot = _next_slot(terms, page), _next_slot(rival_terms, rival_page)
        begins = j % 2 == 0
        team[j] = int(coin[j // 2] < 0.5) if begins else 1 - team[j - 1]
        own, rivals = 1.0 - team[j], 1.0 * team[j]
        row = _pick(rival_page, rival_slot, noise[j]) if team[j] else _pick(page, slot, noise[j])
        if begins:
            own, rivals = 0.5, 0.5
        rows[j] = row
        propensity[j] = own * _probability(page, slot, row)
        propensity[j] += rivals * _probability(rival_page, rival_slot, row)
        for i in range(len(page.breach)):
            is_own = own > 0 and page.breach[i] == slot.breach
            is_rivals = rivals > 0 and rival_page.breach[i] == rival_slot.breach
            n_eligible[j] += is_own or is_rivals
        _place(terms, videos, page, rows[: j + 1])
        _place(rival_terms, rival_videos, rival_page, rows[: j + 1])
    return rows, propensity, n_eligible, team


@compiled
def propensity_of_rows(terms: Terms, videos: Videos, rows: Int64) -> Float64:
    """float64[k]: the probability of each of rows int64[k], all different, given those before it; 0 where it isn't eligible."""
    page = _empty_page(terms, videos)
    propensity = np.zeros(len(rows))
    for j in range(len(rows)):
        slot = _next_slot(terms, page)
        propensity[j] = _probability(page, slot, rows[j])
        _place(terms, videos, page, rows[: j + 1])
    return propensity


@compiled
def distributions_of_rows(terms: Terms, videos: Videos, rows: Int64) -> Float64:
    """float64[k, n]: the probability of every video for each slot, given rows int64[k] in the slots before it.

    A row of -1 is a video that is none of the n: it takes its slot and changes nothing. A slot for which no video is left has zeros."""
    page = _empty_page(terms, videos)
    n = len(videos.z)
    probability, placed, n_placed = np.zeros((len(rows), n)), np.zeros(len(rows), np.int64), 0
    for j in range(len(rows)):
        if n_placed == n:
            break
        slot = _next_slot(terms, page)
        for row in range(n):
            probability[j, row] = _probability(page, slot, row)
        if rows[j] >= 0:
            placed[n_placed] = rows[j]
            n_placed += 1
            _place(terms, videos, page, placed[:n_placed])
    return probability


@compiled
def rules_broken_by_rows(terms: Terms, videos: Videos, rows: Int64) -> Bool:
    """bool[k, 3]: whether each of rows int64[k] breaks each of RULES, given those before it."""
    page = _empty_page(terms, videos)
    broken = np.zeros((len(rows), 3), np.bool_)
    for j in range(len(rows)):
        row = rows[j]
        broken[j, 0] = page.n_category[row] >= terms.max_per_category
        broken[j, 1] = page.n_creator[row] >= terms.max_per_creator
        broken[j, 2] = page.similarity[row] > terms.duplicate_similarity
        _place(terms, videos, page, rows[: j + 1])
    return broken


@compiled
def _empty_page(terms: Terms, videos: Videos) -> _Page:
    n = len(videos.z)
    return _Page(
        score=terms.relevance * videos.z,
        weight=np.zeros(n),  # too faint: the first slot takes them from its best
        similarity=np.zeros(n, np.float32),
        cosine=np.zeros(n, np.float32),
        nearer=np.zeros(n, np.int32),
        n_category=np.zeros(n, np.int32),
        n_creator=np.zeros(n, np.int32),
        breach=np.zeros(n, np.int32),
    )


@compiled
def _next_slot(terms: Terms, page: _Page) -> _Slot:
    """The distribution over the eligible; at least one video must be left.

    A weight is relative to the best of some earlier slot. Where the sum of the eligible has become too small or too great for that, their own best is the
    new measure."""
    breach, n_eligible = _sift(terms, page)
    if terms.is_greedy:
        _all_on_best(terms, page, breach)
    total = _weight_of(page.weight, page.breach, breach)
    if not _FAINT <= total <= 1 / _FAINT:
        _weigh_from_best(terms, page, breach)
        total = _weight_of(page.weight, page.breach, breach)
    return _Slot(breach, n_eligible, (1 - terms.epsilon) / total, terms.epsilon / n_eligible)


@compiled
def _probability(page: _Page, slot: _Slot, row: int) -> float:
    if page.breach[row] != slot.breach:
        return 0.0
    return float(min(slot.per_weight * page.weight[row] + slot.even, 1.0))


@compiled
def _pick(page: _Page, slot: _Slot, noise: float) -> int:
    """The row where the running sum of probabilities passes the noise; never one of probability 0."""
    running, last = 0.0, -1
    for row in range(len(page.weight)):
        p = _probability(page, slot, row)
        running += p
        if running > noise:
            return row
        if p > 0:
            last = row
    return last  # the sum was rounded to less than 1, and the noise is above it


@compiled
def _place(terms: Terms, videos: Videos, page: _Page, placed: Int64) -> None:
    """Takes in the last of `placed`, the rows of the slots so far; eligible or not."""
    row = placed[-1]
    page.breach[row] = _PLACED
    count_in_run(videos.category, page.n_category, placed, terms.category_window)
    count_in_run(videos.creator, page.n_creator, placed, 0)
    _cosines(videos.vectors, row, page.cosine)
    n_nearer = 0
    for i in range(len(page.cosine)):  # without a branch, which no processor could foresee
        page.nearer[n_nearer] = i
        n_nearer += page.cosine[i] > page.similarity[i]
    for i in page.nearer[:n_nearer]:
        page.similarity[i] = page.cosine[i]
        page.weight[i] = math.exp(page.score[i] + terms.distance * page.similarity[i])


@compiled
def _sift(terms: Terms, page: _Page) -> tuple[int, int]:
    """(the least breach of all that are left, how many have it)."""
    max_per_category, max_per_creator = terms.max_per_category, terms.max_per_creator
    least = _PLACED
    for i in range(len(page.breach)):
        breach = 0
        if page.n_category[i] >= max_per_category:
            breach = _CATEGORY
        if page.n_creator[i] >= max_per_creator:
            breach = _CREATOR
        if page.similarity[i] > terms.duplicate_similarity:
            breach = _DUPLICATE
        if page.breach[i] == _PLACED:
            breach = _PLACED
        page.breach[i] = breach
        least = min(least, breach)
    n = 0
    for i in range(len(page.breach)):
        n += page.breach[i] == least
    return least, n


@compiled_sums
def _weight_of(weight: Float64, breaches: Int32, breach: int) -> float:
    """The sum of the weights of the eligible."""
    total = 0.0
    for i in range(len(weight)):
        total += weight[i] if breaches[i] == breach else 0.0
    return total


@compiled
def _best_of(terms: Terms, page: _Page, breach: int) -> tuple[int, float]:
    """(the eligible row of the greatest score, the first of equals; that score)."""
    best, greatest = -1, -np.inf
    for i in range(len(page.score)):
        score = page.score[i] + terms.distance * page.similarity[i]
        if score > greatest and page.breach[i] == breach:
            best, greatest = i, score
    return best, greatest


@compiled
def _all_on_best(terms: Terms, page: _Page, breach: int) -> None:
    """Temperature 0: the weights are 1 for the best of the eligible, 0 for the rest."""
    best, _ = _best_of(terms, page, breach)
    page.weight.fill(0.0)
    page.weight[best] = 1.0


@compiled
def _weigh_from_best(terms: Terms, page: _Page, breach: int) -> None:
    """Counts scores from that of the best of the eligible, whose weight becomes 1; that of a video not eligible may be infinite."""
    _, greatest = _best_of(terms, page, breach)
    for i in range(len(page.score)):
        page.score[i] -= greatest
        page.weight[i] = math.exp(page.score[i] + terms.distance * page.similarity[i])


@compiled_sums
def _cosines(vectors: Float32, row: int, cosine: Float32) -> None:
    """Sets cosine float32[n] to the products of the rows of `vectors` with one of them."""
    one = vectors[row]
    for i in range(len(vectors)):
        total = np.float32(0)
        for j in range(vectors.shape[1]):
            total += vectors[i, j] * one[j]
        cosine[i] = total
