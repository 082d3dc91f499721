"""`upnext bench ablation GENERATOR`: what each part of a generator adds on one's own log, each difference with its interval."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from upnext.cli.evaluate_tables import draw
from upnext.cli.progress import RichProgress
from upnext.cli.studied_log import Cut, study_of
from upnext.core.errors import InvalidInput, expected
from upnext.evaluate.figures import difference_json, figure_text, figures_json
from upnext.settings.settings import load

if TYPE_CHECKING:
    from upnext.learn.ablation import Ablation

COLUMNS: Final = ("recall@100", "ndcg@10", "coverage@10")


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    generator: str
    variants: tuple[str, ...]
    cut: Cut
    config: Path | None
    as_json: bool


def run(asked: Asked, out: Console, err: Console) -> None:
    """Trains every variant and prints a row each."""
    settings, progress = load(asked.config), RichProgress(err)
    try:
        from upnext.learn.ablation import ablation, variants_of
        from upnext.learn.generators import LEARNED
    except ImportError as error:
        raise InvalidInput(
            f"bench ablation needs the train extra: pip install 'upnext[train]' ({error})"
        ) from error
    if asked.generator not in LEARNED:
        raise expected("GENERATOR", f"one of {', '.join(LEARNED)}", asked.generator)
    variants = variants_of(asked.generator, asked.variants, settings, LEARNED)
    with TemporaryDirectory(prefix="upnext-ablation-") as folder:
        study = study_of(asked.cut, settings, Path(folder), progress)
        found = ablation(variants, study, Path(folder), progress)
    if asked.as_json:
        about = {"window_us": [study.window.from_us, study.window.until_us]}
        out.file.write(json.dumps({**about, **as_json(found)}) + "\n")
        return
    _tell(found, asked.generator, out)


def as_json(found: Ablation) -> dict[str, Any]:
    """Plain values."""
    ((base, against),) = found.report.against.items()
    return {
        "n_viewers": found.report.n_users,
        "cost": {name: asdict(cost) for name, cost in found.costs.items()},
        "figures": {name: figures_json(row.figures) for name, row in found.report.rows.items()},
        "base": base,
        "less_base": {
            name: {metric: difference_json(d) for metric, d in versus.items()}
            for name, versus in against.items()
        },
    }


def _tell(found: Ablation, generator: str, out: Console) -> None:
    ((base, against),) = found.report.against.items()
    rows = []
    for label, row in found.report.rows.items():
        cells = {"variant": label, "processor s": f"{found.costs[label].processor_s:.1f}"}
        for metric in COLUMNS:
            cells[metric] = figure_text(row.figures[metric])
            if metric in against.get(label, {}):
                cells[f"{metric} less {base}"] = figure_text(against[label][metric])
        rows.append(cells)
    draw(f"{generator}: what its parts add, {found.report.n_users:,} viewers", rows, out)
