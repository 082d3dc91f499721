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
from upnext.core.types import Array, Float32
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
from upnext.settings.settings import load

SETTINGS: Final = {
    "learning_rate": 0.05, "num_leaves": 63, "min_data_in_leaf": 50, "lambda_l2": 10.0,
    "feature_fraction": 0.5, "bagging_fraction": 0.8, "bagging_freq": 1, "verbose": -1,
    "deterministic": True, "force_row_wise": True, "seed": 0,
}  # fmt: skip
TREES: Final = 200
LEAST_ROWS: Final = 500
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


def run(asked: Asked, out: Console, err: Console) -> None:
    """Trains the trees, predicts with both, prints the table."""
    try:
        import lightgbm
    except (ImportError, OSError) as error:
        raise InvalidInput(
            f"bench heads needs LightGBM: pip install 'upnext[train]' ({error})"
        ) from error
    settings, progress = load(asked.config), RichProgress(err)
    view, log, _ = readers(settings)
    releases = ReleaseStore(settings.releases_path)
    release_id = asked.release or releases.current()
    if release_id is None:
        raise InvalidInput("bench heads: no release yet; run `upnext train` first")
    release = releases.open(release_id)
    learned_until = int(release.manifest.data_window.get("until_us", 0))
    from_us = instant_us(asked.since) if asked.since else learned_until
    if from_us < learned_until:
        err.print("warning: the release learned from events after this instant", style="yellow")
    until_us = instant_us(asked.until) if asked.until else None
    showings = showings_of(log, view, settings.features, before_us=until_us)
    began_us = from_us - 28 * DAY_US
    n_learned, n_tested = (
        _n_shown(showings, began_us, from_us),
        _n_shown(showings, from_us, until_us),
    )
    if min(n_learned, n_tested) < LEAST_ROWS:
        raise InvalidInput(
            f"bench heads: expected at least {LEAST_ROWS} showings before and after the instant, got {n_learned} and {n_tested}"
        )
    offline = offline_settings(settings)
    share = share_of(n_learned, settings.learn.max_shown)
    learned_drawing = Drawing(0.0, 0, 0, lists_from_us=from_us, shown_share=share)
    progress.start("features of what was shown", n_learned + n_tested, "showings")
    learned = merged_rows(
        gathered_parts(offline, release.path, (began_us, from_us), learned_drawing, n_learned)
    )
    progress.advance(n_learned)
    drawing = Drawing(min(1.0, MAX_TESTED / n_tested), 0, 0)
    tested = merged_rows(
        gathered_parts(offline, release.path, (from_us, until_us), drawing, n_tested)
    )
    progress.advance(n_tested)
    progress.done()
    ranker = ReleaseParts.load(release.path).ranker
    if ranker is None:
        raise InvalidInput(f"bench heads: release {release_id} has no ranker")
    predictions = predict_rows(tested, ranker)
    tasks = [t for t in predictions.tasks if t != LISTED]
    inputs = _columns(learned.ranker), _columns(tested.ranker)
    found: dict[str, Mapping[str, Beside]] = {}
    progress.start("boosted trees", len(tasks), "heads")
    cap_s = settings.ranking.watch_cap_s
    for task in tasks:
        label, truth = (_label(rows, task, cap_s) for rows in (learned.ranker, tested.ranker))
        known, told = ~np.isnan(label), ~np.isnan(truth)
        if asked.surface is not None:
            known &= _is_on(learned.ranker, asked.surface)
            told &= _is_on(tested.ranker, asked.surface)
        if _is_mixed(label[known]) and _is_mixed(truth[told]):
            is_seconds = kind_of(task) == "seconds"
            kind: Literal["probability", "seconds"] = "seconds" if is_seconds else "probability"
            data = lightgbm.Dataset(inputs[0][known], label[known])
            objective = {"objective": "regression" if is_seconds else "binary"}
            trees = lightgbm.train({**SETTINGS, **objective}, data, TREES)
            theirs = np.asarray(trees.predict(inputs[1][told]))
            user, _ = user_rows(tested.ranker.group[told])
            found[task] = compare(truth[told], predictions.task(task)[told], theirs, user, kind)
        progress.advance(1)
    progress.done()
    about = {
        "release_id": release_id, "from_us": from_us, "until_us": until_us, "surface": asked.surface,
        "n_learned": len(learned.ranker), "n_tested": len(tested.ranker), "trees": TREES, **SETTINGS,
    }  # fmt: skip
    if asked.as_json:
        heads = {
            task: {name: _json(name, one) for name, one in of.items()} for task, of in found.items()
        }
        out.file.write(json.dumps({"about": about, "heads": heads}) + "\n")
        return
    title = f"heads of {release_id} beside LightGBM ({TREES} trees of {SETTINGS['num_leaves']} leaves), {len(tested.ranker):,} showings"
    draw(title, _rows(found), out)


def _n_shown(showings: Showings, from_us: int, until_us: int | None) -> int:
    is_in = showings.time_us >= from_us
    return int((is_in if until_us is None else is_in & (showings.time_us < until_us)).sum())


def _columns(rows: RankerRows) -> Float32:
    """float32[m, f]: all columns but what retrieval says."""
    items = np.delete(rows.items, said_by_retrieval(rows.item_names), axis=1)
    return np.concatenate([rows.user, items], axis=1)


def _label(rows: RankerRows, task: str, cap_s: float) -> Array:
    label = rows.labels.get(task, np.full(len(rows), np.nan, np.float32))
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
