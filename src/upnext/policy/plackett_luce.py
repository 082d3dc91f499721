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

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.errors import expected
from upnext.core.randomness import key_of
from upnext.core.types import Bool, Candidates, Float32, Float64, Int64, Query, Slate
from upnext.policy.ascending import ascending
from upnext.policy.config import PolicyConfig
from upnext.policy.noise import noise_of
from upnext.policy.page import (
    RULES,
    Videos,
    distributions_of_rows,
    draft_rows,
    draw_rows,
    propensity_of_rows,
    rules_broken_by_rows,
    terms_of,
)
from upnext.policy.reasons import strongest_sources
from upnext.policy.standardised import standardised

_NOWHERE = -1

CodesOf = Callable[[Int64], Int64]  # item_id int64[n] -> codes int64[n], -1 unknown
VectorsOf = Callable[[Int64], Float32]  # -> float32[n, d], unit rows, zeros unknown


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
        self._terms = terms_of(config)
        self._creators = creators
        self._categories = categories
        self._vectors = vectors

    def arrange(self, query: Query, candidates: Candidates, value: Float32) -> Slate:
        """min(size, n) slots drawn with the request's key; empty without candidates.

        Raises InvalidInput when `value` is not n finite numbers."""
        return self.draw(draw_key_of(query), query.request.size, candidates, value)

    def draw(self, draw_key: int, size: int, candidates: Candidates, value: Float32) -> Slate:
        """The slate of this key: the same key and candidates give the same slate and propensities."""
        order, videos = self._videos(candidates, value)
        noise = noise_of(np.uint64(draw_key), min(size, len(candidates)))
        places, propensity, n_eligible = draw_rows(self._terms, videos, noise)
        rows = order.take(places)
        return Slate(
            item_id=candidates.item_id.take(rows),
            value=value.take(rows),
            propensity=propensity,
            n_eligible=n_eligible,
            reason=strongest_sources(candidates, rows),
            draw_key=draw_key,
        )

    def draft(
        self,
        rival: PlackettLucePolicy,
        query: Query,
        candidates: Candidates,
        values: tuple[Float32, Float32],
    ) -> Slate:
        """A page on which this policy and a rival take turns (team draft, `page.draft_rows`), each by its own of the `values`.

        The noise is that of `arrange`, so that of two equal policies the page is the same. Raises InvalidInput as `arrange` does."""
        draw_key = draw_key_of(query)
        k = min(query.request.size, len(candidates))
        (order, videos), (_, rival_videos) = (
            one._videos(candidates, value) for one, value in zip((self, rival), values)
        )
        noise = noise_of(np.uint64(draw_key), k + (k + 1) // 2)
        places, propensity, n_eligible, team = draft_rows(
            self._terms, videos, rival._terms, rival_videos, noise[:k], noise[k:]
        )
        rows = order.take(places)
        return Slate(
            item_id=candidates.item_id.take(rows),
            value=np.where(team == 0, values[0].take(rows), values[1].take(rows)),
            propensity=propensity,
            n_eligible=n_eligible,
            reason=strongest_sources(candidates, rows),
            draw_key=draw_key,
            team=team,
        )

    def propensity(
        self, query: Query, candidates: Candidates, value: Float32, slate: Slate
    ) -> Float64:
        """float64[k]: P(slot j holds its video, given the slots before it); 0 where it can't.

        A video that is no candidate has probability 0 and no effect on the slots after it."""
        order, videos = self._videos(candidates, value)
        places = _places(candidates, order, slate)
        can = places != _NOWHERE  # a candidate, and in no earlier slot
        result = np.zeros(len(slate))
        result[can] = propensity_of_rows(self._terms, videos, places[can])
        return result

    def distributions(
        self, query: Query, candidates: Candidates, value: Float32, slate: Slate
    ) -> Float64:
        """float64[k, n]: the probability of every candidate for each slot, given the slots before it; rows sum to 1.

        A video of the slate that is no candidate takes its slot and has no effect on those after it; a slot for which no candidate is left
        has zeros."""
        order, videos = self._videos(candidates, value)
        rows = distributions_of_rows(self._terms, videos, _places(candidates, order, slate))
        result = np.empty_like(rows)
        result[:, order] = rows
        return result

    def broken_rules(self, candidates: Candidates, slate: Slate) -> dict[str, Bool]:
        """{rule: bool[k]} of the rules that some slot breaks; they gave way there, for nothing else was left."""
        placed = candidates.take(np.isin(candidates.item_id, slate.item_id))
        order, videos = self._videos(placed, np.zeros(len(placed), np.float32))
        known = np.isin(slate.item_id, placed.item_id)
        places = np.searchsorted(placed.item_id[order], slate.item_id[known])
        broken = np.zeros((len(slate), len(RULES)), np.bool_)
        broken[known] = rules_broken_by_rows(self._terms, videos, places)
        return {rule: slots for rule, slots in zip(RULES, broken.T) if slots.any()}

    def _videos(self, candidates: Candidates, value: Float32) -> tuple[Int64, Videos]:
        """(int64[n] the candidates' rows in order of item_id, what the page reads of them in that order).

        In that order nothing, no rounding either, depends on the order in which they came."""
        n, config = len(candidates), self.config
        if value.shape != (n,):
            raise expected("policy value", f"{n} numbers", value)
        order, item_id, z, is_finite = _in_order(candidates.item_id, value)
        if not is_finite:
            raise expected("policy value", f"{n} finite numbers", value)
        wants_vectors = config.mmr_lambda < 1 or config.duplicate_similarity < 1
        return order, Videos(
            z=z,
            category=_codes(self._categories if config.max_per_category else None, item_id),
            creator=_codes(self._creators if config.max_per_creator else None, item_id),
            vectors=_rows(self._vectors if wants_vectors else None, item_id),
        )


def _places(candidates: Candidates, order: Int64, slate: Slate) -> Int64:
    """int64[k]: each slot's place in `order`; -1 where its video is no candidate, or stands in an earlier slot."""
    place_of = {item: place for place, item in enumerate(candidates.item_id[order].tolist())}
    return np.array([place_of.pop(item, _NOWHERE) for item in slate.item_id.tolist()], np.int64)


@compiled
def _in_order(item_id: Int64, value: Float32) -> tuple[Int64, Int64, Float64, bool]:
    """(order int64[n], ids and standardised values in that order, whether all values are finite)."""
    order = ascending(item_id)
    return order, item_id[order], standardised(value[order]), bool(np.isfinite(value).all())


def _codes(codes_of: CodesOf | None, item_id: Int64) -> Int64:
    return codes_of(item_id) if codes_of is not None else np.full(len(item_id), -1)


def _rows(vectors_of: VectorsOf | None, item_id: Int64) -> Float32:
    return (
        vectors_of(item_id) if vectors_of is not None else np.zeros((len(item_id), 0), np.float32)
    )


def draw_key_of(query: Query) -> int:
    """The key of a request's draw, 64 bits.

    Later pages of a session, and a page drawn anew after another was stored meanwhile, have their own noise; without a session
    each request does."""
    request = query.request
    scope = request.session_id or request.request_id
    return key_of(request.seed, "draw", scope, request.surface, request.page, len(query.served))
