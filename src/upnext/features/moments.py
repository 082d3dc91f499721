"""The contexts in which something was shown, as columns: a Moment is made when it is asked for.

A long log has a moment per viewer and instant. As objects they would cost ten times what they say; here a moment is a viewer, a time and
the number of its words, 16 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from upnext.core.types import Array, Int64, Profile
from upnext.features.context import Moment

WORDS = ("surface", "device", "country", "language", "time_zone", "logged_in")
Words = tuple[str | None, str | None, str | None, str | None, str | None, bool | None]  # as WORDS


@dataclass(frozen=True, eq=False)
class Moments(Sequence[Moment]):
    """k moments of logged viewers."""

    user: Array  # int32[k] row in profiles
    time_us: Int64  # [k]
    words: Array  # int32[k] row in contexts
    profiles: Sequence[Profile]
    contexts: Sequence[Words]

    def __len__(self) -> int:
        return len(self.time_us)

    def __getitem__(self, place: int) -> Moment:  # type: ignore[override]  # no slices: nothing asks for them
        surface, device, country, language, zone, logged_in = self.contexts[self.words[place]]
        return Moment(
            self.profiles[self.user[place]],
            int(self.time_us[place]),
            surface or "",
            device,
            country,
            language,
            zone,
            logged_in is not False,
        )


def numbered(context: pl.DataFrame) -> tuple[Array, Sequence[Words]]:
    """(int32[k] which of the contexts each row is, the contexts) of a frame with the columns WORDS."""
    known = context.unique(maintain_order=True).with_row_index("number")
    joined = context.join(
        known, on=list(WORDS), how="left", nulls_equal=True, maintain_order="left"
    )
    number = joined.get_column("number").to_numpy().astype(np.int32)
    return number, known.with_columns(pl.col(pl.Categorical).cast(pl.String)).select(WORDS).rows()
