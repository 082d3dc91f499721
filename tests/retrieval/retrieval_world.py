"""Small worlds for the retrieval room: a catalogue, counters and showings whose answers are known."""

from dataclasses import dataclass, field

import numpy as np

from upnext.core.types import Flag, History, Profile, Query, Request, User
from upnext.features.context import ContextEncoder, Moment, Vocabulary
from upnext.features.country_counts import CountryCounts
from upnext.features.showings import Showings
from upnext.retrieval.material import Material, VideoCodes

DAY_US = 86_400_000_000
NOW_US = 1_700_000_000_000_000


@dataclass
class Shelf:
    """A catalogue in memory with the columns that sources read."""

    n_items: int
    language: np.ndarray = None
    uploaded_us: np.ndarray = None
    creator: np.ndarray = None
    latitude: np.ndarray = None
    longitude: np.ndarray = None
    languages: tuple = ("en", "hi")

    def __post_init__(self):
        n = self.n_items
        self.language = np.zeros(n, np.int32) if self.language is None else self.language
        if self.uploaded_us is None:
            self.uploaded_us = NOW_US - (1 + np.arange(n)) * DAY_US // 24
        self.creator = np.arange(n) // 2 if self.creator is None else self.creator
        if self.latitude is None:
            self.latitude = np.full(n, np.nan, np.float32)
            self.longitude = np.full(n, np.nan, np.float32)

    def code(self, kind, value):
        assert kind == "language"
        return self.languages.index(value) if value in self.languages else -1

    def item_id(self, video_id):
        place = int(video_id[1:])
        return place if place < self.n_items else -1


@dataclass
class Tally:
    """Counters with fixed values, and how often they were read."""

    columns: dict = field(default_factory=dict)
    n_reads: int = 0
    countries: CountryCounts = field(default_factory=CountryCounts)

    def column(self, name, time_us):
        self.n_reads += 1
        return self.columns.get(name, np.zeros(1))


def history_of(items, flags=None, time_us=None):
    items = np.asarray(items, np.int64)
    if flags is None:
        flags = np.full(len(items), Flag.IMPRESSION | Flag.WATCHED_HALF)
    times = np.arange(len(items)) + 1 if time_us is None else time_us
    return History(
        items, np.asarray(times, np.int64), np.zeros(len(items), np.float32),
        np.asarray(flags, np.uint16),
    )  # fmt: skip


def query_of(
    *, items=(), flags=None, seen=None, served=(), followed=(), searches=(), user_id="u",
    profile=None, surface="home", seed=0, **request,
):  # fmt: skip
    history = history_of(items, flags)
    seen = np.unique(history.item_id) if seen is None else np.unique(np.asarray(seen, np.int64))
    user = User(
        user_id, profile or Profile(), history, seen,
        followed=np.asarray(sorted(followed), np.int64),
        searches=np.asarray(searches, np.int64),
    )  # fmt: skip
    asked = Request("r", user_id, surface, 10, NOW_US, seed=seed, **request)
    return Query(asked, user, served=np.asarray(served, np.int64))


def showings_of(rows, searches=None):
    """Showings of (user, item, time_us, flags) rows in any order of users."""
    ordered = sorted(rows, key=lambda row: (row[0], row[2]))
    users = sorted({row[0] for row in rows})
    timed = [row for row in ordered if row[2] > 0]
    moments = tuple(Moment(Profile(), row[2], "home") for row in timed)
    place = iter(range(len(timed)))
    return Showings(
        np.asarray([users.index(row[0]) for row in ordered], np.int64),
        np.asarray([row[1] for row in ordered], np.int64),
        np.asarray([row[2] for row in ordered], np.int64),
        np.asarray([row[3] for row in ordered], np.uint16),
        np.zeros(len(ordered), np.float32),
        np.asarray([next(place) if row[2] > 0 else -1 for row in ordered], np.int64),
        tuple(str(user) for user in users),
        moments,
        searches or {},
    )


def codes_of(n_items, creator=None):
    """What the catalogue says of videos: nothing but, where given, their creators."""
    unknown = np.full(n_items, -1)
    return VideoCodes(
        unknown.astype(np.int32), unknown if creator is None else np.asarray(creator, np.int64),
        unknown.astype(np.int32), np.ones(n_items, np.float32), np.zeros(n_items, bool),
        np.zeros(n_items, np.int64),
    )  # fmt: skip


def material_of(showings, content, *, creator=None, since_us=0):
    """Material in which the surface is all that is known of a context."""
    encoder = ContextEncoder(Vocabulary.learn({"surface": ["home"]}))
    return Material(showings, content, encoder, codes_of(len(content), creator), since_us)
