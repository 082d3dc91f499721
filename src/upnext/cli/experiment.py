"""`upnext experiment start|ramp|stop|list`; the report is in experiment_report.py."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from upnext.artifacts.releases import ReleaseStore
from upnext.cli.experiment_creators import corpus_lines, uploaded_of
from upnext.core.errors import InvalidInput, expected
from upnext.evaluate.experiments.corpora import check_corpora, corpus_sizes
from upnext.evaluate.experiments.definition import (
    Arm,
    Experiment,
    Kind,
    check_name,
    dotted,
    overlaid,
)
from upnext.evaluate.experiments.report import check_metrics
from upnext.evaluate.experiments.store import ExperimentStore
from upnext.serve.simulated_clock import clock_of
from upnext.serve.trials import RunningTrials, check
from upnext.settings.settings import Settings, load, nearest


def run_start(
    name: str,
    arms: list[str],
    changes: list[str],
    *,
    layer: str,
    surfaces: list[str],
    kind: Kind,
    judged: tuple[list[str], list[str]],
    config: Path | None,
    out: Console,
) -> None:
    """Checks everything, then starts; running servers follow within seconds. `judged`: (metrics, guardrails)."""
    settings = load(config)
    store = _store(settings)
    draft = draft_of(settings, name, arms, changes, layer=layer, surfaces=surfaces, kind=kind)
    metrics, margins = judged
    guardrails = dict(_guardrail(said) for said in margins)
    if kind == "interleaving" and (metrics or guardrails):
        raise InvalidInput(
            "--interleave: expected no --metric and no --guardrail: pages are won by value, and the report has clicks"
            " and watch time beside it"
        )
    check_metrics([*metrics, *guardrails])
    draft = msgspec.structs.replace(draft, metrics=metrics, guardrails=guardrails)
    check(settings, ReleaseStore(settings.releases_path), draft)
    running = [one for one in store.list() if one.is_running]
    RunningTrials(settings, [*running, draft])  # raises where they don't go together
    started, corpora = _started(settings, store, draft)
    shares = ", ".join(f"{arm} {said.share:g} %" for arm, said in started.arms.items())
    out.print(
        f"{name} runs on {', '.join(started.surfaces)}: {shares} of layer {layer!r}; a running server"
        " follows within seconds",
        highlight=False,
    )
    for line in corpora:
        out.print(line, highlight=False)


def kind_of(*, interleave: bool, two_sided: bool) -> Kind:
    """What the options say. Raises InvalidInput for both."""
    if interleave and two_sided:
        raise expected("--interleave", "no --two-sided with it: arms that share a page share creators", "both")  # fmt: skip
    return "interleaving" if interleave else "two-sided" if two_sided else "ab"


def _started(
    settings: Settings, store: ExperimentStore, draft: Experiment
) -> tuple[Experiment, list[str]]:
    """The experiment, and what is to be said of a two-sided one's corpora."""
    if draft.kind != "two-sided":
        return store.start(draft), []
    uploaded = uploaded_of(settings)

    def enough(one: Experiment) -> None:
        check_corpora(one, corpus_sizes(one, uploaded))

    started = store.start(draft, enough)
    n_ranked = max(surface.n_ranked for surface in settings.surfaces.values())
    return started, corpus_lines(started, corpus_sizes(started, uploaded), n_ranked)


def run_ramp(name: str, percent: float, config: Path | None, out: Console) -> None:
    """Grows all arms by one factor."""
    grown = _store(load(config)).ramp(name, percent)
    shares = ", ".join(f"{arm} {said.share:g} %" for arm, said in grown.arms.items())
    out.print(f"{name}: {shares}", highlight=False)


def run_stop(name: str, config: Path | None, out: Console) -> None:
    """Ends it: everyone gets the base again."""
    stopped = _store(load(config)).stop(name)
    out.print(f"{name} stopped at {_instant(stopped.stopped_us)}", highlight=False)


def run_list(config: Path | None, as_json: bool, out: Console) -> None:
    """Prints every experiment, newest first."""
    found = _store(load(config)).list()[::-1]
    if as_json:
        out.file.write(json.dumps([described(one) for one in found]) + "\n")
        return
    table = Table("experiment", "layer", "surfaces", "arms", "started (UTC)", "stopped (UTC)")
    for one in found:
        arms = [_arm_line(name, arm) for name, arm in one.arms.items()]
        table.add_row(
            one.name + ("" if one.kind == "ab" else f" ({one.kind})"),
            one.layer,
            ", ".join(one.surfaces),
            "\n".join(arms),
            _instant(one.started_us),
            _instant(one.stopped_us) if one.stopped_us is not None else "runs",
        )
    out.print(table)


def described(one: Experiment) -> dict[str, Any]:
    """The definition as JSON, without the buckets."""
    said: dict[str, Any] = msgspec.to_builtins(one)
    for arm in said["arms"].values():
        del arm["buckets"], arm["creator_buckets"]
    return said


def draft_of(
    settings: Settings,
    name: str,
    arms: list[str],
    changes: list[str],
    *,
    layer: str,
    surfaces: list[str],
    kind: Kind,
) -> Experiment:
    """The experiment that the options say, without buckets. Raises InvalidInput naming the option."""
    made = _arms(arms)
    for said in changes:
        _set(made, said)
    changed = sorted({surface for arm in made.values() for surface in arm.surfaces})
    outside = [surface for surface in changed if surfaces and surface not in surfaces]
    if outside:
        raise expected("--set", f"a surface of --surface ({', '.join(surfaces)})", outside[0])
    if kind == "two-sided" and surfaces:
        wanted = "none for --two-sided, which must hold everywhere: a creator's views come from all surfaces"
        raise expected("--surface", wanted, ", ".join(surfaces))
    serves_release = any(arm.release_id is not None for arm in made.values())
    anywhere = sorted(settings.surfaces)
    reached = surfaces or (
        anywhere if serves_release or not changed or kind == "two-sided" else changed
    )
    return Experiment(
        name=name, kind=kind, layer=layer, salt="", surfaces=reached, arms=made, started_us=0
    )


def _arms(said: list[str]) -> dict[str, Arm]:
    made: dict[str, Arm] = {}
    for text in said:
        name, _, share = text.rpartition(":")
        try:
            percent = float(share)
        except ValueError:
            percent = float("nan")
        if not name or percent != percent:
            raise expected("--arm", "NAME:PERCENT, such as control:50", text)
        check_name("--arm", name)
        if name in made:
            raise expected("--arm", "each name once", text)
        made[name] = Arm(share=percent, buckets=b"")
    if len(made) < 2:
        raise expected("--arm", "two or more, the control first", said)
    return made


def _set(arms: dict[str, Arm], text: str) -> None:
    """Takes one --set in: ARM.surfaces.SURFACE.KEY=VALUE or ARM.release=ID."""
    path, is_set, value = text.partition("=")
    words = path.strip().split(".")
    if not is_set or len(words) < 2:
        wanted = "ARM.surfaces.SURFACE.KEY=VALUE or ARM.release=ID"
        raise expected("--set", wanted, text)
    arm = arms.get(words[0])
    if arm is None:
        raise InvalidInput(f"--set {text}: unknown arm {words[0]!r}{nearest(words[0], arms)}")
    if words[1:] == ["release"]:
        arms[words[0]] = msgspec.structs.replace(arm, release_id=value.strip())
        return
    if words[1] == "surfaces" and len(words) < 4:
        raise expected("--set", "ARM.surfaces.SURFACE.KEY=VALUE", text)
    if words[1] != "surfaces":
        hint = nearest(words[1], ("surfaces", "release"))
        raise InvalidInput(f"--set {text}: unknown key {'.'.join(words[1:])!r}{hint}")
    try:
        nested: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"--set {text}: expected a value as in upnext.toml: {error}") from error
    for word in reversed(words[2:]):
        nested = {word: nested}
    arms[words[0]] = msgspec.structs.replace(arm, surfaces=overlaid(arm.surfaces, nested))


def _guardrail(text: str) -> tuple[str, float]:
    metric, _, margin = text.rpartition(":")
    try:
        loss = float(margin)
    except ValueError:
        loss = float("nan")
    if not metric or not 0 < loss < 1:
        raise expected("--guardrail", "METRIC:MARGIN, such as retention_d1:0.02", text)
    return metric, loss


def _arm_line(name: str, arm: Arm) -> str:
    said = [f"{surface}.{key}={value}" for surface, changes in arm.surfaces.items() for key, value in dotted(changes).items()]  # fmt: skip
    if arm.release_id is not None:
        said.append(f"release={arm.release_id}")
    return f"{name} {arm.share:g} %" + (f": {', '.join(said)}" if said else "")


def _store(settings: Settings) -> ExperimentStore:
    return ExperimentStore(settings.experiments_path, clock_of(settings))


def _instant(time_us: int | None) -> str:
    return datetime.fromtimestamp((time_us or 0) / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
