"""`upnext bench interests`: what several query vectors per viewer find that one does not, on the platform's own log.

A release is asked as of an instant, as `upnext evaluate` does it: each viewer with something relevant to find afterwards gets one list of each kind,
of videos not seen. Two families, each beside its single vector: in the space of `retrieval.interests.vectors_of` the mean of the history, its last
video, k-means centres and medoids of Ward clusters, and around the variational mean the directions of `retrieval.variational.directions`
(where the release holds that generator). All are searched as serving searches them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, get_args

import numpy as np
from rich.console import Console

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.view import CatalogView
from upnext.cli.evaluate_tables import draw
from upnext.cli.opened import readers
from upnext.cli.progress import RichProgress
from upnext.core.errors import InvalidInput, expected
from upnext.core.protocols import Progress, Source
from upnext.core.randomness import rng_for
from upnext.core.types import Estimate, Float32, Float64, Int64, Query, Request
from upnext.evaluate.bootstrap import intervals
from upnext.evaluate.diversity import concentration
from upnext.evaluate.figures import figure_text, figures_json
from upnext.evaluate.gather import offline_parts
from upnext.evaluate.metrics import Places, measure
from upnext.evaluate.offline import PastHydrator, advance
from upnext.evaluate.split import instant_us
from upnext.evaluate.user_items import UserItems
from upnext.evaluate.window import Window
from upnext.features.counters import CounterTable
from upnext.features.replay import PastState
from upnext.features.showings import showings_of
from upnext.features.vector_table import VectorTable
from upnext.pipeline.assemble import INTERESTS, Assembled, assemble, generators_of
from upnext.pipeline.release_parts import ReleaseParts
from upnext.retrieval.interests.config import InterestsConfig
from upnext.retrieval.interests.generator import InterestsGenerator
from upnext.retrieval.inverted_index import InvertedIndex
from upnext.retrieval.nearest import Nearest
from upnext.retrieval.variational.config import Directions, VariationalConfig
from upnext.retrieval.variational.directions import video_vectors
from upnext.retrieval.variational.generator import VariationalGenerator
from upnext.settings.offline import offline_settings
from upnext.settings.settings import Settings, load

TOWER: Final = "two-tower network"
_STEPS: Final = 20  # of k-means at most


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    since: str | None = None
    release: str | None = None
    users: int = 2_000
    k: int = 100
    config: Path | None = None
    as_json: bool = False


@dataclass(frozen=True)
class By:
    """An Embeds out of a function."""

    make: Callable[[Query], Float32]

    def vectors(self, query: Query) -> Float32:
        """float32[q, d]."""
        return self.make(query)


def run(asked: Asked, out: Console, err: Console) -> None:
    """Makes the lists and prints the table."""
    if asked.users < 1:
        raise expected("--users", "at least 1", asked.users)
    settings = load(asked.config)
    view, log, releases = readers(settings)
    release_id, folder, learned_us = _release(asked, releases)
    from_us = instant_us(asked.since) if asked.since else learned_us
    showings = showings_of(log, view, settings.features)
    window = Window(showings, from_us, max_users=asked.users)
    split = window.split(exclude_seen=True)
    progress = RichProgress(err)
    counters = CounterTable(view.n_items)
    past = PastState(view, counters, settings.features)
    advance(past, log, from_us, progress)
    parts = offline_parts(offline_settings(settings), view, counters)
    release = ReleaseParts.load(folder)
    assembled = assemble(replace(parts, hydrator=PastHydrator(past)), release)
    lists = lists_of(
        rivals(assembled, settings, view), assembled, window.requests(split), asked.k, progress
    )
    rows = figures_of(lists, split.truth, asked.k, view.n_items)
    about = {"release_id": release_id, "from_us": from_us, "viewers": len(split.user), "k": asked.k}
    if asked.as_json:
        told = {name: figures_json(row) for name, row in rows.items()}
        out.file.write(json.dumps({**about, "rows": told}) + "\n")
        return
    title = f"{len(split.user):,} viewers, lists of {asked.k}, release {release_id}"
    draw(title, [_shown(name, row) for name, row in rows.items()], out)
    if "variational" not in release.generators:
        out.print(
            "the release holds no variational embeddings: give `variational` a quota and train",
            highlight=False,
        )


def rivals(assembled: Assembled, settings: Settings, view: CatalogView) -> dict[str, Source]:
    """{row: source} of the two-tower network, of single and several vectors over histories, and of each direction of the variational embeddings."""
    release, mask = assembled.release, assembled.allowed.mask
    assert release is not None
    tower = release.tower
    found: dict[str, Source] = {TOWER: Nearest(TOWER, By(tower.vectors), release.index, mask)}
    generators = generators_of(settings.retrieval, release)
    if INTERESTS in generators:
        one = generators[INTERESTS]
        for name, make in history_makers(settings.retrieval.interests, one.vectors).items():
            found[name] = Nearest(name, By(make), one.index, mask)
    generator = generators["variational"].generator if "variational" in generators else None
    if isinstance(generator, VariationalGenerator):
        for name, make, index in _variational(generator, settings, view):
            found[name] = Nearest(name, By(make), index, mask)
    return found


def history_makers(
    config: InterestsConfig, vectors: VectorTable
) -> dict[str, Callable[[Query], Float32]]:
    """{row: query vectors of a query}: the weighted mean of the history first, then its last video, k-means, top and sampled medoids."""
    top = InterestsGenerator(config.model_copy(update={"chosen": "top"}), vectors)
    sampled = InterestsGenerator(config.model_copy(update={"chosen": "sampled"}), vectors)

    def mean(query: Query) -> Float32:
        points, _, weight = top.points(query)
        return _unit((weight @ points)[None]) if len(points) else points

    def last(query: Query) -> Float32:
        return top.points(query)[0][-1:]

    def centres(query: Query) -> Float32:
        points, _, weight = top.points(query)
        rng = rng_for("k-means", query.request.user_id)
        return _unit(k_means(points, weight, config.n_queries, rng))

    n = config.n_queries
    return {
        "history: mean": mean,
        "history: last video": last,
        f"history: {n} k-means centres": centres,
        f"interests: top {n} medoids": top.vectors,
        f"interests: {n} sampled medoids": sampled.vectors,
    }


def k_means(points: Float32, weight: Float32, n: int, rng: np.random.Generator) -> Float32:
    """float32[c, d]: at most n weighted means of points float32[p, d] (Lloyd 1982), started as k-means++ does (Arthur 2007)."""
    if len(points) <= n:
        return points
    chosen = [int(rng.choice(len(points), p=weight / weight.sum()))]
    while len(chosen) < n:
        near = np.square(points[:, None] - points[chosen]).sum(2).min(1) * weight
        if not near.sum() > 0:  # no more different points
            break
        chosen.append(int(rng.choice(len(points), p=near / near.sum())))
    centre = points[chosen]
    for _ in range(_STEPS):
        member = np.square(points[:, None] - centre).sum(2).argmin(1)
        share = (member[:, None] == np.arange(len(centre))) * weight[:, None]
        moved = (share.T @ points) / np.maximum(share.sum(0), 1e-12)[:, None]
        moved[share.sum(0) == 0] = centre[share.sum(0) == 0]
        if np.array_equal(moved, centre):
            break
        centre = moved.astype(np.float32)
    return centre


def _variational(
    generator: VariationalGenerator, settings: Settings, view: CatalogView
) -> Iterator[tuple[str, Callable[[Query], Float32], InvertedIndex]]:
    """(row, query vectors of a query, index) of each direction, the mean alone first; the optimistic one has an index of its own."""
    mean, stdev = generator.videos(np.arange(view.n_items))
    known = np.flatnonzero(mean.any(axis=1))
    names: tuple[Directions, ...] = get_args(Directions)
    index: dict[bool, InvertedIndex] = {}
    for directions in sorted(names, key=lambda name: name != "mean"):
        is_wide = directions == "optimistic"
        if is_wide not in index:
            vectors = video_vectors(mean[known], stdev[known], directions)
            index[is_wide] = InvertedIndex.build(vectors, known, settings.retrieval.index)
        config = generator.config.model_copy(update={"directions": directions})

        def make(query: Query, config: VariationalConfig = config) -> Float32:
            return generator.vectors_by(config, query)

        yield f"variational: {directions}", make, index[is_wide]


def lists_of(
    sources: Mapping[str, Source],
    assembled: Assembled,
    requests: list[Request],
    k: int,
    progress: Progress,
) -> dict[str, Int64]:
    """{row: int64[u, k]}, best first, -1 pads."""
    lists = {name: np.full((len(requests), k), -1, np.int64) for name in sources}
    progress.start("lists of each kind", len(requests), "viewers")
    for row, request in enumerate(requests):
        query = assembled.pipeline.hydrator.hydrate(request)
        for name, source in sources.items():
            item_id = source.fetch(query, k).item_id
            lists[name][row, : len(item_id)] = item_id
        progress.advance(1)
    progress.done()
    return lists


def figures_of(
    lists: Mapping[str, Int64], truth: UserItems, k: int, n_items: int
) -> dict[str, dict[str, Estimate]]:
    """{row: figures} with intervals over viewers: recall, that less the first row's of the family (the word before ":"), the videos that the first
    row's list does not hold, and the share of the catalogue in any list."""
    recall = {
        name: measure(Places.of(ranked, truth), (f"recall@{k}",))[f"recall@{k}"]
        for name, ranked in lists.items()
    }
    columns = {}
    firsts: dict[str, str] = {}
    for name, ranked in lists.items():
        family = {"interests": "history"}.get(name.split(":")[0], name.split(":")[0])
        first = firsts.setdefault(family, name)
        columns[name, f"recall@{k}"] = recall[name]
        if first != name:
            columns[name, "beside one vector"] = recall[name] - recall[first]
            columns[name, "videos it lacks"] = _n_new(ranked, lists[first])
    found: dict[str, dict[str, Estimate]] = {name: {} for name in lists}
    for (name, figure), estimate in intervals(columns).items():
        found[name][figure] = estimate
    for name, ranked in lists.items():
        found[name][f"coverage@{k}"] = concentration(ranked, k, n_items)[0]
    return found


def _n_new(ranked: Int64, first: Int64) -> Float64:
    """float64[u]: how many videos of each list int64[u, k] are not in the other."""
    return np.array(
        [np.setdiff1d(a[a >= 0], b).size for a, b in zip(ranked, first, strict=True)], np.float64
    )


def _release(asked: Asked, releases: ReleaseStore) -> tuple[str, Path, int]:
    """(id, folder, instant until which it learned). Raises InvalidInput before the first training."""
    release_id = asked.release or releases.current()
    if release_id is None:
        raise InvalidInput("bench interests: no release yet; run `upnext train` first")
    opened = releases.open(release_id)
    return release_id, opened.path, int(opened.manifest.data_window.get("until_us", 0))


def _shown(name: str, row: Mapping[str, Estimate]) -> dict[str, str]:
    digits = {"videos it lacks": 1}
    return {
        "query vectors": name,
        **{figure: figure_text(value, digits.get(figure, 4)) for figure, value in row.items()},
    }


def _unit(vectors: Float32) -> Float32:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Float32 = (vectors / np.maximum(length, 1e-12)).astype(np.float32)
    return scaled
