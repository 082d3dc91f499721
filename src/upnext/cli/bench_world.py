"""A synthetic platform of a million videos for the serving benchmark: ordinary stores, and a release with random but well-shaped models.

Vectors are a Zipf mixture of clusters, as tower outputs are; the ranker has the reference size (DEPS: 8 experts of 256 and 128, six tasks,
320 inputs). What is measured is time, not quality.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.store import Catalog
from upnext.catalog.view import CatalogView
from upnext.content.encoder import ContentEncoder, fit_content
from upnext.content.reduction import Reduction
from upnext.content.tags import TagVectors
from upnext.core.clock import DAY_US, SystemClock
from upnext.core.protocols import Progress
from upnext.core.randomness import rng_for
from upnext.core.types import Float32, Int64, Profile
from upnext.evaluate.gather import offline_parts
from upnext.events.log import SqliteEventLog
from upnext.features.context import ContextEncoder, Moment, Vocabulary
from upnext.features.counters import CounterTable
from upnext.features.showings import Showings, showings_of
from upnext.pipeline.assemble import assemble
from upnext.pipeline.blend import DEFAULT_MIXING
from upnext.pipeline.release_parts import ReleaseParts, write_catalog_marks
from upnext.ranking.reference_ranker import write_reference_ranker
from upnext.retrieval.covisits import Neighbours
from upnext.retrieval.factorisation.factorisation_learner import FactorisationLearner
from upnext.retrieval.inverted_index import InvertedIndex
from upnext.retrieval.material import Material, VideoCodes
from upnext.retrieval.viewers import viewers_of
from upnext.settings.offline import offline_settings
from upnext.settings.settings import Settings

N_CLUSTERS = 4_000
N_NEIGHBOURS = 32
N_INPUTS = 320
CHUNK = 50_000
LANGUAGES = ("en", "es", "pt", "hi", "zh")
COUNTRIES = ("US", "MX", "BR", "IN", "CN")


def build(
    settings: Settings, n_videos: int, n_viewers: int, n_showings: int, progress: Progress
) -> None:
    """Writes catalogue, log and a promoted release under the settings' folder."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    now_us = SystemClock().now_us()
    catalog = Catalog(settings.catalog_path)
    progress.start("synthetic catalogue", n_videos, "videos")
    for start in range(0, n_videos, CHUNK):
        n = min(CHUNK, n_videos - start)
        catalog.put_videos(_videos(start, n, now_us))
        progress.advance(n)
    progress.done()
    catalog.put_users(_users(n_viewers))
    catalog.close()
    log = SqliteEventLog(settings.events_path)
    log.import_sealed(_events(n_videos, n_viewers, n_showings, now_us))
    log.close()
    _release(settings, n_videos, progress)


def _videos(start: int, n: int, now_us: int) -> pa.Table:
    rng = rng_for("bench-videos", start)
    ids = np.arange(start, start + n)
    age_d = rng.exponential(60, n)
    return pa.table(
        {
            "video_id": [f"v{i}" for i in ids],
            "creator_id": [f"c{c}" for c in rng.zipf(1.3, n) % 200_000],
            "uploaded_us": now_us - (age_d * DAY_US).astype(np.int64),
            "duration_s": rng.lognormal(4, 1, n).clip(3, 7200),
            "title": [f"video number {i}" for i in ids],
            "category": [f"category {c}" for c in rng.integers(0, 40, n)],
            "language": [LANGUAGES[k] for k in rng.integers(0, len(LANGUAGES), n)],
            "tags": [[f"tag {a}", f"tag {b}"] for a, b in rng.integers(0, 500, (n, 2))],
        }
    )


def _users(n: int) -> pa.Table:
    rng = rng_for("bench-users")
    place = rng.integers(0, len(COUNTRIES), n)
    return pa.table(
        {
            "user_id": [f"u{i}" for i in range(n)],
            "age": rng.integers(18, 70, n).astype(np.int32),
            "country": [COUNTRIES[p] for p in place],
            "language": [LANGUAGES[p] for p in place],
        }
    )


def _events(n_videos: int, n_viewers: int, n_showings: int, now_us: int) -> list[pa.Table]:
    rng = rng_for("bench-events")
    n = n_viewers * n_showings
    user = np.repeat(np.arange(n_viewers), n_showings)
    item = (rng.zipf(1.15, n) - 1) % n_videos
    time_us = now_us - rng.integers(DAY_US // 10, 7 * DAY_US, n)
    order = np.argsort(time_us, kind="stable")
    user, item, time_us = user[order], item[order], time_us[order]
    base = {
        "user_id": [f"u{u}" for u in user],
        "video_id": [f"v{i}" for i in item],
        "item_id": item.astype(np.int64),
        "time_us": time_us,
        "received_us": time_us,
        "is_clamped": np.zeros(n, np.bool_),
        "surface": ["home"] * n,
        "duration_s": np.full(n, 60.0),
    }
    shown = pa.table({**base, "event_id": [f"i{k}" for k in range(n)], "kind": ["impression"] * n})
    watch_s = rng.exponential(30, n)
    watched = {**base, "event_id": [f"w{k}" for k in range(n)], "kind": ["watch"] * n}
    return [shown, pa.table({**watched, "watch_s": watch_s})]


def _release(settings: Settings, n_videos: int, progress: Progress) -> None:
    store = ReleaseStore(settings.releases_path)
    folder = store.begin()
    vocabulary = Vocabulary.learn(
        {"country": COUNTRIES, "language": LANGUAGES, "surface": ["home"]}
    )
    view = CatalogView(settings.catalog_path)
    _content(folder, view, settings)
    progress.start("synthetic release", 4, "parts")
    vectors = clustered(n_videos, settings.retrieval.two_tower.embedding_size, seed=0)
    few = _few(ContentEncoder.load(folder / "content").size, vocabulary)
    _towers(folder / "retrieval", settings, few, vectors)
    _factors(folder / "generators" / "factorisation", settings, few, n_videos)
    viewers_of(_logged(settings, view), n_videos, settings.retrieval.user_knn).save(
        folder / "viewers"
    )
    progress.advance(1)
    InvertedIndex.build(vectors, np.arange(n_videos), settings.retrieval.index).save(
        folder / "index"
    )
    progress.advance(1)
    _neighbours(n_videos).save(folder / "covisits")
    DEFAULT_MIXING.save(folder / "blend")
    write_catalog_marks(folder, np.ones(n_videos, np.bool_), view.change_seq, vocabulary)
    progress.advance(1)
    _ranker(folder, settings, view, n_videos)
    progress.advance(1)
    progress.done()
    view.close()
    store.publish(
        folder, settings={}, data_window={"until_us": 0}, metrics={"gate": "synthetic"}, parent=None
    )


def clustered(n: int, d: int, *, seed: int) -> Float32:
    """float32[n, d], unit rows around N_CLUSTERS centres whose sizes follow Zipf."""
    rng = rng_for(seed, "bench-vectors")
    centres = rng.normal(size=(N_CLUSTERS, d)).astype(np.float32)
    share = 1 / np.arange(1, N_CLUSTERS + 1)
    which = rng.choice(N_CLUSTERS, n, p=share / share.sum())
    vectors = centres[which] + 0.6 * rng.standard_normal((n, d), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _content(folder: Path, view: CatalogView, settings: Settings) -> None:
    from upnext.content.hashed_ngrams import fit_hashed_ngrams
    from upnext.content.text import load_text_encoder

    rows = pa.Table.from_pylist(view.videos(np.arange(min(2_000, view.n_items), dtype=np.int64)))
    titles = [title or "" for title in rows.column("title").to_pylist()]
    text_folder = folder / "text"
    fit_hashed_ngrams(titles, size=settings.content.text_size, seed=0).save(text_folder)
    tags = TagVectors(np.zeros((0, settings.content.tag_size), np.float32), ())
    encoder = fit_content(rows, load_text_encoder(text_folder), tags)
    encoder.save(folder / "content")
    Reduction.fit(encoder.encode_table(rows), 32).save(folder / "reduction.npz")


def _towers(target: Path, settings: Settings, few: Material, vectors: Float32) -> None:
    """The two-tower export of an all but untrained network, its tables swapped for a million rows."""
    from upnext.retrieval.two_tower.learner import TwoTowerLearner
    from upnext.retrieval.two_tower.new_videos import Known

    config = settings.retrieval.two_tower.model_copy(update={"epochs": 1})
    learner = TwoTowerLearner(config)
    learner.learn(few)
    learner.export(target)
    n = len(vectors)
    known = Known.load(target / "new_videos.npz")
    replace(known, is_trained=np.ones(n, np.bool_)).save(target / "new_videos.npz")
    rng = rng_for("bench-towers")
    inputs = rng.standard_normal((n, config.input_size), dtype=np.float32)
    np.save(target / "item_inputs.npy", inputs)
    np.save(target / "item_vectors.npy", vectors)


def _factors(target: Path, settings: Settings, few: Material, n: int) -> None:
    """The factorisation's export after one epoch, its table swapped for a million rows."""
    config = settings.retrieval.factorisation.model_copy(update={"epochs": 1})
    learner = FactorisationLearner(config)
    learner.learn(few)
    learner.export(target)
    size = np.load(target / "item_vectors.npy", mmap_mode="r").shape[1]
    vectors = clustered(n, size, seed=1)
    np.save(target / "item_vectors.npy", vectors)
    with np.load(target / "factors.npz", allow_pickle=False) as stored:
        arrays = {**stored, "is_learned": np.ones(n, np.bool_)}
    np.savez(target / "factors.npz", **arrays)
    InvertedIndex.build(vectors, np.arange(n), settings.retrieval.index).save(target / "index")


def _logged(settings: Settings, view: CatalogView) -> Showings:
    log = SqliteEventLog(settings.events_path)
    found = showings_of(log, view, settings.features)
    log.close()
    return found


def _few(n_content: int, vocabulary: Vocabulary) -> Material:
    """Something to learn from: what is learned does not matter."""
    rng = rng_for("bench-towers")
    content = rng.normal(size=(500, n_content)).astype(np.float32)
    codes = VideoCodes(
        np.full(500, -1, np.int32), np.full(500, -1), np.full(500, -1, np.int32),
        np.ones(500, np.float32), np.zeros(500, np.bool_), np.zeros(500, np.int64),
    )  # fmt: skip
    return Material(_few_showings(rng), content, ContextEncoder(vocabulary), codes)


def _few_showings(rng: np.random.Generator) -> Showings:
    n_users, each = 60, 10
    n = n_users * each
    times: Int64 = np.sort(rng.integers(1, 10**12, (n_users, each)), axis=1).ravel()
    moments = tuple(Moment(Profile(), int(t), "home") for t in times)
    return Showings(
        user=np.repeat(np.arange(n_users), each),
        item_id=rng.integers(0, 500, n),
        time_us=times,
        flags=np.full(n, 5, np.uint16),
        watch_s=np.ones(n, np.float32),
        moment=np.arange(n),
        user_ids=tuple(f"u{i}" for i in range(n_users)),
        moments=moments,
        searches={},
    )


def _neighbours(n: int) -> Neighbours:
    rng = rng_for("bench-neighbours")
    ids = rng.integers(0, n, (n, N_NEIGHBOURS), dtype=np.int32)
    score = np.sort(rng.random((n, N_NEIGHBOURS), dtype=np.float32), axis=1)[:, ::-1]
    return Neighbours(ids, np.ascontiguousarray(score))


def _ranker(folder: Path, settings: Settings, view: CatalogView, n_videos: int) -> None:
    """The reference ranker over the plan's own columns; the static block fills up to 320 inputs."""
    counters = CounterTable(n_videos)
    rng = rng_for("bench-static")

    def plan_names(static_size: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        static = rng.standard_normal((n_videos, static_size), dtype=np.float32)
        np.save(folder / "static.npy", static)
        encoder_size = Reduction.load(folder / "reduction.npz").mean.shape[0]
        basis = rng.normal(size=(encoder_size, static_size)).astype(np.float32)
        Reduction(np.zeros(encoder_size, np.float32), basis).save(folder / "reduction.npz")
        parts = offline_parts(offline_settings(settings), view, counters)
        plan = assemble(parts, ReleaseParts.load(folder)).pipeline.features
        return plan.user_names, plan.item_names

    user_names, item_names = plan_names(1)
    missing = N_INPUTS - len(user_names) - len(item_names)
    user_names, item_names = plan_names(max(1, 1 + missing))
    write_reference_ranker(folder / "ranker", user_names, item_names)
