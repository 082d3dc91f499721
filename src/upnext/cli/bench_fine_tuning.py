"""`upnext bench fine-tuning`: what fine-tuning on the newest day keeps of a full training, and at what share of its cost, on one's own log."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rich.console import Console

from upnext.cli.evaluate_tables import draw
from upnext.cli.progress import RichProgress
from upnext.cli.studied_log import Cut, study_of
from upnext.core.errors import InvalidInput, expected
from upnext.evaluate.figures import difference_json, figure_text, figures_json
from upnext.settings.settings import load

if TYPE_CHECKING:
    from upnext.learn.fine_tuning_study import Compared


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    cut: Cut
    generators: str
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
    found: dict[str, Compared] = {}
    with TemporaryDirectory(prefix="upnext-fine-tuning-") as folder:
        study = study_of(asked.cut, settings, Path(folder), progress)
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
