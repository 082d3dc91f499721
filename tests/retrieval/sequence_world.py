"""Small materials for the sequence model: given rows, and worlds whose best possible ranking is known."""

import numpy as np

from upnext.core.types import Flag, Profile
from upnext.features.context import ContextEncoder, Moment, Vocabulary
from upnext.features.showings import Showings
from upnext.retrieval.material import Material, VideoCodes
from upnext.retrieval.sequence.config import SequenceConfig

SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
START_US = 1_650_000_000 * SECOND_US // (24 * HOUR_US) * 24 * HOUR_US
ENCODER = ContextEncoder(Vocabulary.learn({"surface": ["home"]}))
# the order of videos alone
PLAIN = SequenceConfig(
    embedding_size=16, layer="sasrec", n_layers=1, length=12, dropout=0.0, content=False,
    codes=False, feedback=False, context=False, time_bias=False, popularity=False,
    category_weight=0.0, loss="full", id_dropout=0.0, exclude_seen=False, relevant_weight=1.0, batch_size=32,
    learning_rate=0.02, epochs=8, device="cpu",
)  # fmt: skip


def showings_of(item_id, time_us=None, flags=None, watch_s=None):
    """Showings of u users of h rows each: item_id int64[u, h]; without times they are untimed."""
    n_users, h = item_id.shape
    timed = time_us is not None
    times = time_us.ravel() if timed else np.zeros(item_id.size, np.int64)
    flat = np.full(item_id.size, Flag.IMPRESSION, np.uint16) if flags is None else flags.ravel()
    return Showings(
        np.repeat(np.arange(n_users), h),
        item_id.ravel().astype(np.int64),
        times.astype(np.int64),
        flat.astype(np.uint16),
        np.zeros(item_id.size, np.float32) if watch_s is None else watch_s.ravel(),
        np.arange(item_id.size) if timed else np.full(item_id.size, -1, np.int64),
        tuple(f"u{u}" for u in range(n_users)),
        [Moment(Profile(), int(t), "home") for t in times] if timed else (),
        {},
    )


def codes_of(n_items, seed=3):
    """Codes of videos, some of them unknown."""
    rng = np.random.default_rng(seed)
    return VideoCodes(
        rng.integers(-1, 4, n_items).astype(np.int32),
        rng.integers(-1, 9, n_items),
        rng.integers(-1, 2, n_items).astype(np.int32),
        rng.uniform(5, 60, n_items).astype(np.float32),
        np.zeros(n_items, bool),
        np.zeros(n_items, np.int64),
    )


def material_of(showings, n_items, n_content=5):
    """Material with random content."""
    content = np.random.default_rng(4).normal(size=(n_items, n_content)).astype(np.float32)
    return Material(showings, content, ENCODER, codes_of(n_items))


def random_material(n_users=21, n_items=34, h=9, seed=0):
    """Nobody sees a video twice; half of everything was done to it."""
    rng = np.random.default_rng(seed)
    item_id = np.stack([rng.permutation(n_items)[:h] for _ in range(n_users)])
    time_us = START_US + np.sort(rng.integers(1, 5 * 24 * 3600, (n_users, h)), 1) * SECOND_US
    flags = rng.integers(0, 8192, (n_users, h)).astype(np.uint16) | Flag.IMPRESSION
    watch_s = rng.uniform(0, 60, (n_users, h)).astype(np.float32)
    return material_of(showings_of(item_id, time_us, flags, watch_s), n_items)


def chain(transition, n_users, h, rng, lag=1):
    """int64[u, h]: each item is drawn by transition float64[i, i] of the item `lag` before it."""
    n_items = len(transition)
    item_id = rng.integers(0, n_items, (n_users, h))
    edges = transition.cumsum(1)
    for step in range(lag, h):
        draw = rng.random(n_users)[:, None]
        item_id[:, step] = (draw > edges[item_id[:, step - lag]]).sum(1).clip(0, n_items - 1)
    return item_id


def expected_ndcg(scores, p, k=10):
    """float64[u]: NDCG@k of rankings by scores float[u, i] when the next item is drawn from p float64[u, i]."""
    place = np.argsort(np.argsort(-scores, 1, kind="stable"), 1, kind="stable")
    return (p * np.where(place < k, 1 / np.log2(place + 2), 0)).sum(1)
