"""How much of what comes next is in the order: what is lost of the steps that viewers share when each viewer's order is shuffled.

A step is two videos in a row in one viewer's past. The share of steps that some other viewer took as well says how far a next-item
model could copy others; shuffling inside each viewer keeps tastes and popularity and takes the order away (Klenitskiy et al. 2024 count
n-grams so). lost = 1 - shared(shuffled) / shared(as it was): 1 when order is everything, 0 when it is nothing.
"""

from __future__ import annotations

import math

import numpy as np

from upnext.core.randomness import rng_for
from upnext.core.types import Bool, Estimate, Float64, Int64
from upnext.evaluate.bootstrap import NOT_IDENTIFIABLE, bootstrap
from upnext.evaluate.quotient import quotient

MIN_SHARED = 100  # steps, as they are and shuffled: below, the ratio is noise


def order_lost(
    user: Int64,
    item_id: Int64,
    moment: Int64,
    *,
    n_shuffles: int = 4,
    n_resamples: int = 200,
    seed: int = 0,
) -> Estimate:
    """The share lost, with its interval over viewers. Rows are grouped by user, oldest first; "not identifiable" with too few shared steps.

    moment int64[m]: changes where time does. Rows of one moment have no order of their own: each reading of them is drawn at random."""
    rng = rng_for("order-lost", seed)
    n_users = int(user.max(initial=-1)) + 1
    as_it_was = np.zeros(n_users)
    shuffled = np.zeros(n_users)
    for _ in range(n_shuffles):
        tie = rng.random(len(user))
        as_it_was += _shared(user, item_id[np.lexsort((tie, moment, user))], n_users)
        shuffled += _shared(user, item_id[np.lexsort((tie, user))], n_users)
    if as_it_was.sum() + shuffled.sum() < MIN_SHARED * n_shuffles:
        return Estimate(math.nan, math.nan, math.nan, n_users, NOT_IDENTIFIABLE)
    return bootstrap(
        lambda users: 1.0 - quotient(users @ shuffled, users @ as_it_was),
        n_users, n_resamples=n_resamples, seed=seed,
    )  # fmt: skip


def _shared(user: Int64, item_id: Int64, n_users: int) -> Float64:
    """float64[n_users]: of each viewer's steps to another video, how many a different viewer took too."""
    is_step: Bool = (user[1:] == user[:-1]) & (item_id[1:] != item_id[:-1])
    who = user[1:][is_step]
    top = int(item_id.max(initial=0)) + 1
    _, step = np.unique(item_id[:-1][is_step] * top + item_id[1:][is_step], return_inverse=True)
    by_viewer = np.unique(step * n_users + who)  # each viewer once a step
    n_viewers = np.bincount(by_viewer // max(1, n_users), minlength=int(step.max(initial=-1)) + 1)
    return np.bincount(who[n_viewers[step] > 1], minlength=n_users).astype(np.float64)
