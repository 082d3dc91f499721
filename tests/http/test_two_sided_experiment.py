"""A two-sided experiment on a running system: closed on both sides, reported with its creators, stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import httpx
import pytest
from rich.console import Console
from running import REAL_WORKER, Running, running
from serve_worlds import videos

from upnext.cli.experiment import kind_of, run_ramp, run_start, run_stop
from upnext.cli.experiment_report import run as run_report
from upnext.core.errors import InvalidInput
from upnext.evaluate.experiments.store import ExperimentStore

NAME = "boost"
N_VIDEOS, N_CREATORS = 900, 90
SURFACES = ("home", "shorts", "upnext")


@pytest.fixture(scope="module")
def system() -> Iterator[Running]:
    """Two workers over more creators than elsewhere."""
    with running(worker=REAL_WORKER) as one:
        rows = [
            row | {"creator_id": f"c{i % N_CREATORS}"} for i, row in enumerate(videos(N_VIDEOS))
        ]
        one.fill(rows)
        (one.root / "upnext.toml").write_text("")
        yield one


def config_of(system: Running) -> Path:
    return system.root / "upnext.toml"


def start(system: Running, name: str, arms: list[str], out: Console, **more: object) -> None:
    given = {"layer": "default", "surfaces": [], "kind": "two-sided", "judged": ([], []), **more}
    changes = ["boosted.surfaces.home.sources.fresh=90"] if "boosted" in arms[-1] else []
    run_start(name, arms, changes, config=config_of(system), out=out, **given)  # type: ignore[arg-type]


def page(client: httpx.Client, user_id: str, surface: str = "home", n: int = 12) -> dict:
    answer = client.get(f"/v1/feed/{surface}", params={"user_id": user_id, "n": n})
    assert answer.status_code == 200, answer.text
    return answer.json()


def until_every_worker(client: httpx.Client, user_id: str, arms: dict[str, str]) -> list[str]:
    """The creators of the slots that came from workers which had not followed yet."""
    agreed, early, deadline = 0, [], time.monotonic() + 60
    while agreed < 12:
        assert time.monotonic() < deadline, "the experiment was not followed"
        answer = page(client, user_id)
        if answer["arms"] == arms:
            agreed += 1
        else:
            agreed, early = 0, early + creators_of(answer)
    return early


def creators_of(said: dict) -> list[str]:
    return [item["creator_id"] for item in said["items"]]


def test_viewers_and_creators_are_split_together_reported_and_let_go(
    system: Running,
) -> None:
    out = Console(record=True, width=200, file=StringIO())
    start(system, NAME, ["control:40", "boosted:40"], out)
    said = out.export_text()
    assert "corpora: control " in said
    assert "fewer videos than a page is ranked from" in said
    one = ExperimentStore(system.root / "upnext-data" / "experiments").read(NAME)
    viewers, creators = one.allocation(), one.allocation("creator")
    users = [f"viewer-{i}" for i in range(45)]
    arm_of = {user_id: viewers.arm(user_id) for user_id in users}
    assert set(arm_of.values()) == {"control", "boosted", None}
    boosted = next(user_id for user_id, arm in arm_of.items() if arm == "boosted")
    with system.client() as client:
        early = until_every_worker(client, boosted, {NAME: "boosted"})
        liked = []
        for user_id, arm in arm_of.items():
            for surface in SURFACES:
                answer = page(client, user_id, surface)
                assert answer["arms"] == ({} if arm is None else {NAME: arm})
                assert {creators.arm(one) for one in creators_of(answer)} == {arm}
                assert all(0 < item["propensity"] <= 1 for item in answer["items"])
            if arm == "boosted":
                liked.append({
                    "event_id": f"like-{user_id}", "time_us": time.time_ns() // 1000, "kind": "like", "user_id": user_id,
                    "video_id": answer["items"][0]["video_id"], "request_id": answer["request_id"],
                })  # fmt: skip
        # an empty shelf: pages of 100 exhaust the arm, and repeats keep to it as well
        session = {"user_id": boosted, "session_id": "long", "n": 100}
        for number in range(6):
            answer = client.get("/v1/feed/home", params={**session, "page": number}).json()
            assert {creators.arm(one) for one in creators_of(answer)} == {"boosted"}
        assert "repeat" in answer["degraded"]
        given = client.post("/v1/rank", json={
            "user_id": boosted, "surface": "home", "n": 9, "video_ids": [f"v{i}" for i in range(60)],
        }).json()  # fmt: skip
        assert {creators.arm(one) for one in creators_of(given)} == {"boosted"}
        video_id = given["items"][0]["video_id"]
        trace = client.get(f"/v1/explain/{given['request_id']}/{video_id}").json()["trace"]
        assert trace["removed"]["own_corpus"] > 20

        assert client.post("/v1/events", json=liked).status_code == 200
        mine = [f"c{i}" for i in range(N_CREATORS) if creators.arm(f"c{i}") == "boosted"]
        new = [{"video_id": f"new{i}", "creator_id": who, "uploaded_us": time.time_ns() // 1000} for i, who in enumerate(mine)]  # fmt: skip
        assert client.post("/v1/videos", json={"videos": new}).status_code == 200
        report = reported(system)
        assert_creators(report, len(mine), len(liked))
        assert report["creators"]["n_across"] == sum(
            creators.arm(one) != "boosted" for one in early
        )

        with pytest.raises(InvalidInput, match="two-sided"):
            run_ramp(NAME, 90.0, config_of(system), Console(quiet=True))
        with pytest.raises(InvalidInput, match="'boost' runs"):
            start(system, "second", ["a:5", "b:5"], Console(quiet=True), layer="other")
        run_stop(NAME, config_of(system), Console(quiet=True))
        until_every_worker(client, boosted, {})
        asked = {"user_id": boosted, "surface": "home", "n": 60, "video_ids": [f"v{i}" for i in range(60)]}  # fmt: skip
        after = [client.post("/v1/rank", json=asked).json() for _ in range(6)]
        assert {} in [one["arms"] for one in after]  # on a busy machine one worker may be late
        for answer in after:
            seen = {creators.arm(one) for one in creators_of(answer)}
            everyone = {"control", "boosted", None}
            assert seen == (everyone if answer["arms"] == {} else {"boosted"})


def reported(system: Running) -> dict:
    """The report as JSON, once its words were looked at."""
    console = Console(record=True, width=220, file=StringIO())
    run_report(NAME, config_of(system), False, console)
    text = console.export_text()
    for words in ("exposed viewers: control", "per creator since the start", "whole platform", "uploads a creator, boosted against control: higher",
                  "corpus cost: can't be told, it takes 100 viewers", "counts it twice"):  # fmt: skip
        assert words in text, text
    said = StringIO()
    run_report(NAME, config_of(system), True, Console(file=said))
    return json.loads(said.getvalue())


def assert_creators(report: dict, n_boosted: int, n_likes: int) -> None:
    """Every creator of the arm uploaded one video; likes came from the arm alone."""
    said = report["creators"]
    figures = {one["metric"]: one for one in said["figures"]}
    assert (figures["uploads"]["control_mean"], figures["uploads"]["mean"]) == (0, 1)
    assert figures["uploads"]["effect"]["per_capita"]["mean"] == pytest.approx(1)
    assert figures["uploads"]["effect"]["total"]["mean"] == pytest.approx(N_CREATORS)
    assert figures["active"]["mean"] == 1
    n_creators = {arm: said["n_creators"][arm] for arm in ("control", "boosted")}
    n_viewers = sum(said["attention"][arm] * n for arm, n in n_creators.items())
    equal = n_viewers / sum(n_creators.values()) / said["attention"]["boosted"]
    assert figures["likes"]["mean"] == pytest.approx(n_likes / n_boosted * equal)
    assert figures["exposure"]["mean"] > 0
    assert said["n_creators"]["boosted"] == n_boosted
    assert sum(said["n_creators"].values()) == N_CREATORS
    assert set(said["n_joined"].values()) == {0}
    assert report["n_exposed"]["boosted"] > 5


@pytest.mark.parametrize(
    ("arms", "more", "said"),
    [
        (["a:5", "b:5"], {}, "at least 100 videos for arm 'a', got"),
        (["a:49", "b:49"], {}, "at least 100 videos for viewers in no arm"),
        (["a:60", "b:20"], {}, "arms of equal shares"),
        (["a:40"], {}, "two or more"),
        (["a:60", "b:60"], {}, "what is free"),
        (["a:40", "b:40"], {"surfaces": ["home"]}, "expected none for --two-sided"),
    ],
)  # fmt: skip
def test_what_can_not_be_split_is_refused_with_a_reason_and_starts_nothing(
    system: Running, arms: list[str], more: dict, said: str
) -> None:
    store = ExperimentStore(system.root / "upnext-data" / "experiments")
    for one in store.list():
        if one.is_running:  # left by a test that failed
            run_stop(one.name, config_of(system), Console(quiet=True))
    before = [one.name for one in store.list()]
    with pytest.raises(InvalidInput, match=said):
        start(system, "refused", arms, Console(quiet=True), **more)
    assert [one.name for one in store.list()] == before


def test_pages_of_two_rankings_can_not_be_two_sided() -> None:
    with pytest.raises(InvalidInput, match="--two-sided"):
        kind_of(interleave=True, two_sided=True)
