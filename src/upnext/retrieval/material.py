"""What a candidate generator learns from: every showing, the videos' content, and what the catalogue says of them in codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from upnext.core.types import Array, Bool, Float32, Int64
from upnext.features.context import ContextEncoder
from upnext.features.showings import Showings


class Coded(Protocol):
    """The catalogue's columns by item_id (catalog.CatalogView has them)."""

    @property
    def category(self) -> Array: ...

    @property
    def creator(self) -> Int64: ...

    @property
    def language(self) -> Array: ...

    @property
    def duration_s(self) -> Float32: ...

    @property
    def is_premium(self) -> Bool: ...

    @property
    def uploaded_us(self) -> Int64: ...


@dataclass(frozen=True)
class VideoCodes:
    """i videos by what the catalogue says of them; codes are its own, -1 unknown."""

    category: Array  # int32[i]
    creator: Int64  # [i]
    language: Array  # int32[i]
    duration_s: Float32  # [i] seconds, NaN unknown
    is_premium: Bool  # [i]
    uploaded_us: Int64  # [i]

    def __len__(self) -> int:
        return len(self.category)

    def where(self, mask: Bool) -> VideoCodes:
        """The videos where mask bool[i] holds."""
        return VideoCodes(
            self.category[mask],
            self.creator[mask],
            self.language[mask],
            self.duration_s[mask],
            self.is_premium[mask],
            self.uploaded_us[mask],
        )

    @staticmethod
    def of(view: Coded, item_id: Int64) -> VideoCodes:
        """The codes of these videos, in their order."""
        return VideoCodes(
            np.asarray(view.category[item_id], np.int32),
            np.asarray(view.creator[item_id], np.int64),
            np.asarray(view.language[item_id], np.int32),
            np.asarray(view.duration_s[item_id], np.float32),
            np.asarray(view.is_premium[item_id], np.bool_),
            np.asarray(view.uploaded_us[item_id], np.int64),
        )


@dataclass(frozen=True)
class Material:
    """Everything up to an instant. Content and codes are by item_id and as long as each other.

    since_us: what a fine-tuning learns from; earlier showings are what viewers had seen by then, and no examples."""

    showings: Showings
    content: Float32  # [i, c]
    context: ContextEncoder
    videos: VideoCodes
    since_us: int = 0

    @property
    def n_items(self) -> int:
        """How many videos there are."""
        return len(self.content)
