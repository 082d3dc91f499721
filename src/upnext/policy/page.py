"""One slate in the making: who is eligible for the next slot, how similar to what stands, and how likely.

The formulas are those of policy/plackett_luce.py. A slot costs a dozen numpy calls on buffers made once: scores are kept divided
by the temperature, minus infinity for what is not eligible, and made anew only when a rule's mask changed; the running sum of the
softmax's weights is total and draw at once. Nothing here is a vector of probabilities: a draw needs one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from upnext.core.types import Bool, Float32, Float64
from upnext.policy.cap import Cap
from upnext.policy.config import PolicyConfig

RULES: Final = ("category", "creator", "duplicate")  # in the order in which they give way
_FAINT: Final = 1e-9  # a sum of weights below it: they are taken from a new greatest score


class Page:
    """The slots placed so far, and the next one's distribution after `weigh`."""

    def __init__(
        self, config: PolicyConfig, z: Float64, caps: Mapping[str, Cap], vectors: Float32 | None
    ) -> None:
        """z float64[n] standardised values; caps by rule; vectors float32[n, d], unit rows, or none."""
        n = len(z)
        per_temperature = 1 / config.temperature if config.temperature > 0 else 1.0
        self.n_eligible = n  # for the next slot
        self._config = config
        relevance = (config.mmr_lambda * per_temperature) * z
        self._relevance = relevance - relevance.max(initial=-np.inf)  # <= 0
        self._distance = np.float64((config.mmr_lambda - 1) * per_temperature)  # <= 0
        self._vectors = vectors
        self._similarity = np.zeros(n, np.float32)  # the greatest to a placed video, at least 0
        self._cosine = np.empty(n, np.float32)
        self._caps = caps
        self._duplicate: Bool | None = None
        self._free = np.ones(n, np.bool_)
        self._is_sifted = False  # whether _score and _eligible are those of the rules as they stand
        self._score = np.empty(n)  # relevance / temperature less a constant, -inf: not eligible
        self._eligible = np.empty(n)  # 1.0 or 0.0
        self._weight = np.empty(n)  # probability times the running sum's end
        self._even = np.empty(n)  # what epsilon gives
        self._running = np.empty(n)
        self._ones = np.ones(n)

    def is_placed(self, row: int) -> bool:
        """Whether the video already stands in an earlier slot."""
        return not self._free[row]

    def blocked(self) -> dict[str, Bool]:
        """{rule: bool[n]}: the videos that each rule forbids for the next slot; in the order of RULES."""
        found = {rule: cap.forbidden() for rule, cap in self._caps.items()}
        found["duplicate"] = self._duplicate
        return {rule: mask for rule in RULES if (mask := found.get(rule)) is not None}

    def weigh(self) -> None:
        """Makes the next slot's distribution; at least one video must be free."""
        if not self._is_sifted:
            self._sift()
        total = self._softmax()
        if total < _FAINT:
            self._score -= self._scores_now().max()
            total = self._softmax()
        weight, epsilon = self._weight, self._config.epsilon
        if epsilon == 1:
            np.copyto(weight, self._eligible)
        elif epsilon > 0:
            share = epsilon / (1 - epsilon) * total / self.n_eligible
            weight += np.multiply(self._eligible, share, out=self._even)
        np.add.accumulate(weight, out=self._running)

    def probability(self, row: int) -> float:
        """The next slot's probability of the video; 0 where it is not eligible."""
        return min(self._weight.item(row) / self._running.item(-1), 1.0)

    def pick(self, noise: float) -> int:
        """The row where the running sum of probabilities passes noise in [0, 1) of their sum; never one of probability 0."""
        running = self._running
        total = running.item(-1)
        row = int(running.searchsorted(noise * total, side="right"))
        if row == len(running):  # noise * total was rounded up to total
            row = int(running.searchsorted(total, side="left"))
        return row

    def place(self, row: int) -> None:
        """Puts a video in the next slot, eligible or not."""
        self._free[row] = False
        is_sifted = self._is_sifted
        if is_sifted and self._eligible.item(row):
            self._score[row] = -np.inf
            self._eligible[row] = 0
            self.n_eligible -= 1
            is_sifted = self.n_eligible > 0  # else a rule gives way
        if self._vectors is not None:
            is_sifted &= not self._compare(self._vectors, row)
        for cap in self._caps.values():
            is_sifted &= not cap.place(row)
        self._is_sifted = is_sifted

    def _compare(self, vectors: Float32, row: int) -> bool:
        """Takes in how similar all are to a placed one -> whether there are new near duplicates."""
        cosine = np.dot(vectors, vectors[row], out=self._cosine)
        np.maximum(self._similarity, cosine, out=self._similarity)
        limit = self._config.duplicate_similarity
        if limit == 1:
            return False
        cosine[row] = 0
        if cosine.item(cosine.argmax()) <= limit:
            return False
        self._duplicate = self._similarity > limit
        return True

    def _sift(self) -> None:
        """Finds the eligible: free and allowed by every rule; rules give way in the order of RULES until a video is left."""
        rules = list(self.blocked().values())
        for first in range(len(rules) + 1):
            eligible = self._free
            for mask in rules[first:]:
                eligible = eligible > mask  # and not blocked
            self.n_eligible = int(np.count_nonzero(eligible))
            if self.n_eligible:
                break
        np.copyto(self._eligible, eligible)
        self._score.fill(-np.inf)
        np.copyto(self._score, self._relevance, where=eligible)
        self._is_sifted = True

    def _softmax(self) -> float:
        """The sum of the softmax's weights, which it leaves in the buffer: in (0, 1], or 0."""
        weight = self._scores_now()
        if self._config.temperature > 0:
            np.exp(weight, out=weight)
        else:
            best = weight.argmax()
            weight.fill(0)
            weight[best] = 1
        return float(weight.dot(self._ones))

    def _scores_now(self) -> Float64:
        """The scores with the distance to what stands taken off, in the weights' buffer; at most 0."""
        if self._vectors is None:
            np.copyto(self._weight, self._score)
        else:
            np.multiply(self._similarity, self._distance, out=self._weight)
            self._weight += self._score
        return self._weight
