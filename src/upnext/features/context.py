"""Who asks, when and where, as one dense row: design A's viewer and context inputs, for towers and ranker alike.

A vocabulary is learned from the data at training and travels in the release; a value it does not know is "other", a missing one
"missing", so a new country never breaks a served model.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from upnext.core.clock import DAY_US, HOUR_US
from upnext.core.types import Float32, Profile, Request
from upnext.features.local_time import local_us

AGE_EDGES = (18, 25, 35, 45, 55, 65)
_ANGLE = 2 * np.pi * np.arange(24) / 24
_CLOCK = np.stack(
    [np.sin(_ANGLE), np.cos(_ANGLE), np.sin(2 * _ANGLE), np.cos(2 * _ANGLE)], axis=1
)  # [24 hours, 4]
SIZES: Mapping[str, int] = {
    "gender": 3, "language": 24, "country": 32, "city": 32, "device": 8, "surface": 16,
}  # fmt: skip


@dataclass(frozen=True)
class Vocabulary:
    """The known values of each word-like field, commonest first."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @staticmethod
    def learn(columns: Mapping[str, Iterable[str | None]]) -> Vocabulary:
        """The commonest values of each field, at most SIZES[field]; ties in alphabetical order."""
        known: dict[str, tuple[str, ...]] = {}
        for name, size in SIZES.items():
            counts = Counter(v for v in columns.get(name, ()) if v)
            ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            known[name] = tuple(value for value, _ in ranked[:size])
        return Vocabulary(known)

    def to_json(self) -> dict[str, list[str]]:
        """The values as plain lists."""
        return {name: list(values) for name, values in self.values.items()}

    @staticmethod
    def from_json(data: Mapping[str, Sequence[str]]) -> Vocabulary:
        """The inverse of to_json."""
        return Vocabulary({name: tuple(values) for name, values in data.items()})


@dataclass(frozen=True, slots=True)
class Moment:
    """What context needs of one request or one logged showing."""

    profile: Profile
    time_us: int
    surface: str
    device: str | None = None
    country: str | None = None  # of the request, before the profile's
    language: str | None = None
    time_zone: str | None = None
    logged_in: bool = True

    @staticmethod
    def of(request: Request, profile: Profile) -> Moment:
        """The moment of a request."""
        return Moment(
            profile,
            request.time_us,
            request.surface,
            request.device,
            request.country,
            request.language,
            request.time_zone,
            request.logged_in,
        )


class ContextEncoder:
    """Moments to rows: float32[m, size], every column named."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._places: list[dict[str, int]] = []  # of each field: value -> column
        names: list[str] = []
        for field_name in SIZES:
            values = vocabulary.values.get(field_name, ())
            place = {v: len(names) + i for i, v in enumerate(values)}
            names += [f"{field_name}={v}" for v in values]
            place[""] = len(names)
            self._places.append(place)
            names += [f"{field_name}=missing", f"{field_name}=other"]
        self._age = len(names)
        names += ["age=missing"] + [f"age_bucket={i}" for i in range(len(AGE_EDGES) + 1)]
        self._numeric = len(names)
        names += ["hour_sin", "hour_cos", "hour_sin2", "hour_cos2"]
        names += [f"weekday={i}" for i in range(7)]
        names += ["logged_in", "is_creator", "log_account_age_d"]
        self.names = tuple(names)
        self.size = len(names)

    def encode(self, moments: Sequence[Moment]) -> Float32:
        """float32[m, size] of m moments."""
        rows = np.zeros((len(moments), self.size), np.float32)
        for row, moment in zip(rows, moments, strict=True):
            self.fill(row, moment)
        return rows

    def fill(self, row: Float32, moment: Moment) -> None:
        """Writes float32[size] of one moment; `row` holds zeros."""
        profile = moment.profile
        country = moment.country or profile.country
        words = (
            profile.gender,
            moment.language or profile.language,
            country,
            profile.city,
            moment.device,
            moment.surface,
        )
        places = [
            place.get(value or "", place[""] + 1) for place, value in zip(self._places, words)
        ]
        bucket = 0 if profile.age is None else 1 + bisect_right(AGE_EDGES, profile.age)
        local = int(local_us(moment.time_us, moment.time_zone or profile.time_zone, country))
        at = self._numeric
        places += [self._age + bucket, at + 4 + (local // DAY_US + 3) % 7]
        for place in places:
            row[place] = 1.0
        row[at : at + 4] = _CLOCK[(local // HOUR_US) % 24]
        row[at + 11] = moment.logged_in
        row[at + 12] = profile.is_creator
        if profile.signed_up_us is not None:
            row[at + 13] = math.log1p(max(0, moment.time_us - profile.signed_up_us) / DAY_US) / 8
