"""The three trunks as one layout: which experts there are, which gate mixes which of them, and whose mixture an expert reads.

mmoe            every expert is shared, every task has a gate over all of them (Ma et al. 2018)
shared_bottom   one expert, as wide as all of them together, and no choice (Caruana 1997): the baseline
ple             shared experts and some of each task's own; a task's gate sees the shared ones and its own, and every layer of
                experts is an extraction level: the next one reads mixtures, of its task or, for shared experts, of all
                (Tang et al. 2020, progressive layered extraction)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.core.types import Bool, Int64
from upnext.ranking.config import RankingConfig


@dataclass(frozen=True)
class Layout:
    """e experts, t tasks, g gates: one a task, then, of a stacked trunk, the shared experts' own."""

    widths: tuple[int, ...]  # of each expert's layers
    sees: Bool  # [g, e] which experts a gate mixes
    reads: Int64  # [e] of a stacked trunk: the gate whose mixture the expert's next layer reads
    is_stacked: bool  # experts' later layers read mixtures, not their own layer before

    @property
    def n_experts(self) -> int:
        """e."""
        return int(self.sees.shape[1])

    @property
    def n_gates(self) -> int:
        """g."""
        return len(self.sees)

    @staticmethod
    def of(config: RankingConfig, n_tasks: int) -> Layout:
        """The trunk that the settings name, for t tasks."""
        widths = config.expert_hidden
        if config.trunk == "shared_bottom":
            return Layout.open(1, tuple(config.experts * width for width in widths), n_tasks)
        if config.trunk == "mmoe":
            return Layout.open(config.experts, widths, n_tasks)
        own = np.repeat(np.arange(n_tasks), config.task_experts)
        reads = np.concatenate([np.full(config.experts, n_tasks), own]).astype(np.int64)
        sees = (reads[None, :] == n_tasks) | (reads[None, :] == np.arange(n_tasks)[:, None])
        is_stacked = len(widths) > 1
        if is_stacked:  # the shared experts' mixture is of everything
            sees = np.concatenate([sees, np.ones((1, len(reads)), np.bool_)])
        return Layout(widths, sees, reads, is_stacked)

    @staticmethod
    def open(n_experts: int, widths: tuple[int, ...], n_tasks: int) -> Layout:
        """Every task's gate sees every expert."""
        sees = np.ones((n_tasks, n_experts), np.bool_)
        return Layout(widths, sees, np.zeros(n_experts, np.int64), is_stacked=False)
