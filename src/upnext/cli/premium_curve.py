"""`upnext premium-curve`: recall against the share of premium videos in the lists, as a table, JSON and a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.view import CatalogView
from upnext.cli.opened import readers
from upnext.cli.progress import RichProgress
from upnext.content.encoder import ContentEncoder
from upnext.core.clock import DAY_US
from upnext.core.columns import VIDEO_STATUSES
from upnext.core.errors import InvalidInput, expected
from upnext.core.protocols import Progress
from upnext.core.randomness import rng_for
from upnext.core.types import Bool, Estimate, Float32
from upnext.evaluate.split import instant_us
from upnext.evaluate.window import Window
from upnext.events.log import SqliteEventLog
from upnext.features.context import ContextEncoder
from upnext.features.showings import showings_of
from upnext.features.slate_context import slate_slots
from upnext.retrieval.material import Material, VideoCodes
from upnext.settings.settings import Settings, load

if TYPE_CHECKING:
    from upnext.learn.premium_curve import Point

PLOT: Final = "curve.png"
FIGURES: Final = "curve.json"


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
    folder: Path
    config: Path | None
    as_json: bool


def run(asked: Asked, out: Console, err: Console) -> None:
    """Trains one policy per weight on the log before an instant and judges each on what came after."""
    weights = _weights(asked.weights)
    for name, value in (("--at", asked.at), ("--users", asked.users)):
        if value < 1:
            raise expected(name, "at least 1", value)
    _check_installed()
    import torch

    from upnext.learn.premium_curve import Judged, premium_curve, verdict
    from upnext.learn.stages import vocabulary_of

    settings, progress = load(asked.config), RichProgress(err)
    torch.set_num_threads(settings.learn.threads or torch.get_num_threads())
    view, log, releases = readers(settings)
    codes = VideoCodes.of(view, np.arange(view.n_items))
    codes = replace(codes, is_premium=_marked(asked.premium, view, codes))
    listed = view.status[: view.n_items] == VIDEO_STATUSES.index("active")
    base = _share(codes.is_premium[listed])
    window = _window(asked, log, view, settings)
    content = _content(settings, view, releases, progress)
    words = ContextEncoder(vocabulary_of(window.showings.before(window.from_us)))
    config = settings.retrieval.off_policy.model_copy(
        update={"seed": settings.learn.seed, "device": settings.learn.device}
    )
    points = premium_curve(
        Material(window.showings, content, words, codes),
        Judged(window, view, listed, asked.at), config, weights, asked.folder, progress,
    )  # fmt: skip
    _plot(points, asked.at, base, asked.folder / PLOT)
    said = {
        "at": asked.at, "from_us": window.from_us, "viewers": int(points[0].recall.n_effective),
        "premium_videos": base, "points": [asdict(p) for p in points], "verdict": verdict(points),
    }  # fmt: skip
    text = json.dumps(said, indent=1) + "\n"
    (asked.folder / FIGURES).write_text(text, "utf-8")
    if asked.as_json:
        out.file.write(text)
        return
    out.print(_table(points, asked.at, base))
    out.print(verdict(points), highlight=False)
    out.print(f"wrote {asked.folder / PLOT} and {FIGURES} beside it", highlight=False)


def _check_installed() -> None:
    try:
        import matplotlib  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise InvalidInput(
            f"premium-curve needs the extras train and evaluate: pip install 'upnext[train,evaluate]' ({error})"
        ) from error


def _share(is_premium: Bool) -> float:
    """The share of the active videos bool[i] that is premium. Raises InvalidInput where there is nothing to weigh."""
    if not is_premium.any():
        raise InvalidInput(
            "premium-curve: no active video is premium; say which are with --premium-tag, --premium-creator, "
            "or --premium-share 0.1 for those of creators drawn by chance"
        )
    if is_premium.all():
        raise InvalidInput("premium-curve: every active video is premium, so no list can hold more")
    return float(is_premium.mean())


def _window(asked: Asked, log: SqliteEventLog, view: CatalogView, settings: Settings) -> Window:
    """Everything up to the end, and what of it is judged: from the instant asked for, else the last day."""
    until_us = instant_us(asked.until) if asked.until else None
    showings = showings_of(
        log, view, settings.features, before_us=until_us, slates=slate_slots(log)
    )
    from_us = int(showings.time_us.max(initial=0)) - DAY_US
    if asked.since:
        from_us = instant_us(asked.since)
    return Window(showings, from_us, until_us, max_users=asked.users)


def _content(
    settings: Settings, view: CatalogView, releases: ReleaseStore, progress: Progress
) -> Float32:
    """float32[n_items, c] by the encoder of the current release, or before the first one by one that is fitted now."""
    from upnext.learn.catalogue import learn_content

    current = releases.current()
    if current is not None:
        encoder = ContentEncoder.load(releases.open(current).path / "content")
        return encoder.encode_table(view.table())
    with TemporaryDirectory() as folder:
        return learn_content(
            view, settings.content, Path(folder), seed=settings.learn.seed, progress=progress
        )


def _weights(text: str) -> list[float]:
    try:
        weights = [float(word) for word in text.split(",")]
    except ValueError:
        raise expected("--weights", "numbers with commas between them", text) from None
    if not all(np.isfinite(weight) and weight >= 0 for weight in weights):
        raise expected("--weights", "numbers of 0 and more", text)
    return sorted(set(weights))


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
    for column in ("premium weight", f"recall@{at}", "less the first's", "NDCG@10", f"premium in the first {at}", "less the one before's"):  # fmt: skip
        table.add_column(column, justify="right")
    for point in points:
        table.add_row(
            f"{point.weight:g}", _text(point.recall), _text(point.recall_change, sign=True),
            _text(point.ndcg), _text(point.premium_share), _text(point.share_step, sign=True),
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
    axes.set_title("numbers are premium weights, bars 95 % over viewers", fontsize="medium")
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
