"""What `upnext bench sources` asks: every cheap source over made-up columns of a large catalogue, and viewers to ask for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from upnext.cli.bench_world import clustered
from upnext.core.clock import DAY_US
from upnext.core.protocols import Progress, Source
from upnext.core.randomness import rng_for
from upnext.core.types import (
    NO_ITEMS,
    Array,
    Bool,
    Candidates,
    Flag,
    Float32,
    Float64,
    History,
    Int64,
    Query,
    Request,
    User,
)
from upnext.features.context import ContextEncoder, Vocabulary
from upnext.features.country_counts import CountryCounts
from upnext.features.search_tokens import tokens_of
from upnext.features.showings import Showings
from upnext.features.vector_table import VectorTable
from upnext.retrieval.config import (
    ContentProfileConfig,
    IndexConfig,
    ItemToItemConfig,
)
from upnext.retrieval.content_profile import ContentProfileGenerator, ContentProfileLearner
from upnext.retrieval.covisits import Neighbours
from upnext.retrieval.followed import Followed
from upnext.retrieval.fresh import Fresh
from upnext.retrieval.interests.config import InterestsConfig
from upnext.retrieval.interests.generator import InterestsGenerator
from upnext.retrieval.inverted_index import InvertedIndex
from upnext.retrieval.item_to_item import ItemToItem
from upnext.retrieval.local import Local
from upnext.retrieval.material import Material, VideoCodes
from upnext.retrieval.nearest import Embeds, Nearest
from upnext.retrieval.popular import Popular
from upnext.retrieval.search_history import SearchHistory
from upnext.retrieval.trending import Trending
from upnext.retrieval.user_knn import UserKnn
from upnext.retrieval.viewers import viewers_of
from upnext.retrieval.word_index import WordIndex

NOW_US = 1_800_000_000_000_000
LANGUAGES = ("en", "es", "pt", "hi", "zh")
COUNTRIES = ("US", "MX", "BR", "IN", "CN")
N_CREATORS, N_FOLLOWED = 200_000, 60
N_CITIES, PLACED_SHARE = 500, 0.1
N_VIEWERS, N_VIEWED = 100_000, 50  # of the sample that user_knn searches
N_WORDS, N_TITLE_WORDS, WORD_EXPONENT = 50_000, 6, 1.2
N_SEARCHES = 15  # of two words each
N_SEEN = 2_000  # besides the history
N_DRAWN = 20_000  # draws of which the different ones are what viewers watch
POPULAR_EXPONENT = 1.1
COUNTRY_EVENTS = 10_000  # relevant showings of a week in each country
CONTENT_SIZE = 64
WATCHED = Flag.IMPRESSION | Flag.WATCHED  # and not found relevant


@dataclass(frozen=True)
class SourcesWorld:
    """A catalogue's columns and its counters. It is the Videos and the Counts of all sources."""

    n_items: int
    language: Array
    uploaded_us: Int64
    creator: Int64
    latitude: Float32
    longitude: Float32
    watched: Float64  # [n_items] relevant showings a day, by item_id
    watched_until: Float64  # [n_items] its running sum
    countries: CountryCounts
    allowed: Bool
    cities: Float64  # [N_CITIES, 2]
    now_us: int = NOW_US

    @staticmethod
    def made(n_items: int, seed: int) -> SourcesWorld:
        """The world of a seed."""
        rng = rng_for("bench-sources", seed)
        cities = np.stack([rng.uniform(-50, 60, N_CITIES), rng.uniform(-180, 180, N_CITIES)], 1)
        city = cities[rng.integers(0, N_CITIES, n_items)] + rng.normal(0, 0.3, (n_items, 2))
        city[rng.random(n_items) > PLACED_SHARE] = np.nan
        allowed = rng.random(n_items) < 0.98
        allowed.setflags(write=False)
        watched = rng.permutation((np.arange(n_items) + 10.0) ** -POPULAR_EXPONENT)
        watched *= 1e6 / watched.sum()
        return SourcesWorld(
            n_items,
            rng.integers(0, len(LANGUAGES), n_items).astype(np.int32),
            NOW_US - (rng.exponential(60, n_items) * DAY_US).astype(np.int64),
            rng.zipf(1.3, n_items) % N_CREATORS,
            city[:, 0].astype(np.float32),
            city[:, 1].astype(np.float32),
            watched,
            np.cumsum(watched),
            _countries(rng, np.cumsum(watched)),
            allowed,
            cities,
        )

    def column(self, name: str, time_us: int) -> Float64:
        """float64[n_items]: a counter's column; what lately happened wavers around what the week says."""
        del time_us
        of_week = {"6h": 0.25, "1d": 1.0, "7d": 7.0, "total": 30.0}[name.rsplit("_", 1)[1]]
        noise = rng_for("bench-counts", name).lognormal(0, 0.5, self.n_items)
        return np.asarray(self.watched * of_week * noise)

    def code(self, kind: str, value: str | None) -> int:
        """The code of a language."""
        del kind
        return LANGUAGES.index(value) if value in LANGUAGES else -1

    def item_id(self, video_id: str) -> int:
        """The number in a video's id."""
        return int(video_id)

    def mask(self, query: Query) -> Bool | None:
        """What may be shown."""
        del query
        return self.allowed

    def drawn(self, rng: np.random.Generator, n: int) -> Int64:
        """int64[n]: videos, popular ones more often."""
        ends = self.watched_until
        found = np.searchsorted(ends, rng.random(n) * ends[-1])
        return np.asarray(np.minimum(found, self.n_items - 1), np.int64)


def _countries(rng: np.random.Generator, ends: Float64) -> CountryCounts:
    counts = CountryCounts()
    for country in COUNTRIES:
        items = np.searchsorted(ends, rng.random(COUNTRY_EVENTS) * ends[-1])
        times = NOW_US - rng.integers(1, 7 * DAY_US, COUNTRY_EVENTS)
        for item, time_us in zip(items.tolist(), np.sort(times).tolist()):
            counts.add(country, item, 1.0, time_us)
    return counts


def sources_of(
    world: SourcesWorld, folder: Path, seed: int, progress: Progress
) -> dict[str, Source]:
    """{name: source}, under default settings; of those that search an index, a row that makes the viewer's vectors alone."""
    made: dict[str, Source] = {
        "popular": Popular(world, world, allowed=world.mask),
        "trending": Trending(world, world, allowed=world.mask),
        "local": Local(world, world, allowed=world.mask),
        "fresh": Fresh(world, world, allowed=world.mask),
        "followed": Followed(world, allowed=world.mask),
        "item_to_item": ItemToItem(world, _neighbours(world, seed), allowed=world.mask),
    }
    progress.advance(len(made))
    made["search_history"] = SearchHistory(world, _words(world, seed), allowed=world.mask)
    progress.advance(1)
    showings = _showings(world, seed)
    made["user_knn"] = UserKnn(world, viewers_of(showings, world.n_items), allowed=world.mask)
    progress.advance(1)
    generator, index = _content_profile(world, showings, folder, seed)
    made["content_profile"] = Nearest("content_profile", generator, index, world.mask)
    alone = "content_profile without its search"
    made[alone] = _Embedded(alone, generator)
    progress.advance(1)
    vectors = VectorTable(np.load(folder / "item_vectors.npy", mmap_mode="c"))
    interests = InterestsGenerator(InterestsConfig(), vectors)
    made["interests"] = Nearest("interests", interests, index, world.mask)
    alone = "interests without its searches"
    made[alone] = _Embedded(alone, interests)
    return made


class _Embedded:
    """A Source that proposes nothing: what a viewer's vectors take."""

    def __init__(self, name: str, generator: Embeds) -> None:
        self.name, self._generator = name, generator

    def fetch(self, query: Query, k: int) -> Candidates:
        """Nothing."""
        del k
        self._generator.vectors(query)
        return Candidates.of_source(self.name, NO_ITEMS, np.zeros(0, np.float32))


def _neighbours(world: SourcesWorld, seed: int) -> Neighbours:
    """Full rows for the videos that viewers watch most; those of the others take no memory, for nobody asks for them."""
    n, k = world.n_items, ItemToItemConfig().n_neighbours
    ids, scores = np.zeros((n, k), np.int32), np.zeros((n, k), np.float32)
    rng = rng_for("bench-neighbours", seed)
    for item in np.unique(world.drawn(rng_for("bench-watched", seed), N_DRAWN)).tolist():
        ids[item] = world.drawn(rng, k)
        scores[item] = np.sort(rng.random(k))[::-1]
    return Neighbours(ids, scores)


def _words(world: SourcesWorld, seed: int) -> WordIndex:
    """Titles of six words out of a vocabulary by Zipf."""
    rng = rng_for("bench-words", seed)
    words = np.minimum(rng.zipf(WORD_EXPONENT, (world.n_items, N_TITLE_WORDS)), N_WORDS)
    return WordIndex.build([" ".join(f"w{w}" for w in title)] for title in words.tolist())


def _showings(world: SourcesWorld, seed: int) -> Showings:
    n = N_VIEWERS * N_VIEWED
    rng = rng_for("bench-viewers", seed)
    time_us = np.sort(NOW_US - rng.integers(1, 30 * DAY_US, (N_VIEWERS, N_VIEWED)), axis=1)
    return Showings(
        np.repeat(np.arange(N_VIEWERS), N_VIEWED),
        world.drawn(rng, n),
        time_us.ravel(),
        np.where(rng.random(n) < 0.3, Flag.RELEVANT, Flag.IMPRESSION).astype(np.uint16),
        np.zeros(n, np.float32),
        np.full(n, -1, np.int64),
        tuple(map(str, range(N_VIEWERS))),
        (),
        {},
    )


def _content_profile(
    world: SourcesWorld, showings: Showings, folder: Path, seed: int
) -> tuple[ContentProfileGenerator, InvertedIndex]:
    n, config = world.n_items, ContentProfileConfig()
    codes = VideoCodes(
        np.zeros(n, np.int32), world.creator, world.language, np.ones(n, np.float32),
        np.zeros(n, np.bool_), world.uploaded_us,
    )  # fmt: skip
    content = clustered(n, CONTENT_SIZE, seed=seed)
    learner = ContentProfileLearner(config)
    learner.learn(Material(showings, content, ContextEncoder(Vocabulary.learn({})), codes))
    learner.export(folder)
    vectors = np.load(folder / "item_vectors.npy")
    index = InvertedIndex.build(vectors, np.arange(n), config.index_of(IndexConfig()))
    return ContentProfileGenerator(folder), index


def queries_of(world: SourcesWorld, history: int, n: int, seed: int) -> list[Query]:
    """Requests of different viewers with full histories, searches, a place and creators followed."""
    rng = rng_for("bench-requests", seed)
    pool = np.unique(world.drawn(rng_for("bench-watched", seed), N_DRAWN))
    share = world.watched[pool] / world.watched[pool].sum()
    return [_query(world, history, pool, share, number, rng) for number in range(n)]


def _query(
    world: SourcesWorld, history: int, pool: Int64, share: Float64, number: int,
    rng: np.random.Generator,
) -> Query:  # fmt: skip
    watched = History(
        rng.choice(pool, history, p=share),
        np.arange(NOW_US - history, NOW_US),
        np.zeros(history, np.float32),
        np.where(rng.random(history) < 0.3, Flag.RELEVANT, WATCHED).astype(np.uint16),
    )
    place = int(rng.integers(0, len(COUNTRIES)))
    latitude, longitude = world.cities[number % N_CITIES].tolist()
    words = np.minimum(rng.zipf(WORD_EXPONENT, (N_SEARCHES, 2)), N_WORDS)
    user = User(
        f"u{number}",
        history=watched,
        seen=np.unique(np.concatenate([watched.item_id, world.drawn(rng, N_SEEN)])),
        followed=np.unique(rng.zipf(1.3, N_FOLLOWED) % N_CREATORS),
        searches=np.array([t for a, b in words.tolist() for t in tokens_of(f"w{a} w{b}")]),
    )
    request = Request(
        f"r{number}", user.user_id, "home", 30, NOW_US, country=COUNTRIES[place],
        language=LANGUAGES[place], latitude=latitude, longitude=longitude, seed=number,
    )  # fmt: skip
    return Query(request, user)
