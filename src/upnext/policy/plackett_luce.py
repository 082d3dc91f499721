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

import math
from collections.abc import Callable

import numpy as np

from upnext.core.errors import expected
from upnext.core.randomness import generator_of, key_of
from upnext.core.types import Bool, Candidates, Float32, Float64, Int64, Query, Slate
from upnext.policy.cap import Cap
from upnext.policy.config import PolicyConfig
from upnext.policy.page import RULES, Page
from upnext.policy.reasons import strongest_sources

N_BEST = 50

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
        order, page = self._page(candidates, value)
        k = min(size, len(candidates))
        noise = generator_of(draw_key).random(k).tolist()
        places, propensity, n_eligible = [0] * k, [0.0] * k, [0] * k
        for slot in range(k):
            page.weigh()
            places[slot] = place = page.pick(noise[slot])
            propensity[slot] = page.probability(place)
            n_eligible[slot] = page.n_eligible
            page.place(place)
        rows = order[np.array(places, np.int64)]
        return Slate(
            item_id=candidates.item_id[rows],
            value=value[rows],
            propensity=np.array(propensity, np.float64),
            n_eligible=np.array(n_eligible, np.int64),
            reason=strongest_sources(candidates, rows),
            draw_key=draw_key,
        )

    def propensity(
        self, query: Query, candidates: Candidates, value: Float32, slate: Slate
    ) -> Float64:
        """float64[k]: P(slot j holds its video, given the slots before it); 0 where it can't.

        A video that is no candidate has probability 0 and no effect on the slots after it."""
        order, page = self._page(candidates, value)
        place_of = {item: place for place, item in enumerate(candidates.item_id[order].tolist())}
        result = np.zeros(len(slate))
        for slot, item in enumerate(slate.item_id.tolist()):
            place = place_of.get(item)
            if place is None or page.is_placed(place):
                continue
            page.weigh()
            result[slot] = page.probability(place)
            page.place(place)
        return result

    def broken_rules(self, candidates: Candidates, slate: Slate) -> dict[str, Bool]:
        """{rule: bool[k]} of the rules that some slot breaks; they gave way there, for nothing else was left."""
        known = np.isin(slate.item_id, candidates.item_id)
        placed = candidates.take(np.isin(candidates.item_id, slate.item_id))
        order, page = self._page(placed, np.zeros(len(placed), np.float32))
        item_id = placed.item_id[order]
        broken = {rule: np.zeros(len(slate), np.bool_) for rule in RULES}
        for slot in np.flatnonzero(known):
            place = int(np.searchsorted(item_id, slate.item_id[slot]))
            for rule, blocked in page.blocked().items():
                broken[rule][slot] = blocked[place]
            page.place(place)
        return {rule: slots for rule, slots in broken.items() if slots.any()}

    def _page(self, candidates: Candidates, value: Float32) -> tuple[Int64, Page]:
        """(int64[n] the candidates' rows in order of item_id, a page over them in that order).

        In that order nothing, no rounding either, depends on the order in which they came."""
        n, config = len(candidates), self.config
        if value.shape != (n,) or not np.isfinite(value).all():
            raise expected("policy value", f"{n} finite numbers", value)
        order = np.argsort(candidates.item_id)
        item_id = candidates.item_id[order]
        caps: dict[str, Cap] = {}
        if self._creators is not None and config.max_per_creator:
            caps["creator"] = Cap(self._creators(item_id), config.max_per_creator, 0)
        if self._categories is not None and config.max_per_category:
            window = config.category_window
            caps["category"] = Cap(self._categories(item_id), config.max_per_category, window)
        wants_vectors = config.mmr_lambda < 1 or config.duplicate_similarity < 1
        vectors = self._vectors(item_id) if self._vectors is not None and wants_vectors else None
        return order, Page(config, standardised(value[order]), caps, vectors)


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
    best = np.sort(exact)[-N_BEST:]  # one order of summation, whatever the order of the candidates
    mean = float(np.add.reduce(best)) / len(best)
    spread = math.sqrt(float(np.add.reduce(np.square(best - mean))) / len(best))
    if spread <= 1e-12 * max(1.0, abs(mean)):
        # the best ones are all equal: fall back on the whole request, then on no preference at all
        spread = float(np.sort(exact).std())
        if spread <= 1e-12 * max(1.0, abs(mean)):
            return np.zeros(len(exact))
    return (exact - mean) / spread
