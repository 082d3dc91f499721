"""What the system keeps of one viewer: a function of the viewer's stamped events alone, in the order of the log.

Every showing is a row of a ring; feedback changes its row, and every change of a row is reported as deltas of the video's
counters, stamped with the time of the showing: so a rate never has a numerator that decays later than its denominator, and an
undo takes back exactly what was added. Videos count as seen by an impression, by not_interested or report, and by any feedback
that came without an impression (a video played from a search is seen too).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from upnext.core.clock import DAY_US
from upnext.core.event import Event
from upnext.core.types import Flag, Int64, Profile, User
from upnext.features.config import FeaturesConfig
from upnext.features.ring import Ring, crc_of
from upnext.features.search_tokens import tokens_of
from upnext.features.viewer import Creators, ViewerRecord, decode_record, encode_record, user_of

SKIP_BELOW_S: Final = 2.0
COMPLETED_SHARE: Final = 0.95
MAX_INTEREST: Final = 3.0
UNTIMED_DAY: Final = 0  # holds the videos of stored histories; never expires

FLAG_OF_KIND: Final[dict[str, int]] = {
    "click": Flag.CLICK,
    "like": Flag.LIKE,
    "dislike": Flag.DISLIKE,
    "share": Flag.SHARE,
    "comment": Flag.COMMENT,
    "follow": Flag.FOLLOW,
    "not_interested": Flag.NOT_INTERESTED,
    "report": Flag.NOT_INTERESTED,
}
_COUNTER_OF_FLAG: Final = (
    (Flag.IMPRESSION, "impressions"),
    (Flag.CLICK, "clicks"),
    (Flag.WATCHED, "watches"),
    (Flag.SKIPPED, "skips"),
    (Flag.COMPLETED, "completions"),
    (Flag.LIKE, "likes"),
    (Flag.DISLIKE, "dislikes"),
    (Flag.SHARE, "shares"),
)
_WATCH_FLAGS: Final = Flag.WATCHED_HALF | Flag.COMPLETED | Flag.SKIPPED | Flag.LONG_VIEW
_TARGETED: Final = frozenset({"follow", "unfollow", "mute", "more", "less"})
_REFUSED: Final = frozenset({"not_interested", "report"})
_ROW_KINDS: Final = frozenset(FLAG_OF_KIND) | {"impression", "watch"}
_REVERSE: Final = {"follow": "unfollow", "unfollow": "follow", "more": "less", "less": "more"}

DEFAULT_CONFIG: Final = FeaturesConfig()


class ItemDelta(NamedTuple):
    """What one event adds to one counter of one video."""

    item_id: int
    counter: str
    amount: float
    time_us: int


class Seen(NamedTuple):
    """A video that the viewer has now seen, and the day under which that is kept."""

    day: int
    item_id: int


class UserState:
    """One viewer, changed by `apply`. Creators are kept as their ids, or as a video's item_id where an event named only that."""

    __slots__ = ("config", "days", "followed", "interests", "last_time_us", "muted_creators",
                 "muted_topics", "n_impressions", "n_relevant", "newly_seen", "not_interested",
                 "ring", "searches")  # fmt: skip

    def __init__(self, config: FeaturesConfig = DEFAULT_CONFIG, *, keep_all: bool = False) -> None:
        self.config = config
        self.ring = Ring(config.n_history, keep_all=keep_all)
        self.n_impressions = 0
        self.n_relevant = 0
        self.last_time_us = 0
        self.days: list[int] = []  # under which days videos are kept as seen, ascending
        self.followed: dict[str | int, None] = {}
        self.muted_creators: dict[str | int, None] = {}
        self.muted_topics: dict[str, None] = {}
        self.interests: dict[str, float] = {}
        self.not_interested: dict[int, None] = {}
        self.searches: list[int] = []
        self.newly_seen: Seen | None = None  # by the latest event

    def apply(self, event: Event) -> list[ItemDelta]:
        """Changes the state by one event -> what it adds to the counters of videos."""
        self.newly_seen = None
        kind = event.kind
        if event.time_us > self.last_time_us:
            self.last_time_us = event.time_us
        if kind == "undo":
            return self._undo(event)
        if kind in _TARGETED:
            self._target(kind, event)
        elif kind == "search":
            self.searches += tokens_of(event.query)
            del self.searches[: max(0, len(self.searches) - self.config.n_search_tokens)]
        if event.item_id is None or kind not in _ROW_KINDS:
            return []
        if kind == "impression":
            return self._show(event, event.item_id)
        return self._feed_back(event, event.item_id)

    def _show(self, event: Event, item_id: int) -> list[ItemDelta]:
        ring = self.ring
        time_us = event.time_us
        view, request = crc_of(event.view_id), crc_of(event.request_id)
        i = ring.find_unshown(item_id, time_us, view, request)
        self._see(item_id, time_us)
        if i < 0:
            i = ring.open(item_id, time_us, view, request)
        elif not ring.flags[i] & Flag.IMPRESSION and ring.time[i] != time_us:
            i = ring.retime(i, time_us)
        elif not ring.flags[i] & Flag.IMPRESSION:
            ring.opened_by[i] = ring.mark
        deltas = self._change(i, ring.flags[i] | Flag.IMPRESSION)
        ring.trim()
        return deltas

    def _feed_back(self, event: Event, item_id: int) -> list[ItemDelta]:
        ring = self.ring
        kind = event.kind
        view, request = crc_of(event.view_id), crc_of(event.request_id)
        i = ring.find(item_id, event.time_us, view, request, is_watch=kind == "watch")
        if i < 0:
            i = ring.open(item_id, event.time_us, view, request)
            self._see(item_id, event.time_us)
        else:
            if view and not ring.view[i]:
                ring.view[i] = view
            if request and not ring.request[i]:
                ring.request[i] = request
        if kind in _REFUSED:
            self.not_interested[item_id] = None
            self._see(item_id, event.time_us)
        if kind == "watch":
            deltas = self._watch(i, event)
        else:
            deltas = self._change(i, ring.flags[i] | FLAG_OF_KIND[kind])
        ring.trim()
        return deltas

    def _watch(self, i: int, event: Event) -> list[ItemDelta]:
        ring = self.ring
        before_s = ring.watch[i]
        came_s = event.watch_s if event.watch_s is not None and event.watch_s >= 0 else None
        if came_s is not None and came_s > before_s:
            ring.watch[i] = came_s
        watch_s = ring.watch[i]
        flags = ring.flags[i] | Flag.WATCHED
        duration_s = event.duration_s or 0.0
        if duration_s > 0 and came_s is not None:
            # The row is rounded to float32: a share met by what came must not be lost to the rounding.
            most_s = max(came_s, watch_s)
            flags |= Flag.WATCHED_HALF if most_s >= duration_s / 2 else 0
            flags |= Flag.COMPLETED if most_s >= COMPLETED_SHARE * duration_s else 0
        elif event.value == 1:
            flags |= Flag.WATCHED_HALF
        if event.value == 1:
            flags |= Flag.LONG_VIEW
        if came_s is not None and watch_s < SKIP_BELOW_S and not flags & Flag.COMPLETED:
            flags |= Flag.SKIPPED
        elif watch_s >= SKIP_BELOW_S or flags & Flag.COMPLETED:
            flags &= ~Flag.SKIPPED
        deltas = self._change(i, flags)
        if watch_s > before_s:
            deltas.append(ItemDelta(ring.item[i], "watch_s", watch_s - before_s, ring.time[i]))
        return deltas

    def _change(self, i: int, flags: int) -> list[ItemDelta]:
        """Sets the flags of row i -> the deltas of all counters that follow from them."""
        ring = self.ring
        before = ring.flags[i]
        changed = before ^ flags
        if not changed:
            return []
        ring.flags[i] = flags
        item_id, time_us = ring.item[i], ring.time[i]
        deltas = [
            ItemDelta(item_id, counter, 1.0 if flags & flag else -1.0, time_us)
            for flag, counter in _COUNTER_OF_FLAG
            if changed & flag
        ]
        if changed & Flag.IMPRESSION:
            self.n_impressions += 1
        was, now = bool(before & Flag.RELEVANT), bool(flags & Flag.RELEVANT)
        if was != now:
            self.n_relevant += now - was
            deltas.append(ItemDelta(item_id, "relevant", float(now - was), time_us))
        return deltas

    def _undo(self, event: Event) -> list[ItemDelta]:
        kind = event.undoes_kind
        if kind in _TARGETED:
            self._target(_REVERSE.get(kind, "unmute"), event)
        item_id = event.item_id
        flag = FLAG_OF_KIND.get(kind or "", 0)
        if item_id is None or not flag:
            return []
        if kind in _REFUSED:
            self.not_interested.pop(item_id, None)
        ring = self.ring
        for i in range(len(ring) - 1, -1, -1):
            if ring.item[i] == item_id and ring.flags[i] & flag:
                return self._change(i, ring.flags[i] & ~flag)
        return []

    def _target(self, kind: str, event: Event) -> None:
        target: str | int | None = event.target_id
        if target is None:
            target = event.item_id
        if target is None:
            return
        is_topic = event.target_kind == "topic"
        if kind in ("more", "less"):
            # "more" of a creator is an interest too, under a name that no topic has by accident
            name = str(target) if is_topic else f"creator:{target}"
            weight = self.interests.pop(name, 0.0) + (1.0 if kind == "more" else -1.0)
            if weight:
                self.interests[name] = max(-MAX_INTEREST, min(MAX_INTEREST, weight))
        elif is_topic and kind in ("mute", "unmute"):
            _put(self.muted_topics, str(target), kind == "mute")
        elif kind in ("mute", "unmute"):
            _put(self.muted_creators, target, kind == "mute")
        elif not is_topic:
            _put(self.followed, target, kind == "follow")

    def _see(self, item_id: int, time_us: int) -> None:
        day = time_us // DAY_US
        days = self.days
        if day not in days:
            oldest = (days[-1] if days else 0) - self.config.seen_days
            if day <= oldest and day != UNTIMED_DAY:
                return
            insort(days, day)
            oldest = days[-1] - self.config.seen_days
            if len(days) > 1 and days[1 if days[0] == UNTIMED_DAY else 0] <= oldest:
                self.days = [d for d in days if d > oldest or d == UNTIMED_DAY]
        self.newly_seen = Seen(day, item_id)

    def start_from(
        self, item_id: Sequence[int], is_like: Sequence[bool], is_relevant: Sequence[bool]
    ) -> list[ItemDelta]:
        """Puts a stored history of m showings, oldest first and without times, before everything else.

        The caller marks the videos as seen under UNTIMED_DAY."""
        deltas: list[ItemDelta] = []
        for item, like, relevant in zip(item_id, is_like, is_relevant, strict=True):
            i = self.ring.open(item, 0, 0, 0)
            flags = Flag.IMPRESSION | (Flag.LIKE if like else 0)
            deltas += self._change(i, flags | (Flag.WATCHED_HALF if relevant else 0))
            self.ring.trim()
        if len(item_id) and UNTIMED_DAY not in self.days:
            self.days.insert(0, UNTIMED_DAY)
        return deltas

    def user(self, user_id: str, profile: Profile, seen_order: Int64, creators: Creators) -> User:
        """The viewer as the rest of the system reads it.

        `seen_order`: ids as kept, least recently seen first, duplicates allowed."""
        record = self._record(b"")
        return user_of(record, self.ring.history(), user_id, profile, seen_order, creators)

    def _record(self, ring: bytes) -> ViewerRecord:
        return ViewerRecord(
            ring,
            self.n_impressions,
            self.n_relevant,
            self.last_time_us,
            self.days,
            list(self.followed),
            list(self.muted_creators),
            list(self.muted_topics),
            self.interests,
            list(self.not_interested),
            self.searches,
        )

    def to_bytes(self) -> bytes:
        """The state without the seen videos, which are kept per day beside it."""
        return encode_record(self._record(self.ring.to_bytes()))

    @classmethod
    def from_bytes(cls, data: bytes, config: FeaturesConfig = DEFAULT_CONFIG) -> UserState:
        """The inverse of to_bytes."""
        record = decode_record(data)
        state = cls(config)
        state.ring = Ring.from_bytes(record.ring, config.n_history)
        state.n_impressions = record.n_impressions
        state.n_relevant = record.n_relevant
        state.last_time_us = record.last_time_us
        state.days = record.days
        state.followed = dict.fromkeys(record.followed)
        state.muted_creators = dict.fromkeys(record.muted_creators)
        state.muted_topics = dict.fromkeys(record.muted_topics)
        state.interests = record.interests
        state.not_interested = dict.fromkeys(record.not_interested)
        state.searches = record.searches
        return state


def _put(names: dict[Any, None], name: object, present: bool) -> None:
    if present:
        names[name] = None
    else:
        names.pop(name, None)
