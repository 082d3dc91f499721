"""Groups beside each other: rates, shares and differences, all from the same resamples of viewers.

A resample draws viewers once for every group, so a difference of two groups keeps whatever they share: the same viewers at two hours, or
under two releases, make a paired interval; other viewers make an unpaired one. Nothing has to be said about which it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from upnext.core.types import Array, Estimate, Float64, Int64
from upnext.evaluate.bootstrap import NOT_IDENTIFIABLE, estimate_of, resample
from upnext.evaluate.online import COUNTS, MAX_UNITS, RATES, ViewerSums, dealt
from upnext.evaluate.quotient import quotient

LEAST_VIEWERS = 30  # a group with fewer is merged, or shown without a comparison
MOST_GROUPS = 16
SMALL = "small groups"
_AT = {name: j for j, name in enumerate(COUNTS)}


@dataclass(frozen=True)
class Groups:
    """g groups of one key; c sums (COUNTS) in each of b resamples."""

    names: tuple[str, ...]
    counts: Float64  # [g, c]
    draws: Float64  # [b, g, c]

    @staticmethod
    def of(sums: ViewerSums, *, n_resamples: int = 1000, seed: int = 0) -> Groups:
        """The groups in the order of their key's values; several keys are one name, "a / b"."""
        key = pl.concat_str([pl.col(k).cast(pl.String) for k in sums.keys], separator=" / ")
        frame = sums.frame.select("user_id", *COUNTS, group=key)
        if frame.get_column("user_id").n_unique() > MAX_UNITS:
            frame = dealt(frame, ("group",))
        names = frame.get_column("group").unique().sort()
        units = frame.get_column("user_id").cast(pl.String)
        row = units.rank("dense").to_numpy().astype(np.int64) - 1
        column = frame.get_column("group").rank("dense").to_numpy().astype(np.int64) - 1
        table = np.zeros((int(row.max()) + 1 if len(row) else 0, len(names), len(COUNTS)))
        np.add.at(table, (row, column), frame.select(COUNTS).to_numpy())
        flat = table.reshape(len(table), len(names) * len(COUNTS))
        drawn = [w @ flat for w in resample(len(table), n_resamples=n_resamples, seed=seed)]
        draws = np.concatenate(drawn) if drawn else np.zeros((0, flat.shape[1]))
        shape = (len(draws), len(names), len(COUNTS))
        return Groups(tuple(names.to_list()), table.sum(axis=0), draws.reshape(shape))

    def count(self, name: str) -> Float64:
        """float64[g] of one of COUNTS."""
        return np.asarray(self.counts[:, _AT[name]], np.float64)

    def is_small(self) -> Array:
        """bool[g]: fewer than LEAST_VIEWERS viewers."""
        return self.count("viewers") < LEAST_VIEWERS

    def rates(self, rate: str) -> list[Estimate]:
        """The rate of each group."""
        return self._figures(lambda sums: _rate(sums, rate))

    def shares(self, name: str) -> list[Estimate]:
        """Each group's share of one of COUNTS."""
        return self._figures(lambda sums: _share(sums, name))

    def share_gaps(self, name: str, than: str) -> list[Estimate]:
        """Each group's share of `name` less its share of `than`."""
        return self._compared(lambda sums: _share(sums, name) - _share(sums, than))

    def differences(self, rate: str) -> list[Estimate]:
        """The rate of each group less that of all the other groups together; not compared where a side is small."""
        return self._compared(lambda sums: _rate(sums, rate) - _rate(_rest(sums), rate))

    def changes(self, rate: str) -> list[Estimate]:
        """The same, relative to the other groups' rate."""
        return self._compared(
            lambda sums: quotient(_rate(sums, rate), _rate(_rest(sums), rate)) - 1
        )

    def change(self, rate: str, before: int, after: int) -> Estimate:
        """The rate of group `after` relative to that of `before`, less 1; not compared where either is small."""
        if self.is_small()[[before, after]].any():
            return not_compared(float(self.count("viewers")[[before, after]].min()))

        def relative(sums: Float64) -> Float64:
            rates = _rate(sums, rate)
            return quotient(rates[:, after], rates[:, before]) - 1

        point = float(relative(self.counts[None])[0])
        return estimate_of(
            point, relative(self.draws), self.count("viewers")[[before, after]].min()
        )

    def _figures(self, of: Callable[[Float64], Float64]) -> list[Estimate]:
        points, draws = of(self.counts[None])[0], of(self.draws)
        viewers = self.count("viewers")
        return [estimate_of(points[i], draws[:, i], viewers[i]) for i in range(len(self.names))]

    def _compared(self, of: Callable[[Float64], Float64]) -> list[Estimate]:
        figures, viewers, is_small = self._figures(of), self.count("viewers"), self.is_small()
        if len(self.names) < 2:
            return [not_compared(n) for n in viewers]
        return [
            not_compared(viewers[i]) if is_small[i] else figure for i, figure in enumerate(figures)
        ]

    def ordered(self, names: Sequence[str]) -> Groups:
        """The same groups, those of `names` first and in that order."""
        place = {name: i for i, name in enumerate(names)}
        order: Int64 = np.array(
            sorted(range(len(self.names)), key=lambda i: (place.get(self.names[i], len(place)), i)),
            np.int64,
        )
        kept = tuple(self.names[i] for i in order.tolist())
        return Groups(kept, self.counts[order], self.draws[:, order])


def merged_small(sums: ViewerSums) -> tuple[ViewerSums, tuple[str, ...]]:
    """(the sums of one key of viewers, its groups with fewer than LEAST_VIEWERS viewers and those beyond MOST_GROUPS as one, which these were).

    Only for keys under which a viewer is in one group: then sums of groups are sums over viewers."""
    [key] = sums.keys
    text = pl.col(key).cast(pl.String)
    sizes = sums.frame.group_by(text).agg(pl.col("viewers").sum())
    sizes = sizes.sort("viewers", key, descending=[True, False])
    is_kept = (pl.col("viewers") >= LEAST_VIEWERS) & (pl.int_range(pl.len()) < MOST_GROUPS)
    gone = tuple(sizes.filter(~is_kept).get_column(key).sort().to_list())
    if len(gone) < 2:  # one small group alone keeps its name
        return sums, ()
    named = pl.when(text.is_in(gone)).then(pl.lit(SMALL)).otherwise(text).alias(key)
    return ViewerSums(sums.keys, sums.frame.with_columns(named)), gone


def not_compared(n_viewers: float) -> Estimate:
    """A difference that is not told."""
    nan = float("nan")
    return Estimate(nan, nan, nan, n_viewers, NOT_IDENTIFIABLE)


def _rate(sums: Float64, rate: str) -> Float64:
    above, below = RATES[rate]
    return quotient(sums[..., _AT[above]], sums[..., _AT[below]])


def _share(sums: Float64, name: str) -> Float64:
    column = sums[..., _AT[name]]
    return quotient(column, column.sum(axis=-1, keepdims=True))


def _rest(sums: Float64) -> Float64:
    return np.asarray(sums.sum(axis=-2, keepdims=True) - sums, np.float64)
