"""What the ranker learns from: one row per (viewer, video) with every label known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Array, Float32, Int64


@dataclass(frozen=True)
class RankerRows:
    """m rows; user and item columns as the feature plan names them."""

    user: Float32  # [m, f_user]
    items: Float32  # [m, f_item]
    labels: Mapping[
        str, Float32
    ]  # {task: float32[m]}, NaN where unknown; kinds as in ranking/tasks.py
    weight: Float32  # [m], of a sampled row: how many rows it stands for
    group: Int64  # [m], rows of one group are compared with each other: a user or a request
    time_us: Int64  # [m]
    user_names: tuple[str, ...]  # [f_user]
    item_names: tuple[str, ...]  # [f_item]

    def __post_init__(self) -> None:
        m = len(self.user)
        columns: dict[str, Array] = {
            "items": self.items, "weight": self.weight, "group": self.group, "time_us": self.time_us,
            **{f"label {name!r}": label for name, label in self.labels.items()},
        }  # fmt: skip
        for name, column in columns.items():
            if len(column) != m:
                raise expected(f"ranker rows, {name}", f"{m} rows", len(column))
        if (len(self.user_names), len(self.item_names)) != (
            self.user.shape[1],
            self.items.shape[1],
        ):
            raise expected(
                "ranker rows, column names",
                f"{self.user.shape[1]} of users and {self.items.shape[1]} of items",
                (len(self.user_names), len(self.item_names)),
            )

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: Array) -> RankerRows:
        """The rows selected by bool[m] or positions int64[r]."""
        return RankerRows(
            self.user[rows],
            self.items[rows],
            {name: label[rows] for name, label in self.labels.items()},
            self.weight[rows],
            self.group[rows],
            self.time_us[rows],
            self.user_names,
            self.item_names,
        )

    def requests(self) -> Int64:
        """int64[m] ascending from 0: the number of each row's request, a run of rows of one group and one instant."""
        return numbered(self.group, self.time_us)

    def label_table(self, tasks: tuple[str, ...]) -> Float32:
        """float32[m, t] of the given tasks."""
        if not tasks:
            return np.zeros((len(self), 0), np.float32)
        return np.stack([self.labels[task] for task in tasks], axis=1).astype(np.float32)


def numbered(group: Int64, time_us: Int64) -> Int64:
    """int64[m] ascending from 0: the number of the run of one group and one instant that each of m rows is in."""
    is_new = np.ones(len(group), np.bool_)
    is_new[1:] = (time_us[1:] != time_us[:-1]) | (group[1:] != group[:-1])
    return np.cumsum(is_new) - 1


def folds_of(group: Int64, n_folds: int) -> Int64:
    """int64[m]: which of the folds each row's group falls in, the same for all of its rows."""
    mixed = group.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return ((mixed >> np.uint64(33)) % np.uint64(n_folds)).astype(np.int64)
