"""`upnext premium-curve`: recall against the share of premium videos in the lists, as a table and a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from upnext.catalog.view import CatalogView
from upnext.cli.opened import readers
from upnext.cli.progress import RichProgress
from upnext.content.encoder import ContentEncoder
from upnext.core.clock import DAY_US
from upnext.core.columns import VIDEO_STATUSES
from upnext.core.errors import InvalidInput, expected
from upnext.core.randomness import rng_for
from upnext.core.types import Bool, Estimate
from upnext.evaluate.split import instant_us
from upnext.evaluate.window import Window
from upnext.features.context import ContextEncoder
from upnext.features.showings import showings_of
from upnext.features.slate_context import slate_slots
from upnext.retrieval.material import Material, VideoCodes
from upnext.settings.settings import load

if TYPE_CHECKING:
    from upnext.learn.premium_curve import Point


@dataclass(frozen=True)
class Premium:
    """Which videos are premium: those the catalogue says, else of these tags or creators, or a share of the creators by chance."""

    tags: Sequence[str]
    creators: Sequence[str]
    share: float | None
    seed: int


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    since: str | None
    until: str | None
    weights: str
    at: int
    users: int
    premium: Premium
    plot: Path | None
    config: Path | None
    as_json: bool


def run(asked: Asked, out: Console, err: Console) -> None:
    """Trains one policy per weight on the log before an instant and judges each on what came after."""
    weights = _weights(asked.weights)
    for name, value in (("--at", asked.at), ("--users", asked.users)):
        if value < 1:
            raise expected(name, "at least 1", value)
    if asked.plot is not None:
        _check_plot(asked.plot)
    settings = load(asked.config)
    view, log, releases = readers(settings)
    current = releases.current()
    if current is None:
        raise InvalidInput("premium-curve: no release yet; run `upnext train` first")
    try:
        from upnext.learn.premium_curve import Judged, premium_curve
        from upnext.learn.stages import vocabulary_of
    except ImportError as error:
        raise InvalidInput(
            f"premium-curve needs the train extra: pip install 'upnext[train]' ({error})"
        ) from error
    codes = VideoCodes.of(view, np.arange(view.n_items))
    codes = replace(codes, is_premium=_marked(asked.premium, view, codes))
    until_us = instant_us(asked.until) if asked.until else None
    showings = showings_of(
        log, view, settings.features, before_us=until_us, slates=slate_slots(log)
    )
    end_us = int(showings.time_us.max(initial=0))
    from_us = instant_us(asked.since) if asked.since else end_us - DAY_US
    encoder = ContentEncoder.load(releases.open(current).path / "content")
    content = encoder.encode_table(view.table())
    words = ContextEncoder(vocabulary_of(showings.before(from_us)))
    window = Window(showings, from_us, until_us, max_users=asked.users)
    listed = view.status[: len(content)] == VIDEO_STATUSES.index("active")
    points = premium_curve(
        Material(showings, content, words, codes),
        Judged(window, view, listed, asked.at),
        settings.retrieval.off_policy.model_copy(
            update={"seed": settings.learn.seed, "device": settings.learn.device}
        ),
        weights,
        RichProgress(err),
    )
    base = float(codes.is_premium[listed].mean())
    if asked.plot is not None:
        _plot(points, asked.at, base, asked.plot)
    if asked.as_json:
        said = {"at": asked.at, "premium_videos": base, "points": [asdict(p) for p in points]}
        out.file.write(json.dumps(said) + "\n")
        return
    out.print(_table(points, asked.at, base))
    if asked.plot is not None:
        out.print(f"wrote {asked.plot}", highlight=False)


def _weights(text: str) -> list[float]:
    try:
        weights = [float(word) for word in text.split(",")]
    except ValueError:
        raise expected("--weights", "numbers with commas between them", text) from None
    if not all(np.isfinite(weight) and weight >= 0 for weight in weights):
        raise expected("--weights", "numbers of 0 and more", text)
    return weights


def _check_plot(path: Path) -> None:
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise expected("--plot", "a file that ends in .png, .svg or .pdf", str(path))
    if not path.parent.is_dir():
        raise expected("--plot", "a file in a folder that exists", str(path))
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InvalidInput('--plot needs matplotlib: pip install "upnext[evaluate]"') from error


def _marked(premium: Premium, view: CatalogView, codes: VideoCodes) -> Bool:
    """bool[n_items]: which videos are premium."""
    by_name = bool(premium.tags or premium.creators)
    if premium.share is not None:
        if by_name or not 0 < premium.share < 1:
            raise expected(
                "--premium-share", "between 0 and 1, without tags or creators", premium.share
            )
        creators = np.unique(codes.creator)
        drawn = creators[rng_for("premium", premium.seed).random(len(creators)) < premium.share]
        return np.isin(codes.creator, drawn)
    if not by_name:
        return codes.is_premium
    tags = [_code(view, "tag", name) for name in premium.tags]
    creators = np.array([_code(view, "creator", name) for name in premium.creators], np.int64)
    has_tag = np.isin(view.tags[: len(codes)], tags).any(axis=1)
    return np.asarray(has_tag | np.isin(codes.creator, creators), np.bool_)


def _code(view: CatalogView, kind: str, name: str) -> int:
    code = view.code(kind, name)
    if code < 0:
        raise expected(f"--premium-{kind}", f"a {kind} of the catalogue", name)
    return code


def _table(points: Sequence[Point], at: int, base: float) -> Table:
    table = Table(title=f"{base:.1%} of the active videos are premium")
    for column in ("premium weight", f"recall@{at}", "less than the first", "NDCG@10", f"premium in the first {at}"):  # fmt: skip
        table.add_column(column, justify="right")
    for point in points:
        table.add_row(
            f"{point.weight:g}", _text(point.recall), _text(point.recall_lost, sign=True),
            _text(point.ndcg), _text(point.premium_share),
        )  # fmt: skip
    return table


def _text(estimate: Estimate, *, sign: bool = False) -> str:
    form = "+.4f" if sign else ".4f"
    return f"{estimate.mean:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


def _plot(points: Sequence[Point], at: int, base: float, path: Path) -> None:
    from matplotlib.figure import Figure

    share, recall = ([getattr(p, name) for p in points] for name in ("premium_share", "recall"))
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    x, y = ([e.mean for e in column] for column in (share, recall))
    errors = [
        np.array([[e.mean - e.low, e.high - e.mean] for e in column]).T
        for column in (share, recall)
    ]
    axes.errorbar(x, y, xerr=errors[0], yerr=errors[1], marker="o", capsize=2, color="#2b6cb0")
    for point, left, top in zip(points, x, y, strict=True):
        axes.annotate(f"{point.weight:g}", (left, top), (6, 6), textcoords="offset points")
    axes.axvline(base, linestyle=":", color="#777777", label="share of the catalogue")
    axes.set_xlabel(f"premium videos in the first {at}, share")
    axes.set_ylabel(f"recall@{at}")
    axes.set_title("what premium videos cost; numbers are premium weights, bars 95 %")
    axes.legend(frameon=False)
    figure.savefig(path)
