"""`upnext bench fine-tuning`: what fine-tuning on the newest day keeps of a full training, and at what share of its cost, on one's own log."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.console import Console

from upnext.catalog.view import CatalogView
from upnext.cli.evaluate_tables import draw
from upnext.cli.opened import readers
from upnext.cli.progress import RichProgress
from upnext.core.clock import HOUR_US
from upnext.core.columns import VIDEO_STATUSES
from upnext.core.errors import InvalidInput, expected
from upnext.core.randomness import rng_for
from upnext.evaluate.figures import difference_json, figure_text, figures_json
from upnext.evaluate.split import instant_us
from upnext.evaluate.window import Window
from upnext.features.context import ContextEncoder
from upnext.features.showings import Showings, showings_of
from upnext.features.slate_context import slate_slots
from upnext.retrieval.material import Material, VideoCodes
from upnext.settings.settings import Settings, load

if TYPE_CHECKING:
    from upnext.learn.fine_tuning_study import Compared, Study

PER_ROW: Final = ("user", "item_id", "time_us", "flags", "watch_s", "moment")


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    until: str | None
    hours: float
    generators: str
    viewers: int
    config: Path | None
    as_json: bool


def run(asked: Asked, out: Console, err: Console) -> None:
    """Trains every generator three ways and prints a row each."""
    settings, progress = load(asked.config), RichProgress(err)
    try:
        from upnext.learn.fine_tuning_study import compared
        from upnext.learn.generators import FINE_TUNED
    except ImportError as error:
        raise InvalidInput(
            f"bench fine-tuning needs the train extra: pip install 'upnext[train]' ({error})"
        ) from error
    names = [name.strip() for name in asked.generators.split(",")] if asked.generators else []
    for name in names:
        if name not in FINE_TUNED:
            raise expected("--generators", f"some of {', '.join(FINE_TUNED)}", name)
    view, log, _ = readers(settings)
    until_us = instant_us(asked.until) if asked.until else None
    showings = showings_of(
        log, view, settings.features, before_us=until_us, slates=slate_slots(log)
    )
    found: dict[str, Compared] = {}
    with TemporaryDirectory(prefix="upnext-fine-tuning-") as folder:
        study = _study(showings, asked, view, settings, Path(folder), progress)
        for name in names or FINE_TUNED:
            found[name] = compared(name, study, settings, Path(folder), progress)
    if asked.as_json:
        said = {name: as_json(one) for name, one in found.items()}
        about = {
            "tail_us": study.tail_us,
            "window_us": [study.window.from_us, study.window.until_us],
        }
        out.file.write(json.dumps({**about, "generators": said}) + "\n")
        return
    _tell(found, out)


def _study(
    showings: Showings,
    asked: Asked,
    view: CatalogView,
    settings: Settings,
    folder: Path,
    progress: RichProgress,
) -> Study:
    """The log cut in three. Raises InvalidInput where it is too short."""
    from upnext.learn.catalogue import fit_catalogue
    from upnext.learn.fine_tuning_study import Study
    from upnext.learn.stages import vocabulary_of

    last_us = int(showings.time_us.max(initial=0)) + 1
    until_us = instant_us(asked.until) if asked.until else last_us
    from_us = until_us - int(asked.hours * HOUR_US)
    tail_us = from_us - int(asked.hours * HOUR_US)
    timed = showings.time_us[showings.time_us > 0]
    if not (timed < tail_us).any():
        raise expected("log", f"showings before the last {2 * asked.hours:g} hours", "none")
    showings = _of_some(showings, asked.viewers)
    fit_catalogue(settings, view, folder, progress)
    content = np.load(folder / "vectors.npy")
    videos = VideoCodes.of(view, np.arange(len(content)))
    words = ContextEncoder(vocabulary_of(showings.before(tail_us)))
    listed = view.status[: len(content)] == VIDEO_STATUSES.index("active")
    window = Window(showings, from_us, until_us)
    return Study(Material(showings, content, words, videos), tail_us, window, view, listed)


def _of_some(showings: Showings, n_viewers: int) -> Showings:
    """The showings of so many viewers, drawn at random; 0: of all."""
    if not 0 < n_viewers < len(showings.user_ids):
        return showings
    rng = rng_for("fine-tuning-viewers")
    drawn = rng.choice(len(showings.user_ids), n_viewers, replace=False)
    kept = np.isin(showings.user, drawn)
    per_row = {name: getattr(showings, name)[kept] for name in PER_ROW}
    if showings.propensity is not None:
        per_row["propensity"] = showings.propensity[kept]
    return replace(showings, **per_row)


def as_json(one: Compared) -> dict[str, Any]:
    """Plain values."""
    rows, against = one.report.rows, one.report.against["full"]
    return {
        "cost": {name: asdict(cost) for name, cost in one.costs.items()},
        "share_of_processor_s": one.share("processor_s"),
        "share_of_examples": one.share("examples"),
        "n_viewers": one.report.n_users,
        "figures": {name: figures_json(row.figures) for name, row in rows.items()},
        "less_full": {
            name: {metric: difference_json(d) for metric, d in versus.items()}
            for name, versus in against.items()
        },
        "segments": {
            name: {key: figures_json(part) for key, part in row.segments.items()}
            for name, row in rows.items()
        },
    }


def _tell(found: dict[str, Compared], out: Console) -> None:
    rows = []
    for name, one in found.items():
        for model, row in one.report.rows.items():
            less = one.report.against["full"].get(model, {})
            cells = {
                "generator": name, "model": model,
                "processor s": f"{one.costs[model].processor_s:.1f}",
                "examples": f"{one.costs[model].examples:,}",
            }  # fmt: skip
            if model == "fine-tuned":
                cells["of full"] = f"{one.share('processor_s'):.1%}, {one.share('examples'):.1%}"
            for metric in ("recall@100", "ndcg@10"):
                cells[metric] = figure_text(row.figures[metric])
                if metric in less:
                    cells[f"{metric} less full"] = figure_text(less[metric])
            for key, part in row.segments.items():
                cells[f"recall@100, {key}"] = figure_text(part["recall@100"], 3)
            rows.append(cells)
    n_viewers = next(iter(found.values())).report.n_users
    draw(f"fine-tuning on the newest day's showings, {n_viewers:,} viewers", rows, out)
