"""An experiment on a running system: started, followed by every worker, logged with each slate, stopped."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest
from rich.console import Console
from running import Running

from upnext.cli.experiment import run_ramp, run_start, run_stop
from upnext.core.errors import InvalidInput
from upnext.evaluate.experiments.drafted import interleaving_report
from upnext.evaluate.experiments.exposed import Counting, exposed
from upnext.evaluate.experiments.report import report_of
from upnext.evaluate.experiments.store import ExperimentStore
from upnext.events.log import SqliteEventLog

NAME = "wide-home"
WORKERS = 2


def config_of(system: Running) -> Path:
    """A settings file that names the running system's data folder."""
    file = system.root / "upnext.toml"
    file.write_text("")
    return file


def start(system: Running, name: str, arms: list[str], changes: list[str], **more: object) -> None:
    given = {"layer": "default", "surfaces": [], "kind": "ab", "judged": ([], []), **more}
    run_start(name, arms, changes, config=config_of(system), out=Console(quiet=True), **given)  # type: ignore[arg-type]


def page(client: httpx.Client, user_id: str, surface: str = "home", **more: object) -> dict:
    answer = client.get(f"/v1/feed/{surface}", params={"user_id": user_id, "n": 4, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def until_every_worker(client: httpx.Client, user_id: str, arms: dict[str, str]) -> None:
    """Waits until many answers in a row carry these arms: connections spread over the workers."""
    agreed, deadline = 0, time.monotonic() + 20
    while agreed < 12:
        assert time.monotonic() < deadline, "the experiment was not followed"
        agreed = agreed + 1 if page(client, user_id)["arms"] == arms else 0


def test_arms_get_what_they_are_set_to_and_a_stop_returns_everyone_to_the_base(
    system: Running,
) -> None:
    store = ExperimentStore(system.root / "upnext-data" / "experiments")
    with system.client() as client:
        base = page(client, "before")
        assert base["arms"] == {}
        changes = [
            "wide.surfaces.home.policy.temperature=3.0",
            "wide.surfaces.home.weights.relevant=2.0",
        ]
        start(system, NAME, ["control:30", "wide:30"], changes)
        allocation = store.read(NAME).allocation()
        viewers = [f"viewer-{i}" for i in range(40)]
        arm_of = {user_id: allocation.arm(user_id) for user_id in viewers}
        assert set(arm_of.values()) == {"control", "wide", None}
        in_wide = next(user_id for user_id, arm in arm_of.items() if arm == "wide")
        until_every_worker(client, in_wide, {NAME: "wide"})

        versions: dict[str | None, set[str]] = {"control": set(), "wide": set(), None: set()}
        for user_id in viewers:
            said = page(client, user_id)
            arm = arm_of[user_id]
            assert said["arms"] == ({} if arm is None else {NAME: arm})
            versions[arm].add(said["policy_version"])
            assert page(client, user_id, "shorts")["arms"] == {}  # no arm changes it
        assert versions["control"] == versions[None] == {base["policy_version"]}
        assert len(versions["wide"]) == 1
        assert versions["wide"] != versions["control"]

        first = page(client, in_wide, session_id="s")
        later = [page(client, in_wide, session_id="s", page=n) for n in (1, 2)]
        assert [one["arms"] for one in (first, *later)] == [{NAME: "wide"}] * 3
        said = client.get(f"/v1/explain/{first['request_id']}/{first['items'][0]['video_id']}")
        assert said.json()["arms"] == {NAME: "wide"}
        assert 'upnext_arm_pages_total{arm="wide"' in client.get("/metrics").text

        run_ramp(NAME, 80.0, config_of(system), Console(quiet=True))
        grown = store.read(NAME).allocation()
        assert all(grown.arm(u) == arm for u, arm in arm_of.items() if arm is not None)

        run_stop(NAME, config_of(system), Console(quiet=True))
        until_every_worker(client, in_wide, {})
        after = page(client, in_wide)
        assert after["policy_version"] == base["policy_version"]

    log = SqliteEventLog(system.root / "upnext-data" / "events", read_only=True)
    records = [record for part in log.scan_slates() for record in part]
    counting = Counting({"relevant": 1.0}, 1800.0, time.time_ns() // 1000)
    report = report_of(
        store.read(NAME), exposed(log, store.read(NAME), counting), counting.until_us
    )
    expected = {arm: {r.user_id for r in records if r.arms == {NAME: arm}} for arm in ("control", "wide")}  # fmt: skip
    assert report.n_exposed == {arm: len(users) for arm, users in expected.items()}
    assert (
        report.n_exposed["control"] + report.n_exposed["wide"] > 8
    )  # of 40, each with a chance of .6
    log.close()
    for arm, temperature in (("control", 0.2), ("wide", 3.0)):
        logged = [record for record in records if record.arms.get(NAME) == arm]
        assert logged
        assert {json.loads(record.policy)["temperature"] for record in logged} == {temperature}
        assert {record.surface for record in logged} == {"home"}


def test_an_interleaving_mixes_two_rankings_and_its_report_says_which_is_preferred(
    system: Running,
) -> None:
    """Every page of home is drafted by two teams; viewers click what the second one picked."""
    start(
        system, "mixed", ["plain:50", "sharp:50"], ["sharp.surfaces.home.policy.temperature=0.01"],
        kind="interleaving",
    )  # fmt: skip
    with system.client() as client:
        until_every_worker(client, "anyone", {"mixed": "interleaved"})
        requests = {}
        for i in range(120):
            answer = page(client, f"taster-{i}")
            requests[answer["request_id"]] = answer
        log = SqliteEventLog(system.root / "upnext-data" / "events", read_only=True)
        records = {r.request_id: r for part in log.scan_slates() for r in part}
        rows = []
        for request_id, answer in requests.items():
            record = records[request_id]
            assert sorted(record.teams[:2]) == sorted(record.teams[2:]) == ["plain", "sharp"]
            assert set(json.loads(record.policy)["team_draft"]) == {"plain", "sharp"}
            assert record.policy_version == answer["policy_version"]
            assert all(0 < p <= 1 for p in record.propensity)
            slot = record.teams.index("sharp")
            rows.append({
                "event_id": f"like-{request_id}", "time_us": time.time_ns() // 1000, "kind": "like",
                "user_id": answer["user_id"], "video_id": record.video_id[slot], "request_id": request_id,
            })  # fmt: skip
        assert client.post("/v1/events", json=rows).status_code == 200
        slot = record.teams.index("sharp")
        said = client.get(f"/v1/explain/{request_id}/{record.video_id[slot]}").json()
        assert said["arms"] == {"mixed": "sharp"}
        report = interleaving_report(
            log, ExperimentStore(system.root / "upnext-data" / "experiments").read("mixed"),
            Counting({"like": 1.0}, 1800.0, time.time_ns() // 1000),
        )  # fmt: skip
        log.close()
        said = report.preferences["value"]
        assert (said.wins, said.losses) == (120, 0)
        assert report.preferences["clicks"].ties == said.n_pages
        run_stop("mixed", config_of(system), Console(quiet=True))
        until_every_worker(client, "anyone", {})


def test_an_interleaving_of_more_than_rankings_is_refused(system: Running) -> None:
    for arms, changes, said in (
        (["a:50", "b:50"], ["b.surfaces.home.n_ranked=9"], "policy or weights"),
        (["a:50", "b:20"], ["b.surfaces.home.policy.epsilon=0.1"], "two arms of equal shares"),
        (["a:20", "b:20", "c:20"], [], "two arms of equal shares"),
    ):
        with pytest.raises(InvalidInput, match=said):
            start(system, "refused", arms, changes, kind="interleaving")


@pytest.mark.parametrize(
    ("arms", "changes", "said"),
    [
        (["a:50"], [], "two or more"),
        (["a:50", "b"], [], "NAME:PERCENT"),
        (["a:50", "a:50"], [], "each name once"),
        (["a:60", "b:50"], [], "what is free"),
        (["a:50", "b:50"], ["b.surfaces.home.policy.temprature=1"], "did you mean 'temperature'"),
        (["a:50", "b:50"], ["b.surfaces.hom.policy.epsilon=0.1"], "expected one of home"),
        (["a:50", "b:50"], ["b.surfaces.home.weights.likes=1"], "did you mean 'like'"),
        (["a:50", "b:50"], ["b.surfaces.home.sources.freshh=9"], "did you mean 'fresh'"),
        (["a:50", "b:50"], ["b.surfaces.home.policy.epsilon=7"], "less than or equal to 1"),
        (["a:50", "b:50"], ["b.surfaces.home.size=9"], "not an arm's to change"),
        (["a:50", "b:50"], ["c.surfaces.home.n_ranked=9"], "unknown arm 'c'"),
        (["a:50", "b:50"], ["b.release=20200101-000000-000000"], "not in"),
        (["a:50", "b:50"], ["b.policy.epsilon=0.1"], "unknown key 'policy.epsilon'"),
        (["a:50", "b:50"], ["b.surfaces.home.n_ranked=many"], "as in upnext.toml"),
    ],
)  # fmt: skip
def test_what_can_not_run_is_refused_by_name_and_starts_nothing(
    system: Running, arms: list[str], changes: list[str], said: str
) -> None:
    store = ExperimentStore(system.root / "upnext-data" / "experiments")
    before = [one.name for one in store.list()]
    with pytest.raises((InvalidInput, LookupError), match=said):
        start(system, "refused", arms, changes)
    assert [one.name for one in store.list()] == before


def test_two_layers_may_not_change_one_key(system: Running) -> None:
    start(system, "one", ["a:10", "b:10"], ["b.surfaces.shorts.n_ranked=100"], layer="first")
    with pytest.raises(InvalidInput, match="expected the same layer"):
        start(system, "two", ["a:10", "b:10"], ["b.surfaces.shorts.n_ranked=50"], layer="second")
    start(system, "three", ["a:10", "b:10"], ["b.surfaces.shorts.policy.epsilon=0.1"], layer="second")  # fmt: skip
    with pytest.raises(InvalidInput, match="a new name"):
        start(system, "one", ["a:10", "b:10"], [])
