"""Many pages at once are the pages that serving would draw one by one."""

from __future__ import annotations

import numpy as np

from upnext.core.randomness import rng_for
from upnext.core.types import Candidates, Float32, Int64
from upnext.policy.config import PolicyConfig
from upnext.policy.page import terms_of
from upnext.policy.pages import draw_pages
from upnext.policy.plackett_luce import PlackettLucePolicy


def test_each_row_is_the_slate_of_its_key() -> None:
    config = PolicyConfig(
        temperature=0.4, epsilon=0.05, mmr_lambda=1.0, max_per_creator=1, max_per_category=0,
        duplicate_similarity=1.0,
    )  # fmt: skip
    r, n, k = 7, 20, 6
    rng = rng_for("pages")
    item: Int64 = np.sort(rng.permuted(np.tile(np.arange(50), (r, 1)), axis=1)[:, :n], axis=1)
    value: Float32 = rng.normal(size=(r, n)).astype(np.float32)
    n_candidates = np.array([20, 20, 4, 0, 11, 6, 20])
    keys = rng.integers(0, 1 << 63, r).astype(np.uint64)
    columns, propensity = draw_pages(terms_of(config), value, item // 5, n_candidates, keys, k)
    policy = PlackettLucePolicy(config, creators=lambda ids: ids // 5)
    for i, m in enumerate(n_candidates.tolist()):
        assert (columns[i, min(k, m) :] == -1).all()
        if not m:
            continue
        slate = policy.draw(int(keys[i]), k, Candidates(item[i, :m]), value[i, :m])
        filled = min(k, m)
        assert (item[i, columns[i, :filled]] == slate.item_id).all()
        assert (propensity[i, :filled] == slate.propensity).all()
