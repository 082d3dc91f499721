"""`upnext weights`: what a video's value is made of, per surface: shown, changed in force, tried on a replay."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from upnext.artifacts.value_weights import Change, ValueWeights
from upnext.cli.evaluate_tables import draw
from upnext.cli.opened import readers
from upnext.cli.progress import RichProgress
from upnext.core.clock import DAY_US, SystemClock
from upnext.core.errors import InvalidInput, expected
from upnext.evaluate.figures import figure_text, figures_json
from upnext.evaluate.gather import offline_parts
from upnext.evaluate.split import instant_us
from upnext.evaluate.weight_trial import WeightTrial, try_weights
from upnext.events.log import SqliteEventLog
from upnext.features.counters import CounterTable
from upnext.features.past_events import events_by_time
from upnext.features.replay import replay
from upnext.features.slate_context import slate_contexts
from upnext.pipeline.assemble import assemble, bring_later
from upnext.pipeline.release_parts import ReleaseParts
from upnext.ranking.tasks import SIGN
from upnext.serve.trials import weighted
from upnext.settings.offline import offline_settings
from upnext.settings.settings import Settings, load


def run_show(config: Path | None, as_json: bool, out: Console) -> None:
    """Prints every surface's weights: those of the settings and those in force."""
    settings = load(config)
    store = ValueWeights(settings.weights_path)
    in_force = weighted(settings, store.at())
    if as_json:
        said = {
            name: {"settings": own.weights, "in_force": in_force.surfaces[name].weights}
            for name, own in settings.surfaces.items()
        }
        out.print_json(json.dumps(said))
        return
    rows = []
    for name, own in settings.surfaces.items():
        now = in_force.surfaces[name].weights
        for task in dict.fromkeys([*own.weights, *now]):
            sign = {1: "good", -1: "bad"}.get(SIGN.get(task, 0), "")
            was = own.weights.get(task, 0.0)
            changed = "" if now.get(task, 0.0) == was else f"{now.get(task, 0.0):g}"
            rows.append(
                {"surface": name, "task": task, "feedback": sign, "settings": f"{was:g}", "in force": changed}
            )  # fmt: skip
    draw("weights of the value", rows, out)


def run_set(surface: str, said: list[str], note: str, config: Path | None, out: Console) -> None:
    """Puts weights of a surface in force, over those that are. Raises InvalidInput for a surface, a task or a sign that can't be."""
    settings = load(config)
    store = ValueWeights(settings.weights_path)
    changed = {**store.at().get(surface, {}), **_parsed(said)}
    weighted(settings, {surface: changed})
    if not settings.folder.exists():
        raise InvalidInput(f"no data in {settings.folder}: run `upnext import` first")
    store.add(Change(SystemClock().now_us(), surface, changed, note))
    told = ", ".join(f"{task} {weight:g}" for task, weight in changed.items())
    out.print(
        f"in force on {surface}, over the settings: {told}; servers follow within a second",
        highlight=False,
    )


def run_reset(surface: str, note: str, config: Path | None, out: Console) -> None:
    """Puts the settings' own weights in force again."""
    settings = load(config)
    weighted(settings, {surface: {}})
    ValueWeights(settings.weights_path).add(Change(SystemClock().now_us(), surface, None, note))
    out.print(f"in force on {surface}: the weights of the settings", highlight=False)


def run_try(
    surface: str,
    said: list[str],
    since: str | None,
    n_pages: int,
    config: Path | None,
    as_json: bool,
    out: Console,
    err: Console,
) -> None:
    """Draws logged requests anew under the weights in force and under the given ones, and prints what the pages hold."""
    settings = load(config)
    own = ValueWeights(settings.weights_path).at()
    present = weighted(settings, own)
    proposed = weighted(settings, {**own, surface: {**own.get(surface, {}), **_parsed(said)}})
    trial = _tried(settings, surface, (present, proposed), since, n_pages, err)
    if not trial.n_pages:
        raise InvalidInput(
            f"weights try: no request of {surface!r} in the log from that instant on"
        )
    if as_json:
        shifts = {
            name: figures_json({"before": s.before, "after": s.after, "difference": s.difference})
            for name, s in trial.shifts.items()
        }
        told = {"n_pages": trial.n_pages, "n_viewers": trial.n_viewers, "shifts": shifts}
        out.print_json(json.dumps({**told, **figures_json({"kept": trial.kept})}))
        return
    rows = [
        {
            "of a page": name,
            "in force": figure_text(s.before, 4),
            "proposed": figure_text(s.after, 4),
            "difference": figure_text(s.difference, 4),
        }
        for name, s in trial.shifts.items()
    ]
    draw(f"{trial.n_pages:,} pages of {trial.n_viewers:,} viewers on {surface}", rows, out)
    out.print(f"videos that both show: {figure_text(trial.kept, 3)} of a page", highlight=False)


def _tried(
    settings: Settings,
    surface: str,
    weights: tuple[Settings, Settings],
    since: str | None,
    n_pages: int,
    err: Console,
) -> WeightTrial:
    view, log, releases = readers(settings)
    release_id = releases.current()
    if release_id is None:
        raise InvalidInput("weights try: no release yet; run `upnext train` first")
    parts = ReleaseParts.load(releases.open(release_id).path)
    bring_later(parts, view)
    counters = CounterTable(view.n_items)
    assembled = assemble(offline_parts(offline_settings(settings), view, counters), parts)
    from_us = instant_us(since) if since else _last_day_us(log)
    requests = replay(
        log, view, counters, after_us=from_us, slates=slate_contexts(log), config=settings.features
    )
    both = weights[0].surfaces[surface].weights, weights[1].surfaces[surface].weights
    return try_weights(requests, assembled, view, surface, both, n_pages, RichProgress(err))


def _last_day_us(log: SqliteEventLog) -> int:
    events = events_by_time(log, None)
    if not len(events):
        raise InvalidInput("weights try: the log has no event yet; run `upnext import` first")
    return int(events.get_column("time_us")[-1]) - DAY_US


def _parsed(said: list[str]) -> dict[str, float]:
    weights = {}
    for one in said:
        task, equals, number = one.partition("=")
        try:
            weights[task] = float(number)
        except ValueError:
            equals = ""
        if not task or not equals:
            raise expected("weights", "TASK=NUMBER, such as dislike=-1", one)
    return weights
