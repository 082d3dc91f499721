"""A small world with a known truth for the ranker."""

from __future__ import annotations

import numpy as np
import torch

from upnext.ranking.config import RankingConfig
from upnext.ranking.curves import Curves
from upnext.ranking.ranker_network import RankerNetwork
from upnext.ranking.rows import RankerRows

NETWORK_TASKS = ("relevant", "like", "watch_s")
SMALL = RankingConfig(
    experts=2,
    expert_hidden=(16, 8),
    head_hidden=8,
    batch_size=256,
    epochs=6,
    dropout=0.0,
    learning_rate=1e-2,
)


def truth(user: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(logit of relevance, expected seconds): a viewer's first column meets the video's first."""
    logit = 1.5 * user[:, 0] * items[:, 0] - 1 + 0.5 * items[:, 1]
    return logit, np.exp(2 + 0.7 * items[:, 2])


def rows(m: int = 6_000, seed: int = 0) -> RankerRows:
    """m shown rows, a fifth more unshown ones with weight 3; f_user 3, f_item 5, one item column in large units."""
    rng = np.random.default_rng(seed)
    n_unshown = m // 5
    user = rng.normal(size=(m + n_unshown, 3)).astype(np.float32)
    items = rng.normal(size=(m + n_unshown, 5)).astype(np.float32)
    logit, mean_s = truth(user, items)
    relevant = (rng.random(len(user)) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    watch_s = rng.exponential(mean_s).astype(np.float32)
    shown = np.arange(len(user)) < m
    items[:, 3] = 1e4 + 1e3 * items[:, 3]
    items[rng.random(len(user)) < 0.1, 4] = np.nan
    unknown = np.where(shown, 0, np.nan).astype(np.float32)
    weight = np.where(shown, 1, 3).astype(np.float32)
    order = rng.permutation(len(user))
    made = RankerRows(
        user,
        items,
        {
            "relevant": np.where(shown, relevant, 0).astype(np.float32),
            "relevant_shown": relevant + unknown,
            "watch_s": watch_s + unknown,
            "share": np.zeros(len(user), np.float32) + unknown,  # never happens
        },
        weight,
        rng.integers(0, 200, len(user)),
        np.zeros(len(user), np.int64),
        ("u0", "u1", "u2"),
        ("i0", "i1", "i2", "i3", "i4"),
    ).take(order)
    made.time_us[:] = 1_000_000 * np.arange(len(user))
    return made


def network(config: RankingConfig = SMALL, *, with_curves: bool = False) -> RankerNetwork:
    generator = torch.Generator().manual_seed(3)
    rng = np.random.default_rng(0)
    user = rng.normal(2, 3, (50, 4)).astype(np.float32)
    items = rng.normal(-1, 2, (50, 7)).astype(np.float32)
    items[:, 6] = 5  # a column without spread
    curves = {"user": Curves.of(user), "item": Curves.of(items)} if with_curves else None
    model = RankerNetwork(config, NETWORK_TASKS, 4, 7, generator, curves)
    model.start_from(user, items, np.array([-1, -3, 2.0]))
    with torch.no_grad():
        model.wide_user.normal_(0, 0.3, generator=generator)
        model.wide_item.normal_(0, 0.3, generator=generator)
    return model
