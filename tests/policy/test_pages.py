"""Many pages at once are the pages that serving would draw one by one."""

from __future__ import annotations

import numpy as np

from upnext.core.randomness import rng_for
from upnext.core.types import Candidates, Float32, Int64
from upnext.policy.config import PolicyConfig
from upnext.policy.page import terms_of
from upnext.policy.pages import Requests, draw_pages
from upnext.policy.plackett_luce import PlackettLucePolicy


def test_each_row_is_the_slate_of_its_key() -> None:
    config = PolicyConfig(
        temperature=0.4, epsilon=0.05, mmr_lambda=1.0, max_per_creator=1, max_per_category=2,
        duplicate_similarity=1.0,
    )  # fmt: skip
    r, n, k = 7, 20, 6
    rng = rng_for("pages")
    item: Int64 = np.sort(rng.permuted(np.tile(np.arange(50), (r, 1)), axis=1)[:, :n], axis=1)
    value: Float32 = rng.normal(size=(r, n)).astype(np.float32)
    n_candidates = np.array([20, 20, 4, 0, 11, 6, 20])
    keys = rng.integers(0, 1 << 63, r).astype(np.uint64)
    ids = np.arange(50)
    requests = Requests(value, item, n_candidates, ids // 5, ids % 3, np.zeros((50, 0), np.float32))
    columns, propensity, n_eligible = draw_pages(terms_of(config), requests, keys, k)
    policy = PlackettLucePolicy(config, creators=lambda at: at // 5, categories=lambda at: at % 3)
    for i, m in enumerate(n_candidates.tolist()):
        assert (columns[i, min(k, m) :] == -1).all()
        if not m:
            continue
        slate = policy.draw(int(keys[i]), k, Candidates(item[i, :m]), value[i, :m])
        filled = min(k, m)
        assert (item[i, columns[i, :filled]] == slate.item_id).all()
        assert (propensity[i, :filled] == slate.propensity).all()
        assert (n_eligible[i, :filled] == slate.n_eligible).all()
