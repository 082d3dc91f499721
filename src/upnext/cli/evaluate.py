"""`upnext evaluate`: independent measurements, two at a time, each in a process of its own."""

from __future__ import annotations

import json
import multiprocessing
import time
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import polars as pl
from rich.console import Console

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.view import CatalogView
from upnext.cli.evaluate_tables import draw
from upnext.cli.opened import readers
from upnext.cli.progress import RichProgress
from upnext.core.errors import InvalidInput, expected
from upnext.core.one_thread import children_with_one_thread
from upnext.evaluate.audit import Finding, audit, audit_json, audit_rows
from upnext.evaluate.exported_rows import SETTINGS, check_one_list_each, write_rows
from upnext.evaluate.gather import GatherTask, gathered, offline_parts
from upnext.evaluate.given_lists import GivenLists, lists_by_name, read_lists
from upnext.evaluate.offline import PastHydrator, advance, ranker_report, retrieval_report
from upnext.evaluate.ranker_report import RankerReport
from upnext.evaluate.report import Report
from upnext.evaluate.retrieval_report import RetrievalReport
from upnext.evaluate.split import Target, instant_us
from upnext.evaluate.split_file import SplitFile, SplitMade, read_split, split_sha256, write_split
from upnext.evaluate.window import Kind, Window
from upnext.events.log import SqliteEventLog
from upnext.features.counters import CounterTable
from upnext.features.past_events import events_by_time, stream
from upnext.features.replay import PastState
from upnext.features.showings import Showings, showings_of
from upnext.pipeline.assemble import assemble, bring_later
from upnext.pipeline.release_parts import ReleaseParts
from upnext.pipeline.rows import Drawing, GatheredRows, merged_rows
from upnext.settings.offline import offline_settings
from upnext.settings.settings import Settings, load

MAX_RANKER_REQUESTS = 60_000
PROCESSES = 2
PARTS = 2  # of the shown rows
AUDITED = ("user_id", "item_id", "kind", "time_us", "request_id", "event_id")
SplitChoice = Literal["time", "last", "both"]


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    since: str | None = None
    until: str | None = None
    release: str | None = None
    users: int = 20_000
    split: SplitChoice | None = None
    target: Target | None = None
    save_split: Path | None = None
    split_file: Path | None = None
    export_rows: Path | None = None
    lists: tuple[Path, ...] = ()
    baseline: str = "popular_7d"
    with_segments: bool = False
    only_audit: bool = False
    config: Path | None = None
    as_json: bool = False


@dataclass(frozen=True)
class Opened:
    """The data of a platform with the release to judge, where there is one."""

    settings: Settings
    view: CatalogView
    log: SqliteEventLog
    release_id: str | None
    folder: Path | None  # the release's
    learned_until_us: int | None


@dataclass(frozen=True)
class Task:
    """One measurement of lists: of which release, on which window, in which setting."""

    setting: str  # one of SETTINGS
    settings: Settings
    release: Path  # its folder
    made: SplitMade
    max_users: int
    lists: tuple[Path, ...]  # those of others
    split_sha256: str  # that they must be of
    baseline: str

    @property
    def name(self) -> str:
        """The key in the report: the setting, with the split before it where that is not the first one."""
        return self.setting if self.made.split == "time" else f"last_out_{self.setting}"


def run(asked: Asked, out: Console, err: Console) -> None:
    """Measures a release on the log's showings from an instant on and prints the tables; or only audits, or only saves the split."""
    began = time.monotonic()
    if asked.users < 1:
        raise expected("--users", "at least 1", asked.users)
    writes = asked.save_split is not None or asked.export_rows is not None
    if asked.only_audit and writes:
        raise InvalidInput(
            "evaluate: --audit and --save-split or --export-rows are two runs: leave one out"
        )
    if asked.lists and (asked.only_audit or writes):
        raise InvalidInput(
            "evaluate: --lists is a run of its own: leave --audit, --save-split and --export-rows out"
        )
    given = read_lists(asked.lists)
    opened = _opened(asked)
    held = read_split(asked.split_file) if asked.split_file is not None else None
    until_us = instant_us(asked.until) if asked.until else held.made.until_us if held else None
    showings = showings_of(opened.log, opened.view, opened.settings.features, before_us=until_us)
    if held is None:
        splits = _splits(asked, _from_us(asked, opened, showings, err), until_us)
    else:
        splits = [_same_split(held, asked, showings, opened.view)]
    first = splits[0]
    if asked.only_audit:
        _print_audit(_audited(opened, showings, first), asked, out)
        return
    if writes:
        _save(asked, first.window(showings, asked.users), opened.view, out)
        return
    if opened.folder is None:
        raise InvalidInput("evaluate: no release yet; run `upnext train` first")
    if asked.since is None and held is None and not (showings.time_us >= first.from_us).any():
        raise InvalidInput(
            f"evaluate: nothing was shown from {_iso(first.from_us)} on, where the data of release {opened.release_id} end; "
            "say --from an earlier instant, or `upnext train --until` one to judge on what is unseen"
        )
    if opened.learned_until_us is not None and first.from_us < opened.learned_until_us:
        err.print("warning: the release learned from events after this instant", style="yellow")
    tasks = _tasks(asked, opened, showings, splits, given)
    retrieval, heads, findings = _measure(tasks, opened, showings, err)
    about = {
        "release_id": opened.release_id,
        "from_us": first.from_us,
        "until_us": first.until_us,
        "split_file": str(asked.split_file) if asked.split_file is not None else None,
        "seconds": round(time.monotonic() - began, 1),
    }
    report = Report(retrieval, heads, about, findings)
    if asked.as_json:
        out.file.write(json.dumps(report.to_json()) + "\n")
        return
    for title, rows in report.to_rows(with_segments=asked.with_segments).items():
        draw(title, rows, out)


def _opened(asked: Asked) -> Opened:
    settings = load(asked.config)
    releases = ReleaseStore(settings.releases_path)
    view, log, _ = readers(settings)
    release_id = asked.release or releases.current()
    if release_id is None:
        return Opened(settings, view, log, None, None, None)
    release = releases.open(release_id)
    learned_until_us = int(release.manifest.data_window.get("until_us", 0))
    return Opened(settings, view, log, release_id, release.path, learned_until_us)


def _splits(asked: Asked, from_us: int, until_us: int | None) -> list[SplitMade]:
    """The splits to judge on, the time split first. Raises InvalidInput for options that contradict each other."""
    kinds: tuple[Kind, ...] = (
        ("time", "last") if asked.split == "both" else (asked.split or "time",)
    )
    if asked.target is not None and "time" not in kinds:
        raise InvalidInput("--target is of the time split; leave-last-out has one target, the last")
    for option in (asked.save_split, asked.export_rows, asked.lists or None):
        if option is not None and len(kinds) > 1:
            raise InvalidInput(
                "--save-split, --export-rows and --lists are of one split: --split time or --split last"
            )
    targets: dict[Kind, Target] = {"time": asked.target or "all", "last": "last"}
    return [SplitMade(from_us, until_us, kind, targets[kind]) for kind in kinds]


def _same_split(held: SplitFile, asked: Asked, showings: Showings, view: CatalogView) -> SplitMade:
    """The split of a file, which the log still gives. Raises InvalidInput where it does not, or where options say another."""
    if any(value is not None for value in (asked.since, asked.until, asked.split, asked.target)):
        raise InvalidInput(
            "--split-file says all of the split: leave --from, --until, --split and --target out"
        )
    held.check(held.made.window(showings, asked.users), _video_ids(view))
    return held.made


def _from_us(asked: Asked, opened: Opened, showings: Showings, err: Console) -> int:
    if asked.since:
        return instant_us(asked.since)
    if opened.learned_until_us is not None:
        return opened.learned_until_us
    times = showings.time_us[showings.time_us > 0]
    if not len(times) or not (asked.only_audit or asked.save_split or asked.export_rows):
        raise InvalidInput("evaluate: no release yet; run `upnext train` first")
    from_us = int(pl.Series(times).quantile(0.9, "nearest") or 0)
    err.print(
        f"no release and no --from: the split stands where 90 % of the showings are before it ({_iso(from_us)})",
        highlight=False,
    )
    return from_us


def _iso(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="seconds")


def _tasks(
    asked: Asked,
    opened: Opened,
    showings: Showings,
    splits: list[SplitMade],
    given: list[GivenLists],
) -> list[Task]:
    """What is to be measured. Raises InvalidInput for what can't be judged, before anything is computed."""
    assert opened.folder is not None
    tasks, ids = [], _video_ids(opened.view)
    for made in splits:
        window = made.window(showings, asked.users)
        window.whole_split(exclude_seen=False)
        sha256 = ""
        if given:
            check_one_list_each(window)
            sha256 = split_sha256(window, ids)
        for setting in SETTINGS:
            lists_by_name(given, window, ids, setting, sha256)
            tasks.append(
                Task(
                    setting, opened.settings, opened.folder, made, asked.users, asked.lists, sha256,
                    asked.baseline,
                )
            )  # fmt: skip
    return tasks


def _measure(
    tasks: list[Task], opened: Opened, showings: Showings, err: Console
) -> tuple[dict[str, RetrievalReport], RankerReport | None, list[Finding]]:
    settings, folder, first = opened.settings, opened.folder, tasks[0].made
    assert folder is not None
    is_asked = showings.time_us >= first.from_us
    if first.until_us is not None:
        is_asked &= showings.time_us < first.until_us
    share = min(1.0, MAX_RANKER_REQUESTS / max(1, int(is_asked.sum())))
    ends = (first.from_us, first.until_us)
    parts = [
        GatherTask(offline_settings(settings), folder, *ends, Drawing(share, 0, 0, part, PARTS))
        for part in range(PARTS)
    ]
    spawn = multiprocessing.get_context("spawn")
    with (
        children_with_one_thread(),
        ProcessPoolExecutor(PROCESSES, mp_context=spawn) as pool,
    ):
        pending = [pool.submit(measured, task) for task in tasks]
        reading = [pool.submit(gathered, part) for part in parts]
        findings = _audited(opened, showings, first)
        retrieval = {
            task.name: future.result() for task, future in zip(tasks, pending, strict=True)
        }
        err.print("reading the features of what was shown", highlight=False)
        heads = _heads(reading, folder, share, err)
    return retrieval, heads, findings


def _heads(
    reading: list[Future[GatheredRows]], folder: Path, share: float, err: Console
) -> RankerReport | None:
    shown_rows = merged_rows([future.result() for future in reading])
    ranker = ReleaseParts.load(folder, threads=2).ranker
    if ranker is None or not len(shown_rows.ranker):
        return None
    about = {"features": "streaming, as served", "share_of_requests": share}
    return ranker_report(shown_rows, ranker, RichProgress(err), about)


def measured(task: Task) -> RetrievalReport:
    """The table of lists of one setting."""
    progress = RichProgress(Console(stderr=True, force_terminal=False), prefix=task.name)
    settings, made = task.settings, task.made
    view, log, _ = readers(settings)
    parts = ReleaseParts.load(task.release)
    bring_later(parts, view)
    showings = showings_of(log, view, settings.features, before_us=made.until_us)
    window = made.window(showings, task.max_users)
    given = lists_by_name(
        read_lists(task.lists), window, _video_ids(view), task.setting, task.split_sha256
    )
    counters = CounterTable(view.n_items)
    past = PastState(view, counters, settings.features)
    advance(past, log, made.from_us, progress)
    hydrator = PastHydrator(past)
    if not window.is_at_once:
        events = events_by_time(log, made.until_us)
        hydrator = PastHydrator(past, stream(events.filter(pl.col("time_us") >= made.from_us)))
    offline = offline_parts(offline_settings(settings), view, counters)
    pipeline = assemble(replace(offline, hydrator=hydrator), parts)
    pipeline.refresh_lists(made.from_us)
    excluded = task.setting == "seen_excluded"
    return retrieval_report(
        pipeline, window, view, exclude_seen=excluded, given=given, baseline=task.baseline,
        progress=progress,
    )  # fmt: skip


def _audited(opened: Opened, showings: Showings, made: SplitMade) -> list[Finding]:
    parts = [pl.DataFrame(pl.from_arrow(table.select(AUDITED))) for table in opened.log.scan()]
    if not parts:
        raise InvalidInput("evaluate: the log has no event yet; run `upnext import` first")
    return audit(
        showings, pl.concat(parts), opened.view.uploaded_us, made.from_us, made.until_us,
        opened.learned_until_us,
    )  # fmt: skip


def _print_audit(findings: list[Finding], asked: Asked, out: Console) -> None:
    if asked.as_json:
        out.file.write(json.dumps(audit_json(findings)) + "\n")
        return
    draw("audit of the data", audit_rows(findings), out)
    out.print(audit_json(findings)["not_seen"], highlight=False)


def _save(asked: Asked, window: Window, view: CatalogView, out: Console) -> None:
    told: dict[str, str] = {}
    if asked.save_split is not None:
        told["split_file"] = str(asked.save_split)
        told["sha256"] = write_split(asked.save_split, window, _video_ids(view))
    if asked.export_rows is not None:
        told["rows"] = str(asked.export_rows)
        told["sha256"] = write_rows(asked.export_rows, window, view)
    if asked.as_json:
        out.file.write(json.dumps(told) + "\n")
        return
    for written in (asked.save_split, asked.export_rows):
        if written is not None:
            out.print(f"{written}: sha256 {told['sha256']}", highlight=False, soft_wrap=True)


def _video_ids(view: CatalogView) -> pl.Series:
    return pl.DataFrame(pl.from_arrow(view.table(["video_id"])))["video_id"]
