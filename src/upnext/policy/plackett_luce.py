"""A slate drawn slot by slot, with the exact probability of every slot (Plackett 1975; Luce 1959).

Slot j holds video i with probability

    p_j(i) = (1 - epsilon) * softmax(s_j / temperature)(i) + epsilon / m_j     over the m_j videos eligible for slot j
    s_j(i) = lambda * z(i) - (1 - lambda) * max(0, max over earlier slots c of cos(i, c))     (MMR, Carbonell & Goldstein 1998)

z is the value standardised by the mean and standard deviation of the request's best 50 values, so temperature and lambda mean the
same for every ranker: a*value + b gives the same slates. Soft diversity is in s_j; hard rules are in the eligible set: no video
twice, at most max_per_creator of a creator, at most max_per_category of a category in any run of category_window slots, no near
duplicates. When they leave nothing, they give way one by one (category, creator, duplicate): a slot that breaks a rule is one
where no video kept it, and `broken_rules` names it. Temperature 0 puts the softmax's whole mass on the best video.

The draw is a function of its key, (session seed, page, slots already served), and of the set of candidates, not of their order.
Propensities of later slots are given the earlier ones: their product is the probability of the slate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from upnext.core.errors import expected
from upnext.core.randomness import key_of
from upnext.core.types import Bool, Candidates, Float32, Float64, Int64, Query, Slate
from upnext.policy.config import PolicyConfig
from upnext.policy.reasons import strongest_sources

N_BEST = 50
RULES = ("category", "creator", "duplicate")  # in the order in which they give way

CodesOf = Callable[[Int64], Int64]  # item_id int64[n] -> codes int64[n], -1 unknown
VectorsOf = Callable[
    [Int64], Float32
]  # item_id int64[n] -> float32[n, d], unit rows, zeros unknown


class PlackettLucePolicy:
    """Draws slates; holds no state but its settings and where creators, categories and vectors come from."""

    def __init__(
        self,
        config: PolicyConfig,
        *,
        creators: CodesOf | None = None,
        categories: CodesOf | None = None,
        vectors: VectorsOf | None = None,
    ) -> None:
        """Without `creators`, `categories` or `vectors` the rules that need them are off."""
        self.config = config
        self._creators = creators
        self._categories = categories
        self._vectors = vectors

    def arrange(self, query: Query, candidates: Candidates, value: Float32) -> Slate:
        """min(size, n) slots drawn with the request's key; empty without candidates.

        Raises InvalidInput when `value` is not n finite numbers."""
        return self.draw(draw_key_of(query), query.request.size, candidates, value)

    def draw(self, draw_key: int, size: int, candidates: Candidates, value: Float32) -> Slate:
        """The slate of this key: the same key and candidates give the same slate and propensities."""
        page = self._page(candidates, value)
        k = min(size, len(candidates))
        noise = np.random.Generator(np.random.Philox(key=draw_key)).random(k)
        rows = np.empty(k, np.int64)
        propensity = np.empty(k)
        n_eligible = np.empty(k, np.int64)
        for slot in range(k):
            p, n_eligible[slot] = page.probabilities()
            rows[slot] = row = _pick(p, noise[slot])
            propensity[slot] = p[row]
            page.place(int(row))
        rows = page.order[rows]
        return Slate(
            item_id=candidates.item_id[rows],
            value=value[rows],
            propensity=np.minimum(propensity, 1.0),
            n_eligible=n_eligible,
            reason=strongest_sources(candidates, rows),
            draw_key=draw_key,
        )

    def propensity(
        self, query: Query, candidates: Candidates, value: Float32, slate: Slate
    ) -> Float64:
        """float64[k]: P(slot j holds its video, given the slots before it); 0 where it can't.

        A video that is no candidate has probability 0 and no effect on the slots after it."""
        page = self._page(candidates, value)
        row_of = {int(item): row for row, item in enumerate(page.item_id)}
        result = np.zeros(len(slate))
        for slot, item in enumerate(slate.item_id):
            row = row_of.get(int(item))
            if row is None or page.is_placed(row):
                continue
            p, _ = page.probabilities()
            result[slot] = p[row]
            page.place(row)
        return np.minimum(result, 1.0)

    def broken_rules(self, candidates: Candidates, slate: Slate) -> dict[str, Bool]:
        """{rule: bool[k]} of the rules that some slot breaks; they gave way there, for nothing else was left."""
        known = np.isin(slate.item_id, candidates.item_id)
        page = self._page(candidates.take(np.isin(candidates.item_id, slate.item_id)), None)
        broken = {rule: np.zeros(len(slate), np.bool_) for rule in RULES}
        for slot in np.flatnonzero(known):
            row = int(np.searchsorted(page.item_id, slate.item_id[slot]))
            for rule, blocked in page.blocked().items():
                broken[rule][slot] = blocked[row]
            page.place(row)
        return {rule: slots for rule, slots in broken.items() if slots.any()}

    def _page(self, candidates: Candidates, value: Float32 | None) -> Page:
        n = len(candidates)
        order = np.argsort(candidates.item_id, kind="stable")
        item_id = candidates.item_id[order]
        if value is None:
            value = np.zeros(n, np.float32)
        if value.shape != (n,) or not np.isfinite(value).all():
            raise expected("policy value", f"{n} finite numbers", value)
        config = self.config
        wants_vectors = config.mmr_lambda < 1 or config.duplicate_similarity < 1
        return Page(
            config,
            order,
            item_id,
            standardised(value[order]),
            creators=_codes(self._creators, item_id, config.max_per_creator),
            categories=_codes(self._categories, item_id, config.max_per_category),
            vectors=self._vectors(item_id) if self._vectors is not None and wants_vectors else None,
        )


def draw_key_of(query: Query) -> int:
    """The key of a request's draw, 64 bits.

    Later pages of a session, and a page drawn anew after another was stored meanwhile, have their own noise; without a session
    each request does."""
    request = query.request
    scope = request.session_id or request.request_id
    return key_of(request.seed, "draw", scope, request.surface, request.page, len(query.served))


def standardised(value: Float32) -> Float64:
    """float64[n]: (value - mean) / standard deviation of the best N_BEST values; zeros where all are equal."""
    exact = value.astype(np.float64)
    if len(exact) == 0:
        return exact
    best = exact if len(exact) <= N_BEST else np.partition(exact, -N_BEST)[-N_BEST:]
    best = np.sort(best)  # one order of summation, whatever the order of the candidates
    mean, spread = float(best.mean()), float(best.std())
    if spread <= 1e-12 * max(1.0, abs(mean)):
        # the best ones are all equal: fall back on the whole request, then on no preference at all
        spread = float(np.sort(exact).std())
        if spread <= 1e-12 * max(1.0, abs(mean)):
            return np.zeros(len(exact))
    return (exact - mean) / spread


@dataclass(frozen=True)
class Codes:
    """Dense codes of one request's candidates: code n_known stands for unknown and is never capped."""

    of: Int64  # [n]
    n_known: int


class Page:
    """One slate in the making: who is eligible, how similar to what stands, and the next slot's probabilities.

    Candidates are rows in order of item_id, so nothing depends on the order in which they came."""

    def __init__(
        self,
        config: PolicyConfig,
        order: Int64,
        item_id: Int64,
        z: Float64,
        *,
        creators: Codes | None,
        categories: Codes | None,
        vectors: Float32 | None,
    ) -> None:
        n = len(item_id)
        self.order = order
        self.item_id = item_id
        self._config = config
        self._relevance = config.mmr_lambda * z
        self._similarity = np.zeros(n, np.float32)  # the greatest to a placed video, at least 0
        self._penalty = np.zeros(n)
        self._vectors = vectors
        self._placed: list[int] = []
        self._free = np.ones(n, np.bool_)
        self._creators = creators
        self._categories = categories
        self._n_of_creator = np.zeros(creators.n_known + 1 if creators else 0, np.int64)
        self._n_of_category = np.zeros(categories.n_known + 1 if categories else 0, np.int64)
        self._blocked: dict[str, Bool] = {}

    def is_placed(self, row: int) -> bool:
        """Whether the video already stands in an earlier slot."""
        return not self._free[row]

    def blocked(self) -> dict[str, Bool]:
        """{rule: bool[n]}: the videos that each rule forbids for the next slot."""
        return self._blocked

    def probabilities(self) -> tuple[Float64, int]:
        """(p float64[n], m): the next slot's probabilities, 0 outside its eligible set of m >= 1 videos."""
        eligible, m = self._eligible()
        config = self._config
        score = np.full(len(self._relevance), -np.inf)
        np.subtract(self._relevance, self._penalty, out=score, where=eligible)
        if config.temperature > 0:
            score -= score.max()
            score *= 1 / config.temperature
            p = np.exp(score, out=score)
            p *= (1 - config.epsilon) / p.sum()
        else:
            p = np.zeros(len(score))
            p[score.argmax()] = 1 - config.epsilon
        if config.epsilon > 0:
            p += eligible * (config.epsilon / m)
        return p, m

    def place(self, row: int) -> None:
        """Puts a video in the next slot."""
        self._free[row] = False
        self._placed.append(row)
        if self._vectors is not None:
            similarity = self._vectors @ self._vectors[row]
            np.maximum(self._similarity, similarity, out=self._similarity)
            np.multiply(self._similarity, 1 - self._config.mmr_lambda, out=self._penalty)
            similarity[row] = 0
            limit = self._config.duplicate_similarity
            if limit < 1 and similarity.max() > limit:
                self._blocked["duplicate"] = self._similarity > limit
        if self._creators is not None:
            creator = self._creators.of[row]
            self._n_of_creator[creator] += 1
            if self._n_of_creator[creator] == self._config.max_per_creator:
                self._block(
                    "creator", self._creators, self._n_of_creator, self._config.max_per_creator
                )
        if self._categories is not None:
            self._slide_categories(self._categories, row)

    def _slide_categories(self, categories: Codes, row: int) -> None:
        """Counts categories over the last window - 1 slots: with the next slot they make one window."""
        counts, window = self._n_of_category, self._config.category_window
        cap = self._config.max_per_category
        came = categories.of[row]
        counts[came] += 1
        changed = bool(counts[came] == cap)
        if 0 < window <= len(self._placed):
            left = categories.of[self._placed[-window]]
            changed = changed or bool(counts[left] == cap)
            counts[left] -= 1
        if changed:
            self._block("category", categories, counts, cap)

    def _block(self, rule: str, codes: Codes, counts: Int64, cap: int) -> None:
        full = counts >= cap
        full[codes.n_known] = False
        if full.any():
            self._blocked[rule] = full[codes.of]
        else:
            self._blocked.pop(rule, None)

    def _eligible(self) -> tuple[Bool, int]:
        """(bool[n], how many): free and allowed by every rule; rules give way in the order of RULES until a video is left."""
        rules = [rule for rule in RULES if rule in self._blocked]
        for first in range(len(rules)):
            eligible = self._free
            for rule in rules[first:]:
                eligible = eligible > self._blocked[rule]  # free and not blocked
            m = int(np.count_nonzero(eligible))
            if m:
                return eligible, m
        return self._free, len(self._free) - len(self._placed)


def _codes(codes_of: CodesOf | None, item_id: Int64, cap: int) -> Codes | None:
    if codes_of is None or cap == 0:
        return None
    known, dense = np.unique(codes_of(item_id), return_inverse=True)
    n_known = len(known)
    if n_known and known[0] < 0:
        dense = np.where(dense == 0, n_known, dense)
    return Codes(dense.astype(np.int64), n_known)


def _pick(p: Float64, noise: float) -> int:
    """The row where the running sum of p passes noise * total; never one with p = 0."""
    running = p.cumsum()
    total = running[-1]
    row = int(running.searchsorted(noise * total, side="right"))
    if (
        row == len(p)
    ):  # noise * total was rounded up to total, which the last row with weight is the first to reach
        row = int(running.searchsorted(total, side="left"))
    return row
