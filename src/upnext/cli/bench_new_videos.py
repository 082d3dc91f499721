"""`upnext bench new-videos`: where videos that a network was not trained on end up in lists, part by part, on one's own log."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console

from upnext.cli.evaluate_tables import draw
from upnext.cli.opened import readers
from upnext.cli.progress import RichProgress
from upnext.core.columns import VIDEO_STATUSES
from upnext.core.errors import InvalidInput, expected
from upnext.evaluate.figures import figure_text
from upnext.evaluate.split import instant_us
from upnext.evaluate.window import Window
from upnext.features.context import ContextEncoder
from upnext.features.showings import showings_of
from upnext.retrieval.material import Material, VideoCodes
from upnext.settings.settings import load


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    since: str
    until: str | None
    hours: str
    share: float
    users: int
    config: Path | None
    as_json: bool


def run(asked: Asked, out: Console, err: Console) -> None:
    """Trains on the log before an instant without some videos, and prints a row for each way to place those."""
    settings, progress = load(asked.config), RichProgress(err)
    hours = _hours(asked.hours)
    try:
        from upnext.learn.catalogue import fit_catalogue
        from upnext.learn.new_video_study import Study, new_video_study
        from upnext.learn.stages import vocabulary_of
    except ImportError as error:
        raise InvalidInput(
            f"bench new-videos needs the train extra: pip install 'upnext[train]' ({error})"
        ) from error
    view, log, _ = readers(settings)
    from_us = instant_us(asked.since)
    until_us = instant_us(asked.until) if asked.until else None
    showings = showings_of(log, view, settings.features, before_us=until_us)
    learn = settings.learn
    config = settings.retrieval.two_tower.model_copy(
        update={"seed": learn.seed, "device": learn.device}
    )
    with TemporaryDirectory(prefix="upnext-new-videos-") as name:
        folder = Path(name)
        fit_catalogue(settings, view, folder, progress)
        content = np.load(folder / "vectors.npy")
        words = ContextEncoder(vocabulary_of(showings.before(from_us)))
        videos = VideoCodes.of(view, np.arange(len(content)))
        window = Window(showings, from_us, until_us, max_users=asked.users, seed=learn.seed)
        listed = view.status[: len(content)] == VIDEO_STATUSES.index("active")
        material = Material(showings, content, words, videos)
        study = Study(material, window, view, listed, asked.share, hours)
        rows = new_video_study(study, config, folder / "two_tower", progress)
    if asked.as_json:
        out.file.write(json.dumps({"rows": [asdict(row) for row in rows]}) + "\n")
        return
    told = [
        {
            "placed by": row.name,
            "viewers of": "" if row.hours is None else f"{row.hours:g} h",
            "R@100 new, among new": figure_text(row.among_new),
            "R@100 new, among all": figure_text(row.among_all),
            "R@100 trained": figure_text(row.of_trained),
        }
        for row in rows
    ]
    draw(f"{asked.share:.0%} of the videos held out", told, out)


def _hours(text: str) -> tuple[float, ...]:
    try:
        hours = tuple(float(word) for word in text.split(","))
    except ValueError:
        raise expected("--hours", "numbers with commas between them", text) from None
    if not all(np.isfinite(h) and h >= 0 for h in hours):
        raise expected("--hours", "numbers of 0 and more", text)
    return hours
