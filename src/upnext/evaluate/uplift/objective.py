"""How a creator's response enters a score (METHODS.md H1)."""

from __future__ import annotations

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Float64


def creator_uplift(
    p_create_if_watched: Float64,
    p_create_if_skipped: Float64,
    p_watch: Float64,
    p_skip: Float64,
    p_create: Float64,
) -> Float64:
    """float64[n]: how much more likely the creator c of video v is to create when v is recommended to u.

        Uplift(u, v of creator c) = P_create(c | v watched by u) P_watch(u, v) + P_create(c | v skipped by u) P_skip(u, v) - P_create(c)

    P_create(c), `p_create`, is the probability that c creates without this recommendation. The mean over what happens with it would be
    the first two terms themselves, and every uplift 0. Raises InvalidInput where an input is no probability, or where a
    video is more often watched or skipped than recommended."""
    inputs = {
        "P_create(c | watched)": p_create_if_watched,
        "P_create(c | skipped)": p_create_if_skipped,
        "P_watch": p_watch,
        "P_skip": p_skip,
        "P_create(c)": p_create,
        "P_watch + P_skip": np.asarray(p_watch + p_skip - 1e-9),
    }
    for name, p in inputs.items():
        wrong = ~((p >= -1e-9) & (p <= 1))
        if wrong.any():
            raise expected(name, "probabilities", float(np.asarray(p)[wrong][0]))
    with_it = p_create_if_watched * p_watch + p_create_if_skipped * p_skip
    return np.asarray(with_it - p_create, np.float64)
