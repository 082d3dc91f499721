"""Logs of a policy that is known, as a material to learn from."""

import numpy as np

from upnext.core.types import Flag, Profile
from upnext.features.context import ContextEncoder, Moment, Vocabulary
from upnext.features.showings import Showings
from upnext.retrieval.material import Material, VideoCodes
from upnext.retrieval.off_policy.config import OffPolicyConfig

START_US = 1_700_000_000_000_000
MINUTE_US, HOUR_US, DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000
ENCODER = ContextEncoder(Vocabulary.learn({"surface": ["home", "shorts"]}))
SMALL = OffPolicyConfig(
    correction="learned",
    embedding_size=12, input_size=10, state_size=8, content_hidden=14, n_history=6, id_dropout=0.0,
    learning_rate=0.02, reg=0.0, batch_size=256, temperature=0.25,
)  # fmt: skip


def showings_from(
    user, item, time_us, *, flags=None, watch_s=None, surface=None, propensity=None, n_users=None
):
    """Rows in order of (user, time)."""
    user, item, time_us = (np.asarray(a, np.int64) for a in (user, item, time_us))
    n = len(user)
    surface = ["home"] * n if surface is None else surface
    moments = tuple(Moment(Profile(), int(t), s) for t, s in zip(time_us, surface))
    return Showings(
        user, item, time_us,
        np.full(n, Flag.IMPRESSION, np.uint16) if flags is None else np.asarray(flags, np.uint16),
        np.ones(n, np.float32) if watch_s is None else np.asarray(watch_s, np.float32),
        np.where(time_us > 0, np.arange(n), -1),
        tuple(f"u{i:05d}" for i in range(n_users or int(user.max(initial=-1)) + 1)), moments, {},
        None if propensity is None else np.asarray(propensity, np.float32),
    )  # fmt: skip


def material_from(showings, n_items, *, content=None, premium=()):
    codes = VideoCodes(
        np.zeros(n_items, np.int32), np.arange(n_items), np.zeros(n_items, np.int32),
        np.full(n_items, 60, np.float32), np.isin(np.arange(n_items), premium),
        np.zeros(n_items, np.int64),
    )  # fmt: skip
    content = np.eye(n_items, dtype=np.float32) if content is None else content
    return Material(showings, content, ENCODER, codes)


def armed_log(n_rows, logging, p_reward, *, seed=0, with_propensity=False):
    """Each of n_rows viewers is shown one arm, drawn from logging float[a] or float[2, a] by surface, and likes it or not."""
    rng = np.random.default_rng(seed)
    logging = np.atleast_2d(logging)
    surface = rng.integers(0, len(logging), n_rows)
    arm = (rng.random((n_rows, 1)) > np.cumsum(logging, 1)[surface][:, :-1]).sum(1)
    liked = rng.random(n_rows) < np.asarray(p_reward)[arm]
    flags = Flag.IMPRESSION | np.where(liked, Flag.LIKE, 0)
    return showings_from(
        np.arange(n_rows), arm, START_US + np.arange(n_rows) * MINUTE_US, flags=flags,
        surface=[("home", "shorts")[s] for s in surface],
        propensity=logging[surface, arm] if with_propensity else None,
    )  # fmt: skip
