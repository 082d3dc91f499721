"""How likely the logging policy was to show what it showed, from counts alone: the baseline that needs no model.

P(video) is its share of the actions of the same window, smoothed towards its share of all of them. It knows nothing of the viewer;
the learned head (network.py) starts from those shares and does. Rows that are no actions (stored histories, second showings) say nothing of the
choice: taken along, 817,000 stored rows of another month once set what 127,000 actions should have.
"""

from __future__ import annotations

import numpy as np

from upnext.core.clock import HOUR_US
from upnext.core.types import Bool, Float32, Float64, Int64
from upnext.features.showings import Showings
from upnext.retrieval.off_policy.config import OffPolicyConfig


def shares_of(item_id: Int64, n_items: int) -> Float64:
    """float64[n_items]: each video's share of the actions int64[m], with one more action spread over all videos; sums to 1."""
    counts = np.bincount(item_id, minlength=n_items) + 1.0 / n_items
    return np.asarray(counts / counts.sum(), np.float64)


def counted_propensities(
    showings: Showings, is_action: Bool, n_items: int, config: OffPolicyConfig
) -> Float32:
    """float32[m]: the smoothed share of each action's video among the actions of its window, NaN for other rows; untimed actions are
    a window of their own."""
    item_id = showings.item_id[is_action]
    window = showings.time_us[is_action] // int(config.count_window_h * HOUR_US)
    window = np.unique(window, return_inverse=True)[1]
    pair = window * n_items + item_id
    _, place, counts = np.unique(pair, return_inverse=True, return_counts=True)
    prior = config.count_smoothing * shares_of(item_id, n_items)[item_id]
    total = np.bincount(window)[window] + config.count_smoothing
    found = np.full(len(showings), np.nan, np.float32)
    found[is_action] = (counts[place] + prior) / total
    return found
