"""`upnext bench heads`: every head of a release's ranker beside boosted trees that learn from the same log with the same columns.

LightGBM learns one model a head from every showing before the instant, each with the features of its moment (latest 28 days, at most `learn.max_shown` showings). Both are judged on the showings
after it, read as serving reads them. The scores of generators are the only columns that the trees lack: on showings from which a generator
learned they say what happened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from rich.console import Console

from upnext.artifacts.releases import ReleaseStore
from upnext.cli.evaluate_tables import draw
from upnext.cli.opened import readers
from upnext.cli.progress import RichProgress
from upnext.core.clock import DAY_US
from upnext.core.errors import InvalidInput
from upnext.core.protocols import Progress
from upnext.core.types import Array, Float32, Predictions
from upnext.evaluate.bootstrap import user_rows
from upnext.evaluate.figures import figure_text
from upnext.evaluate.gather import gathered_parts
from upnext.evaluate.head_pairs import Beside, compare
from upnext.evaluate.offline import predict_rows
from upnext.evaluate.split import instant_us
from upnext.features.showings import Showings, showings_of
from upnext.pipeline.release_parts import ReleaseParts
from upnext.pipeline.rows import Drawing, merged_rows, said_by_retrieval, share_of
from upnext.ranking.rows import RankerRows
from upnext.ranking.tasks import LISTED, kind_of
from upnext.settings.offline import offline_settings
from upnext.settings.settings import Settings, load

SETTINGS: Final = {
    "learning_rate": 0.05, "num_leaves": 63, "min_data_in_leaf": 50, "lambda_l2": 10.0,
    "feature_fraction": 0.5, "bagging_fraction": 0.8, "bagging_freq": 1, "verbose": -1,
    "deterministic": True, "force_row_wise": True, "seed": 0,
}  # fmt: skip
TREES: Final = 200
LEAST_ROWS: Final = 100
DAYS: Final = 28  # that the trees learn from
MAX_TESTED: Final = 60_000


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    since: str | None = None
    until: str | None = None
    release: str | None = None
    surface: str | None = None
    config: Path | None = None
    as_json: bool = False


@dataclass(frozen=True)
class Told:
    """Showings before the instant, for the trees, and after it, for both; with what the release says of the latter."""

    learned: RankerRows
    tested: RankerRows
    predictions: Predictions


def run(asked: Asked, out: Console, err: Console) -> None:
    """Trains the trees, predicts with both, prints the table."""
    try:
        import lightgbm
    except (ImportError, OSError) as error:
        raise InvalidInput(
            f"bench heads needs LightGBM: pip install 'upnext[train]' ({error})"
        ) from error
    settings, progress = load(asked.config), RichProgress(err)
    releases = ReleaseStore(settings.releases_path)
    release_id = asked.release or releases.current()
    if release_id is None:
        raise InvalidInput("bench heads: no release yet; run `upnext train` first")
    release = releases.open(release_id)
    learned_until = int(release.manifest.data_window.get("until_us", 0))
    from_us = instant_us(asked.since) if asked.since else learned_until
    until_us = instant_us(asked.until) if asked.until else None
    if from_us < learned_until:
        err.print("warning: the release learned from events after this instant", style="yellow")
    told = _gathered(settings, release.path, from_us, until_us, progress)
    inputs = _columns(told.learned), _columns(told.tested)
    tasks = [task for task in told.predictions.tasks if task != LISTED]
    found: dict[str, Mapping[str, Beside]] = {}
    progress.start("boosted trees", len(tasks), "heads")
    for task in tasks:
        is_seconds = kind_of(task) == "seconds"
        label, truth = (
            _label(rows, task, settings.ranking.watch_cap_s, asked.surface)
            for rows in (told.learned, told.tested)
        )
        known, judged = ~np.isnan(label), ~np.isnan(truth)
        if _is_mixed(label[known]) and _is_mixed(truth[judged]):
            data = lightgbm.Dataset(inputs[0][known], label[known])
            objective = {"objective": "regression" if is_seconds else "binary"}
            trees = lightgbm.train({**SETTINGS, **objective}, data, TREES)
            theirs = np.asarray(trees.predict(inputs[1][judged]))
            user, _ = user_rows(told.tested.group[judged])
            kind: Literal["probability", "seconds"] = "seconds" if is_seconds else "probability"
            ours = told.predictions.task(task)[judged]
            found[task] = compare(truth[judged], ours, theirs, user, kind)
        progress.advance(1)
    progress.done()
    about = {
        "release_id": release_id, "from_us": from_us, "until_us": until_us, "surface": asked.surface,
        "n_learned": len(told.learned), "n_tested": len(told.tested), "trees": TREES, **SETTINGS,
    }  # fmt: skip
    if asked.as_json:
        heads = {task: {n: _json(n, one) for n, one in of.items()} for task, of in found.items()}
        out.file.write(json.dumps({"about": about, "heads": heads}) + "\n")
        return
    size = f"{TREES} trees of {SETTINGS['num_leaves']} leaves"
    draw(f"heads of {release_id} beside LightGBM ({size}), {len(told.tested):,} showings", _rows(found), out)  # fmt: skip


def _gathered(
    settings: Settings, release: Path, from_us: int, until_us: int | None, progress: Progress
) -> Told:
    """Raises InvalidInput without a ranker, or with too little shown before or after the instant."""
    ranker = ReleaseParts.load(release).ranker
    if ranker is None:
        raise InvalidInput("bench heads: the release has no ranker")
    view, log, _ = readers(settings)
    showings = showings_of(log, view, settings.features, before_us=until_us)
    began_us = from_us - DAYS * DAY_US
    n_learned = _n_shown(showings, began_us, from_us)
    n_tested = _n_shown(showings, from_us, until_us)
    if min(n_learned, n_tested) < LEAST_ROWS:
        raise InvalidInput(
            f"bench heads: expected at least {LEAST_ROWS} showings before and after the instant, got {n_learned} and {n_tested}"
        )
    offline = offline_settings(settings)
    share = share_of(n_learned, settings.learn.max_shown)
    alone = Drawing(0.0, 0, 0, lists_from_us=from_us, shown_share=share)
    lists = Drawing(min(1.0, MAX_TESTED / n_tested), 0, 0)
    progress.start("features of what was shown", n_learned + n_tested, "showings")
    before = gathered_parts(offline, release, (began_us, from_us), alone, n_learned)
    progress.advance(n_learned)
    after = merged_rows(gathered_parts(offline, release, (from_us, until_us), lists, n_tested))
    progress.advance(n_tested)
    progress.done()
    return Told(merged_rows(before).ranker, after.ranker, predict_rows(after, ranker))


def _n_shown(showings: Showings, from_us: int, until_us: int | None) -> int:
    is_in = showings.time_us >= from_us
    return int((is_in if until_us is None else is_in & (showings.time_us < until_us)).sum())


def _columns(rows: RankerRows) -> Float32:
    """float32[m, f]: all columns but what retrieval says."""
    items = np.delete(rows.items, said_by_retrieval(rows.item_names), axis=1)
    return np.concatenate([rows.user, items], axis=1)


def _label(rows: RankerRows, task: str, cap_s: float, surface: str | None) -> Array:
    """float32[m], NaN where it is not known or the row is of another surface."""
    label = rows.labels.get(task, np.full(len(rows), np.nan, np.float32))
    if surface is not None:
        label = np.where(_is_on(rows, surface), label, np.nan)
    return np.minimum(label, cap_s) if kind_of(task) == "seconds" else label


def _is_on(rows: RankerRows, surface: str) -> Array:
    name = f"surface={surface}"
    if name not in rows.user_names:
        known = [n.removeprefix("surface=") for n in rows.user_names if n.startswith("surface=")]
        raise InvalidInput(f"--surface: expected one of {', '.join(known)}, got {surface!r}")
    return rows.user[:, rows.user_names.index(name)] > 0


def _is_mixed(label: Array) -> bool:
    return len(label) > 1 and bool((label != label[0]).any())


def _json(name: str, one: Beside) -> dict[str, Any]:
    said: dict[str, Any] = {"ours": one.ours, "theirs": one.theirs, "word": one.word(name)}
    if one.difference is not None:
        said["difference"] = [one.difference.mean, one.difference.low, one.difference.high]
    return said


def _rows(found: Mapping[str, Mapping[str, Beside]]) -> list[dict[str, str]]:
    return [
        {
            "head": task,
            "figure": name,
            "ranker": f"{one.ours:.4f}",
            "LightGBM": f"{one.theirs:.4f}",
            "difference": "" if one.difference is None else figure_text(one.difference, 4),
            "word": one.word(name),
        }
        for task, figures in found.items()
        for name, one in figures.items()
    ]
