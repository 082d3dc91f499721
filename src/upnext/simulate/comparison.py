"""Policies side by side: one platform, one past, one set of random numbers, and each policy's own future through the system that serves.

    past        the old plain platform's days, imported as anyone's tables are; a first release is learned from them
    each policy a copy of that folder, and the platform as it stood then; from then on its own log, releases and consequences

A viewer's answer to a video on a visit is the same draw under every policy (simulate/draws.py), so that what differs is what the policies did.
A release is learned anew every so many days from the policy's own log, and serves whatever the gate says of it, as `upnext train --force` has it
for small platforms: the gate asks for more viewers than a simulation has, and judges on a log that the release before has filled. What it says is kept.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog import Catalog
from upnext.catalog.view import CatalogView
from upnext.core.clock import DAY_US, Clock, ManualClock
from upnext.core.errors import InvalidInput, Unavailable, expected
from upnext.core.protocols import Progress
from upnext.events.log import SqliteEventLog
from upnext.intake import Stores, import_tables, plan_of
from upnext.settings.settings import Settings, parse
from upnext.simulate.closed_loop import ClosedLoop
from upnext.simulate.day_figures import LoopDay, LoopTally
from upnext.simulate.history import history_of
from upnext.simulate.in_process import InProcess
from upnext.simulate.loop import Round, play_day
from upnext.simulate.platform import Platform
from upnext.simulate.policies import OldPlatform
from upnext.simulate.tables import write_tables
from upnext.simulate.world import END_US, World, check_days, check_size
from upnext.simulate.worlds import world_of

POLICIES: Final = ("popularity", "greedy", "full")
SURFACES: Final = ("home", "shorts", "upnext")
BEST_FIRST: Final[dict[str, Any]] = {  # no draw, no diversity, no caps: the best value, then the next
    "temperature": 0.0, "epsilon": 0.0, "mmr_lambda": 1.0, "max_per_creator": 0,
    "max_per_category": 0, "duplicate_similarity": 1.0,
}  # fmt: skip
N_POPULAR: Final = 500
Say = Callable[[str, LoopDay], None]  # hears (policy, a day that has ended)


@dataclass(frozen=True)
class Plan:
    """What is played; equal plans have equal pasts and equal random numbers."""

    world: str = "everyday"
    n_viewers: int = 1_000
    n_videos: int = 2_000
    days: int = 30
    past_days: int = 7
    train_every: int = 7  # days between two trainings; 0: nothing is learned, not even at first
    together_s: float = 60.0  # simulated seconds whose steps are taken at once
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InvalidInput for what can't be played."""
        world_of(self.world)
        check_size(self.n_viewers, self.n_videos, self.seed)
        for name, least in (("days", 1), ("past_days", 1), ("train_every", 0)):
            if getattr(self, name) < least:
                raise expected(name, f"at least {least}", getattr(self, name))
        check_days(self.days + self.past_days)


def settings_of(policy: str, folder: Path, seed: int) -> Settings:
    """The settings under which a policy serves `folder`. Raises InvalidInput for a name that is none of POLICIES.

    popularity: what found most viewers lately, best first, the same for everybody. greedy: every source and the learned ranker, best
    first. full: UpNext as it comes."""
    surface: dict[str, Any] = {}
    if policy == "popularity":
        surface = {"sources": {"popular": N_POPULAR}, "policy": BEST_FIRST}
    elif policy == "greedy":
        surface = {"policy": BEST_FIRST}
    elif policy != "full":
        raise expected("policy", f"one of {', '.join(POLICIES)}", policy)
    given = {"surfaces": dict.fromkeys(SURFACES, surface), "learn": {"seed": seed}}
    return parse(given, policy, folder.resolve())


class Comparison:
    """Plays policies in a folder, one at a time; what is finished there under the same plan is not played again."""

    def __init__(self, plan: Plan, folder: Path, progress: Progress) -> None:
        """Raises InvalidInput where the folder holds another plan's comparison or anything else, Unavailable where it can't be written."""
        self.plan = plan
        self.folder = folder
        self._progress = progress
        known = folder / "plan.json"
        said = json.dumps(asdict(plan), indent=1)
        if known.exists() and known.read_text("utf-8") != said:
            raise InvalidInput(f"{known}: a comparison under another plan; name another folder")
        if folder.is_file():
            raise InvalidInput(f"{folder}: expected a folder, got a file")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not known.exists() and any(folder.iterdir()):
                raise InvalidInput(
                    f"{folder}: expected a comparison or an empty folder, got other files"
                )
            known.write_text(said, "utf-8")
        except OSError as error:
            raise Unavailable(f"{folder}: {error.strerror or error}") from error

    def play(self, policy: str, say: Say) -> Mapping[str, Any]:
        """The policy's figures, plain values, as they then stand in <folder>/<policy>/figures.json. Raises UpNextError.

        "days": LoopDay.to_json by day; "trainings": day, the release that serves since, what the gate said of it; "loop_s", "training_s"."""
        folder = self.folder / policy
        settings = settings_of(policy, folder, self.plan.seed)
        done = folder / "figures.json"
        if not done.exists():
            platform = self._past()
            shutil.rmtree(folder, ignore_errors=True)
            past = settings_of("full", self.folder / "past", self.plan.seed)
            shutil.copytree(past.folder, settings.folder)
            if policy == "popularity":
                shutil.rmtree(settings.releases_path, ignore_errors=True)
            figures = self._future(policy, settings, platform, say)
            done.write_text(json.dumps(figures, indent=1), "utf-8")
        found: Mapping[str, Any] = json.loads(done.read_text("utf-8"))
        return found

    def past(self) -> list[dict[str, Any]]:
        """LoopDay.to_json of the old policy's days, numbered -n to -1: what it was like before."""
        file = self.folder / "past" / "figures.json"
        if not file.exists():
            self._past()
        found: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))
        return found

    def _past(self) -> Platform:
        """The platform after the old policy's days; the folder "past" holds their log and the first release."""
        plan = self.plan
        end_us = END_US + plan.days * DAY_US
        knobs = world_of(plan.world).knobs
        world = World.make(plan.n_viewers, plan.n_videos, plan.seed, end_us=end_us, knobs=knobs)
        platform = Platform(world, days=plan.past_days + plan.days)
        rounds, days = _old_days(platform, plan.past_days)
        folder = self.folder / "past"
        settings = settings_of("full", folder, plan.seed)
        if not (folder / "whole").exists():
            shutil.rmtree(folder, ignore_errors=True)
            self._import(settings, platform, rounds)
            if plan.train_every:
                clock = ManualClock(platform.day_start_us(plan.past_days))
                train(settings, clock, self._progress)
            (folder / "whole").touch()
        said = [one.to_json() | {"day": one.row.day - plan.past_days} for one in days]
        (folder / "figures.json").write_text(json.dumps(said, indent=1), "utf-8")
        return platform

    def _import(self, settings: Settings, platform: Platform, rounds: list[Round]) -> None:
        """The old policy's days as tables, imported."""
        today = self.plan.past_days
        now_us = platform.day_start_us(today)
        tables = history_of(platform, rounds)
        events = tables["events"]
        tables |= {
            "videos": tables["videos"].take(pa.array(platform.published(today))),
            "events": events.filter(pc.less(events.column("time_us"), now_us)),
        }
        mapping = write_tables(tables, self.folder / "past" / "tables")
        settings.folder.mkdir(parents=True)
        with (
            closing(Catalog(settings.catalog_path)) as catalog,
            closing(SqliteEventLog(settings.events_path)) as log,
        ):
            import_tables(plan_of(mapping), Stores(catalog, log), self._progress, now_us=now_us)

    def _future(
        self, policy: str, settings: Settings, platform: Platform, say: Say
    ) -> dict[str, Any]:
        plan = self.plan
        first = plan.past_days
        learns = plan.train_every > 0 and policy != "popularity"
        days: list[LoopDay] = []
        trainings: list[dict[str, Any]] = []
        loop_s = training_s = 0.0
        with closing(InProcess(settings, platform.day_start_us(first))) as system:
            loop = ClosedLoop(platform, system, together_s=plan.together_s)
            for day in range(first, first + plan.days):
                began_s = time.monotonic()
                if learns and day > first and (day - first) % plan.train_every == 0:
                    said = train(settings, system.clock, self._progress)
                    system.follow_release()
                    trainings.append({"day": day - first, **said})
                    training_s += time.monotonic() - began_s
                    began_s = time.monotonic()
                days.append(loop.run_day(day))
                loop_s += time.monotonic() - began_s
                say(policy, days[-1])
            loop.finish()
        return {
            "days": [day.to_json() | {"day": day.row.day - first} for day in days],
            "trainings": trainings,
            "watch_s_by_viewer": np.round(loop.watch_s_by_viewer, 3).tolist(),
            "loop_s": round(loop_s, 1),
            "training_s": round(training_s, 1),
        }


def _old_days(platform: Platform, n_days: int) -> tuple[list[Round], list[LoopDay]]:
    """The first days under the old policy: every round of pages, and the figures of each day."""
    tally, policy = LoopTally(platform), OldPlatform()
    rounds: list[Round] = []
    days: list[LoopDay] = []
    for day in range(n_days):
        for one in play_day(platform, policy, day):
            place = np.searchsorted(one.pages.viewer, one.shown.viewer)  # viewers ascend
            tally.add(one.pages, one.shown, place, one.done)
            rounds.append(one)
        days.append(tally.close(day))
    return rounds, days


def train(settings: Settings, clock: Clock, progress: Progress) -> dict[str, Any]:
    """{"release": learned from the whole log, and current now, "gate": what the gate says of it}.

    Raises InvalidInput without the train extra, or for a log that is too short."""
    try:
        from upnext.learn.train import Training
    except ImportError as error:
        raise InvalidInput(
            f"training needs the train extra: pip install 'upnext[train]' ({error})"
        ) from error
    releases = ReleaseStore(settings.releases_path, clock)
    with (
        closing(CatalogView(settings.catalog_path)) as view,
        closing(SqliteEventLog(settings.events_path, read_only=True)) as log,
    ):
        training = Training(settings, view, log, releases, progress)
        report = training.run(None, resume=False, force=True)
    return {"release": report.release_id, "gate": report.judgement.to_json()}
