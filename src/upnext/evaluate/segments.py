"""Groups of rows to look at apart: masks by name, over showings or over (viewer, relevant video) pairs alike."""

from __future__ import annotations

import numpy as np

from upnext.core.types import Array, Bool
from upnext.evaluate.binary import mass_bins


def viewer_segments(n_seen: Array) -> dict[str, Bool]:
    """{"viewer=new", "viewer=known": bool[m]} by n_seen [m], the showings of each row's viewer before the window."""
    is_new = np.asarray(n_seen) == 0
    return {"viewer=new": is_new, "viewer=known": ~is_new}


def taste_segments(mean_popularity: Array) -> dict[str, Bool]:
    """{"taste=niche", "taste=mainstream": bool[m]}: the viewers of least and of most popular tastes, a quarter each; NaN [m] in neither.

    mean_popularity [m]: of what each row's viewer watched before. Empty groups are left out."""
    values = np.asarray(mean_popularity, np.float64)
    if not np.isfinite(values).any():
        return {}
    low, high = np.nanquantile(values, (0.25, 0.75))
    masks = {"taste=niche": values <= low, "taste=mainstream": values >= high}
    return {key: mask for key, mask in masks.items() if mask.any()}


def decile_segments(name: str, values: Array) -> dict[str, Bool]:
    """{"<name>_decile=1" .. "=10", "<name>=unknown": bool[m]}, lowest first, equal values together; empty ones are left out."""
    values = np.asarray(values, np.float64)
    is_known = np.isfinite(values)
    bins = np.full(len(values), -1, np.int64)
    bins[is_known] = mass_bins(values[is_known], 10)
    masks = {f"{name}_decile={i + 1}": bins == i for i in range(10)}
    masks[f"{name}=unknown"] = ~is_known
    return {key: mask for key, mask in masks.items() if mask.any()}


def value_segments(name: str, values: Array, largest: int) -> dict[str, Bool]:
    """{"<name>=<value>", "<name>=other", "<name>=unknown": bool[m]} of words str[m], "" unknown: the `largest` most frequent apart.

    Equal counts in order of the alphabet; empty groups are left out, and so is everything when no value is known."""
    values = np.asarray(values, np.str_)
    words, counts = np.unique(values[values != ""], return_counts=True)
    apart = words[np.lexsort((words, -counts))[:largest]]
    if not len(apart):
        return {}
    masks = {f"{name}={word}": values == word for word in apart.tolist()}
    masks[f"{name}=other"] = ~np.isin(values, apart) & (values != "")
    masks[f"{name}=unknown"] = values == ""
    return {key: mask for key, mask in masks.items() if mask.any()}
