"""How likely the logging policy was to show what it showed, from counts alone: the baseline that needs no model.

P(video) is its share of the showings of the same window, smoothed towards its share of the whole log. It knows nothing of the viewer;
the learned head (network.py) starts from the whole log's shares and does.
"""

from __future__ import annotations

import numpy as np

from upnext.core.clock import HOUR_US
from upnext.core.types import Float32, Float64
from upnext.features.showings import Showings
from upnext.retrieval.off_policy.config import OffPolicyConfig


def shares_of(showings: Showings, n_items: int) -> Float64:
    """float64[n_items]: each video's share of the showings, with one more showing spread over all videos; sums to 1."""
    counts = np.bincount(showings.item_id, minlength=n_items) + 1.0 / n_items
    return np.asarray(counts / counts.sum(), np.float64)


def counted_propensities(showings: Showings, n_items: int, config: OffPolicyConfig) -> Float32:
    """float32[m]: the smoothed share of each row's video among the showings of its window; untimed rows are a window of their own."""
    window = showings.time_us // int(config.count_window_h * HOUR_US)
    window = np.unique(window, return_inverse=True)[1]
    pair = window * n_items + showings.item_id
    _, place, counts = np.unique(pair, return_inverse=True, return_counts=True)
    prior = config.count_smoothing * shares_of(showings, n_items)[showings.item_id]
    total = np.bincount(window)[window] + config.count_smoothing
    return np.asarray((counts[place] + prior) / total, np.float32)
