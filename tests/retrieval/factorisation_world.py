"""Small worlds for matrix factorisation."""

import numpy as np
from retrieval_world import NOW_US, showings_of

from upnext.core.types import Flag
from upnext.features.context import ContextEncoder, Vocabulary
from upnext.retrieval.factorisation.interactions import Interactions
from upnext.retrieval.material import Material, VideoCodes

N_TASTES = 4
MINUTE_US = 60_000_000


def pairs_of_matrix(confidence):
    """The pairs of a dense float[u, i]; 0: never shown."""
    user, item = np.nonzero(confidence)
    start = np.searchsorted(user, np.arange(len(confidence) + 1)).astype(np.int64)
    return Interactions(start, item.astype(np.int64), confidence[user, item].astype(np.float32))


def random_pairs(n_users=13, n_items=9, seed=0, values=(-2.0, 1.0, 3.0)):
    """Pairs with confidences of both signs, and their dense matrix."""
    rng = np.random.default_rng(seed)
    dense = rng.choice(values, (n_users, n_items)) * (rng.random((n_users, n_items)) < 0.4)
    return pairs_of_matrix(dense), dense


def dense_loss(dense, users, items, w, *, weighs="unobserved"):
    """Design A's loss with numpy alone, without ridge: every pair is looked at."""
    score, total = users.astype(float) @ items.astype(float).T, 0.0
    for u in range(len(dense)):
        for i in range(dense.shape[1]):
            c = dense[u, i]
            target = 1.0 if c > 0 else 0.0
            if c != 0:
                total += abs(c) * (target - score[u, i]) ** 2
            if c == 0 or weighs == "all":
                total += w * score[u, i] ** 2
    return total


def codes_of(n_items):
    """Codes that say nothing."""
    zeros = np.zeros(n_items, np.int64)
    return VideoCodes(
        zeros.astype(np.int32), zeros, zeros.astype(np.int32), np.ones(n_items, np.float32),
        zeros.astype(bool), zeros,
    )  # fmt: skip


def taste_material(n_users=48, n_items=60, n_shown=9, seed=3, only=None):
    """Each viewer is shown videos of one taste only; content is the taste, one-hot. The last four videos are never shown.

    only: so many of the viewers and videos of the same world, to be gone on from."""
    rng = np.random.default_rng(seed)
    taste = np.arange(n_items) % N_TASTES
    rows = []
    for user in range(n_users):
        own = np.flatnonzero(taste[:-4] == user % N_TASTES)
        for step, item in enumerate(rng.permutation(own)[:n_shown]):
            liked = Flag.LIKE if rng.random() < 0.3 else 0
            rows.append((user, int(item), NOW_US - (n_shown - step) * MINUTE_US, 1 | liked))
    if only is not None:
        rows = [row for row in rows if row[0] < only[0] and row[1] < only[1]]
        n_items = only[1]
    content = np.eye(N_TASTES, dtype=np.float32)[taste[:n_items]]
    context = ContextEncoder(Vocabulary())
    return Material(showings_of(rows, {}), content, context, codes_of(n_items)), taste[:n_items]
