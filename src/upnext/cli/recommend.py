"""`upnext recommend USER`: the page that a viewer would get now, straight from the stores, logged nowhere."""

from __future__ import annotations

import json
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from upnext.cli.opened import readers
from upnext.core.errors import Unavailable
from upnext.core.randomness import key_of
from upnext.core.types import Request
from upnext.evaluate.experiments.store import ExperimentStore
from upnext.events.log import SqliteEventLog
from upnext.explain.slots import SlotExplanation, explain_slots
from upnext.features.live import StateReader, StateWriter
from upnext.pipeline.assemble import Parts
from upnext.pipeline.serving import Serving
from upnext.serve.simulated_clock import clock_of
from upnext.serve.supervisor import claimed
from upnext.serve.trials import TrialsFollower
from upnext.settings.settings import Settings, load
from upnext.state.lmdb_state import LmdbState


def run(
    user: str,
    surface: str,
    size: int,
    video: str | None,
    explain: bool,
    config: Path | None,
    as_json: bool,
    out: Console,
) -> None:
    """Prints the slate; with `explain`, where each slot comes from."""
    settings = load(config)
    view, log, releases = readers(settings)
    _catch_up(settings, log)
    clock = clock_of(settings)
    with closing(LmdbState(settings.state_path, read_only=True)) as store:
        reader = StateReader(store, view, settings.features)
        reader.refresh_counters()
        parts = Parts(
            view, reader.counters, reader, settings.surfaces, settings.pipeline, settings.filters,
            settings.retrieval,
        )  # fmt: skip
        serving = Serving(parts, releases, clock, reader=reader)
        experiments = ExperimentStore(settings.experiments_path)
        trials = TrialsFollower(experiments, releases, settings, serving)
        trials.follow()
        now_us = clock.now_us()
        request = Request(
            request_id=f"recommend-{now_us}",
            user_id=user,
            surface=surface,
            size=size,
            time_us=now_us,
            seed=key_of("recommend", user, now_us),
            current_video_id=video,
        )
        answer = serving.answering.recommend(request)
    weights = trials.weights(surface, answer.query.arms, now_us)
    slots = explain_slots(answer.record, weights)
    titles = [str(row.get("title") or "") for row in view.videos(answer.slate.item_id)]
    if as_json:
        rows = [asdict(slot) | {"title": title} for slot, title in zip(slots, titles, strict=True)]
        said = {"degraded": answer.trace.degraded, "arms": dict(answer.query.arms), "slots": rows}
        out.file.write(json.dumps(said) + "\n")
        return
    _draw(slots, titles, explain, answer.trace.degraded, out)
    if explain:
        stages = ", ".join(f"{k} {v:.1f}" for k, v in answer.trace.stage_ms.items())
        removed = ", ".join(f"{k} {v}" for k, v in answer.trace.removed.items() if v) or "none"
        fetched = ", ".join(f"{k} {v}" for k, v in answer.trace.fetched.items())
        out.print(
            f"fetched: {fetched}; unique {answer.trace.n_unique}; removed: {removed}",
            highlight=False,
        )
        arms = "".join(f"; {name}: {arm}" for name, arm in answer.query.arms.items())
        out.print(
            f"release {answer.record.release_id}; stages in ms: {stages}{arms}", highlight=False
        )


def _catch_up(settings: Settings, log: SqliteEventLog) -> None:
    """Brings the state up to the log, except where a running server keeps it."""
    with (
        suppress(Unavailable),  # a server runs
        claimed(settings.run_path),
        closing(LmdbState(settings.state_path)) as store,
    ):
        StateWriter(store, settings.features).catch_up(log)


def _draw(
    slots: list[SlotExplanation],
    titles: list[str],
    explain: bool,
    degraded: list[str],
    out: Console,
) -> None:
    columns = ["slot", "video", "title", "reason"]
    if explain:
        columns += ["sources (score)", "predictions", "value", "propensity", "eligible"]
    table = Table(*columns)
    for slot, title in zip(slots, titles, strict=True):
        row = [str(slot.slot), slot.video_id, title[:48], slot.reason_text]
        if explain:
            row += [
                ", ".join(f"{name} {score:.3g}" for name, score in slot.sources.items()),
                ", ".join(f"{task} {value:.3g}" for task, value in slot.predictions.items()),
                f"{slot.value:.4g}",
                f"{slot.propensity:.4g}",
                str(slot.n_eligible),
            ]
        table.add_row(*row)
    out.print(table)
    if degraded:
        out.print("degraded: " + ", ".join(degraded), highlight=False)
