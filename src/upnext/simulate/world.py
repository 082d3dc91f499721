"""A small world with known truth: who the viewers are, what the videos are, what each viewer would make of each video.

METHODS.md L1: 32 topics in 8 categories, creators by a power law, mixed interests, quality and clickbait, durations by category.
What is true of a video and what its tables say differ: the topic mix, quality and clickbait are never written out, a tag may be
wrong or missing, a title may have no word of its topic. How viewers answer is simulate/truth.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from upnext.core.clock import DAY_US
from upnext.core.errors import expected
from upnext.core.randomness import rng_for
from upnext.core.types import Bool, Float32, Float64, Int64
from upnext.simulate.draws import keys_of, uniform
from upnext.simulate.knobs import EVERYDAY, Knobs
from upnext.simulate.vocabulary import COUNTRIES, LANGUAGES, PLACES, topics

Int32 = npt.NDArray[np.int32]

MAX_INTERESTS: Final = 4
DEVICE_SHARES: Final = (0.65, 0.25, 0.10)  # of viewers: mobile, desktop, tv
MAX_ROWS: Final = 10_000_000  # of viewers, of videos
MAX_SEED: Final = 2**32 - 1
MAX_DAYS: Final = 3_650
MAX_HARM: Final = 0.8  # moderation from which a video is shown to nobody
END_US: Final = (
    1_764_547_200_000_000  # 2025-12-01T00:00Z, where the history of a world ends unless told
)
# median seconds by category: food, sport, music, gaming, science, animals, travel, craft
_MEDIAN_S = np.array([75.0, 45.0, 180.0, 420.0, 330.0, 22.0, 150.0, 260.0])


@dataclass(frozen=True)
class Videos:
    """Columns of length v, one row per video; the truth, of which the tables tell a part."""

    topic: Int64  # the main one
    second_topic: Int64
    second_share: Float32  # of the mix, 0 to .45
    creator: Int64
    place: Int64  # of the creator, row in PLACES
    language: Int64  # row in LANGUAGES
    duration_s: Float64
    uploaded_us: Int64
    quality: Float32  # about -1 to 1
    clickbait: Float32  # 0 to 1; raises clicks, not watching
    audience: Float32  # log of the reach that the creator's following gives
    min_age: Int64
    blocked: Int64  # row in COUNTRIES, -1: nowhere
    harm: Float32  # moderation score of "misinformation", 0 to 1
    is_premium: Bool
    is_located: Bool
    intensity: Float32  # 0 to 1; holds a viewer and may tire them


@dataclass(frozen=True)
class Viewers:
    """Columns of length u, one row per viewer."""

    interest: Int64  # [u, 4] topics, -1 pads
    strength: Float32  # [u, 4] 0 to 1
    place: Int64
    language: Int64
    second_language: Int64  # -1: none
    age: Int64
    gender: Int64  # 0, 1, 2: unsaid
    sessions_per_day: Float32
    hour: Float32  # the local hour at which they watch most
    patience_s: Float32  # videos much longer than this are seldom finished
    generosity: Float32  # logit shift of likes and shares
    signed_up_us: Int64
    susceptibility: Float32  # s_u: how far a watched video pulls their taste, 0: not at all
    creation: Float32  # c_u: logit of creating something of their own in a day
    novelty: Float32  # how much they care for what is new, mean 1


@dataclass(frozen=True)
class World:
    """Viewers and videos of one seed."""

    seed: int
    end_us: int
    videos: Videos
    viewers: Viewers
    n_creators: int
    knobs: Knobs = EVERYDAY

    @staticmethod
    def make(
        n_viewers: int,
        n_videos: int,
        seed: int = 0,
        *,
        end_us: int = END_US,
        knobs: Knobs = EVERYDAY,
    ) -> World:
        """The world of a seed, its videos uploaded in the knobs' upload_days before `end_us`. Raises InvalidInput for a number that can't be."""
        check_size(n_viewers, n_videos, seed)
        n_creators = max(1, n_videos // 12)
        videos = _make_videos(seed, n_videos, n_creators, end_us, knobs)
        viewers = _make_viewers(seed, n_viewers, end_us, knobs)
        return World(seed, end_us, videos, viewers, n_creators, knobs)

    @property
    def n_videos(self) -> int:
        """Number of videos."""
        return len(self.videos.topic)

    @property
    def n_viewers(self) -> int:
        """Number of viewers."""
        return len(self.viewers.age)

    @cached_property
    def video_ids(self) -> tuple[str, ...]:
        """The platform's id of every video."""
        return tuple(f"v{i:06d}" for i in range(self.n_videos))

    @cached_property
    def user_ids(self) -> tuple[str, ...]:
        """The platform's id of every viewer."""
        return tuple(f"u{i:06d}" for i in range(self.n_viewers))

    @cached_property
    def row_of(self) -> dict[str, int]:
        """video_id -> row."""
        return {video_id: row for row, video_id in enumerate(self.video_ids)}

    @cached_property
    def taste(self) -> Float32:
        """float32[u, 32]: how strongly each viewer is drawn to each topic at first, 0 to 1."""
        taste = np.zeros((self.n_viewers, len(topics())), np.float32)
        rows, places = np.nonzero(self.viewers.interest >= 0)
        taste[rows, self.viewers.interest[rows, places]] = self.viewers.strength[rows, places]
        return taste

    @cached_property
    def taste_salt(self) -> npt.NDArray[np.int8]:
        """int8[u, 32]: which noise blurs each viewer's match with each topic (simulate/truth.py)."""
        salt = np.tile(np.arange(16, 16 + len(topics()), dtype=np.int8), (self.n_viewers, 1))
        rows, places = np.nonzero(self.viewers.interest >= 0)
        salt[rows, self.viewers.interest[rows, places]] = places
        return salt

    @cached_property
    def own_device(self) -> Int64:
        """int64[u]: the device that each viewer uses most, place in DEVICE_SHARES."""
        u = uniform(keys_of(self.seed, np.arange(self.n_viewers)), "own_device")
        return np.asarray(np.searchsorted(np.cumsum(DEVICE_SHARES)[:-1], u, "right"), np.int64)

    @cached_property
    def matching(self) -> tuple[Int64, Float64]:
        """(int64[v, 5], float64[v, 5]): the topics that can match each video, and how well a full interest in each does.

        The four of its category, those beside its own at .3 or more, and its second one."""
        topic, second = (c[:, None] for c in (self.videos.topic, self.videos.second_topic))
        share = self.videos.second_share[:, None]
        other = np.concatenate([topic // 4 * 4 + np.arange(4), second], axis=1)
        match = (other == topic) * (1 - share) + (other == second) * share
        near = (other != topic) & (other // 4 == topic // 4)
        return other, np.maximum(match, 0.3 * near)

    def with_quality(self, quality: Float32) -> World:
        """The same world with other qualities float32[v]; what doesn't depend on them is not computed anew."""
        world = replace(self, videos=replace(self.videos, quality=quality))
        for name in ("taste", "taste_salt", "matching"):
            world.__dict__[name] = getattr(self, name)
        return world

    @cached_property
    def viewer_kind(self) -> Int64:
        """int64[u]: viewers of one kind may be shown the same videos (allowed)."""
        age = np.searchsorted([16, 18], self.viewers.age, "right")
        return np.asarray(_country_of_place()[self.viewers.place] * 3 + age, np.int64)

    @staticmethod
    def creator_id(creator: int) -> str:
        """The platform's id of a creator."""
        return f"c{creator:05d}"

    def allowed(self, viewer: Int64) -> Bool:
        """bool[n, v]: which videos each of n viewers may be shown (country, age, moderation below .8)."""
        country = _country_of_place()[self.viewers.place[viewer]]
        videos = self.videos
        fits = videos.min_age <= self.viewers.age[viewer][:, None]
        return np.asarray(
            fits & (videos.blocked != country[:, None]) & (videos.harm < MAX_HARM), np.bool_
        )

    def allowed_pairs(self, viewer: Int64, video: Int64) -> Bool:
        """bool[n]: the same of n pairs."""
        country = _country_of_place()[self.viewers.place[viewer]]
        videos = self.videos
        fits = videos.min_age[video] <= self.viewers.age[viewer]
        safe = (videos.blocked[video] != country) & (videos.harm[video] < MAX_HARM)
        return np.asarray(fits & safe, np.bool_)


@cache
def category_of_topic() -> Int64:
    """int64[32]: the category of each topic, categories numbered in order of appearance."""
    names = list(dict.fromkeys(t.category for t in topics()))
    return np.array([names.index(t.category) for t in topics()], np.int64)


@cache
def _country_of_place() -> Int64:
    return np.array([COUNTRIES.index(p.country) for p in PLACES], np.int64)


@cache
def _language_of_place() -> Int64:
    return np.array([LANGUAGES.index(p.language) for p in PLACES], np.int64)


def _place_shares(knobs: Knobs) -> Float64:
    shares = np.array(knobs.place_shares or [p.share for p in PLACES])
    if len(shares) != len(PLACES) or shares.min() < 0 or shares.sum() <= 0:
        raise expected("place_shares", f"{len(PLACES)} shares, not all 0", knobs.place_shares)
    return np.asarray(shares / shares.sum(), np.float64)


def check_days(days: int) -> None:
    """Raises InvalidInput for a life that no platform can have."""
    if not 1 <= days <= MAX_DAYS:
        raise expected("days", f"a whole number from 1 to {MAX_DAYS:,}", days)


def check_size(n_viewers: int, n_videos: int, seed: int) -> None:
    """Raises InvalidInput for what no world can be made of."""
    bounds = {
        "viewers": (n_viewers, 1, MAX_ROWS), "videos": (n_videos, 1, MAX_ROWS),
        "seed": (seed, 0, MAX_SEED),
    }  # fmt: skip
    for name, (given, least, most) in bounds.items():
        if not least <= given <= most:
            raise expected(name, f"a whole number from {least} to {most:,}", given)


def _topic_shares(seed: int) -> Float64:
    """float64[32]: how common each topic is among viewers' interests; a power law in an order of the seed."""
    n_topics = len(topics())
    share = 1.0 / np.arange(1, n_topics + 1) ** 0.7
    return np.asarray(rng_for(seed, "topics").permutation(share / share.sum()), np.float64)


def _speakers(knobs: Knobs) -> Float64:
    """float64[languages]: the share of viewers who live where it is spoken; half again as many know English."""
    shares = np.bincount(_language_of_place(), _place_shares(knobs), len(LANGUAGES))
    return np.asarray(np.where(np.arange(len(LANGUAGES)) == 0, shares + 0.3, shares), np.float64)


def _make_videos(seed: int, n: int, n_creators: int, end_us: int, knobs: Knobs) -> Videos:
    rng, further = rng_for(seed, "videos"), rng_for(seed, "intensity")
    n_topics = len(topics())
    category = category_of_topic()
    reach = 1.0 / np.arange(1, n_creators + 1) ** 0.7
    creator = rng.choice(n_creators, n, p=reach / reach.sum())
    creator_topic = rng.integers(n_topics, size=n_creators)
    creator_place = rng.choice(len(PLACES), n_creators, p=_place_shares(knobs))
    following = np.log(reach / reach.mean())
    creator_quality = (
        rng.normal(0, 0.3, n_creators) + 0.15 * following
    )  # the good ones are followed
    topic = np.where(rng.random(n) < 0.75, creator_topic[creator], rng.integers(n_topics, size=n))
    second = rng.integers(n_topics, size=n)  # half of the second topics are of the same category
    sibling = (topic // 4) * 4 + rng.integers(4, size=n)
    second = np.where(rng.random(n) < 0.5, sibling, second)
    home = _language_of_place()[creator_place[creator]]
    duration = _MEDIAN_S[category[topic]] * np.exp(rng.normal(0, knobs.duration_spread, n))
    duration *= knobs.duration_scale
    adult = rng.random(n)
    language = np.where(rng.random(n) < 0.85, home, 0)
    spread = np.log(n_topics * _topic_shares(seed)[topic]) + np.log(4 * _speakers(knobs)[language])
    return Videos(
        topic=topic,
        second_topic=second,
        second_share=rng.uniform(0, 0.45, n).astype(np.float32),
        creator=creator,
        place=creator_place[creator],
        language=language,
        duration_s=np.round(np.clip(duration, 4.0, 7_200.0), 1),
        uploaded_us=(end_us - rng.uniform(0.02, knobs.upload_days, n) * DAY_US).astype(np.int64),
        quality=np.tanh(creator_quality[creator] + rng.normal(0, knobs.quality_spread, n)).astype(
            np.float32
        ),
        clickbait=_baits(rng, n, knobs),
        audience=(following[creator] + spread + rng.normal(0, knobs.audience_spread, n)).astype(
            np.float32
        ),
        min_age=np.select([adult < 0.03, adult < 0.06], [18, 16], 0),
        blocked=np.where(rng.random(n) < 0.03, rng.integers(len(COUNTRIES), size=n), -1),
        harm=np.where(rng.random(n) < 0.03, rng.uniform(0.3, 1.0, n), 0).astype(np.float32),
        is_premium=rng.random(n_creators)[creator] < 0.1,
        is_located=rng.random(n) < 0.6,
        intensity=further.beta(1.5, 3.0, n).astype(np.float32),
    )


def _baits(rng: np.random.Generator, n: int, knobs: Knobs) -> Float32:
    is_bait = rng.random(n) < knobs.clickbait_share
    return np.where(is_bait, rng.uniform(0.4, 1.0, n), 0).astype(np.float32)


def _make_viewers(seed: int, n: int, end_us: int, knobs: Knobs) -> Viewers:
    rng, further = rng_for(seed, "viewers"), rng_for(seed, "susceptibility and creation")
    n_topics = len(topics())
    n_interests = rng.choice([1, 2, 3, 4], n, p=knobs.n_interests)
    drawn = np.argsort(rng.exponential(size=(n, n_topics)) / _topic_shares(seed), axis=1)[
        :, :MAX_INTERESTS
    ]  # without repeats, in proportion to the shares
    held = np.arange(MAX_INTERESTS) < n_interests[:, None]
    place = rng.choice(len(PLACES), n, p=_place_shares(knobs))
    language = _language_of_place()[place]
    second = np.where(rng.random(n) < 0.45, 0, -1)
    return Viewers(
        interest=np.where(held, drawn, -1),
        strength=np.where(held, rng.uniform(0.55, 1.0, drawn.shape), 0).astype(np.float32),
        place=place,
        language=language,
        second_language=np.where(second == language, -1, second),
        age=np.clip(rng.gamma(6.0, 5.5, n), 13, 90).astype(np.int64),
        gender=rng.choice(3, n, p=[0.45, 0.45, 0.1]),
        sessions_per_day=np.exp(rng.normal(knobs.sessions_level, knobs.sessions_spread, n)).astype(
            np.float32
        ),
        hour=np.where(rng.random(n) < 0.7, rng.normal(20.5, 1.5, n), rng.normal(8, 1.5, n)).astype(
            np.float32
        ),
        patience_s=np.exp(rng.normal(np.log(knobs.patience_s), knobs.patience_spread, n)).astype(
            np.float32
        ),
        generosity=rng.normal(0, 0.7, n).astype(np.float32),
        signed_up_us=(end_us - rng.uniform(*knobs.signup_days, n) * DAY_US).astype(np.int64),
        susceptibility=(knobs.susceptibility * further.gamma(2.0, 0.5, n)).astype(np.float32),
        creation=further.normal(knobs.creation_level, knobs.creation_spread, n).astype(np.float32),
        novelty=further.gamma(4.0, 0.25, n).astype(np.float32),
    )
