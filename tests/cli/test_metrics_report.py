"""`upnext metrics` and `upnext report` on a small platform with slates of two releases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Ran, upnext

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.store import Catalog
from upnext.core.clock import DAY_US, ManualClock
from upnext.core.columns import USERS, VIDEOS
from upnext.core.event import Event
from upnext.events.log import SqliteEventLog
from upnext.events.slate import SlateRecord

START_US = 20_003 * DAY_US


def _slate(name: str, user: str, time_us: int, release: str) -> SlateRecord:
    nothing: list[list[str]] = [[], []]
    return SlateRecord(
        request_id=name, log_seq=0, time_us=time_us, user_id=user, session_id="s", page=0,
        surface="home", release_id=release, policy_version="p", policy="{}", draw_key=0,
        arms={"exp": "a"}, degraded=[], item_id=[0, 1], video_id=["v0", "v1"], sources=nothing,
        source_scores=[[], []], tasks=[], predictions=[[], []], value=[0.0, 0.0],
        propensity=[0.5, 0.5], n_eligible=[2, 1], reason=["", ""], is_repeat=[False, False],
        features=b"", n_features=0, trace={},
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 viewers for 3 days; the second release is clicked in slot 0, the first one is not."""
    import pyarrow as pa

    root = tmp_path_factory.mktemp("platform")
    assert upnext("init", root).code == 0
    data = root / "upnext-data"
    data.mkdir()
    catalog = Catalog(data / "catalog.db")
    catalog.put_videos(pa.Table.from_pylist([dict.fromkeys(VIDEOS.names) | {"video_id": f"v{i}"} for i in range(2)], VIDEOS))  # fmt: skip
    catalog.put_users(pa.Table.from_pylist([dict.fromkeys(USERS.names) | {"user_id": f"u{i}"} for i in range(40)], USERS))  # fmt: skip
    catalog.close()
    store = ReleaseStore(data / "releases", ManualClock(START_US))
    names = []
    for epochs in (1, 2):
        work = store.begin()
        (work / "f").write_bytes(b"x")
        names.append(store.publish(work, settings={"epochs": epochs}, data_window={"until_us": START_US}, metrics={"ndcg_at_10": epochs / 10}, parent=None))  # fmt: skip
    log = SqliteEventLog(data / "events")
    slates, events = [], []
    for day, u in np.ndindex(3, 40):
        name, user, time_us = f"q{day}-{u}", f"u{u}", START_US + day * DAY_US + u
        slates.append(_slate(name, user, time_us, names[day % 2]))
        kinds = ["impression", "click"] if day % 2 else ["impression"]
        events += [Event(event_id=f"{name}{kind}", kind=kind, user_id=user, time_us=time_us, request_id=name, video_id="v0", item_id=0, surface="home", slot=0) for kind in kinds]  # type: ignore[arg-type]  # fmt: skip
    log.append(events, slates)
    log.close()
    (root / "names").write_text("\n".join(names))
    return root


def run(folder: Path, *arguments: object) -> Ran:
    return upnext(*arguments, "-c", folder / "upnext.toml")


def test_metrics_prints_a_row_per_group_and_one_over_everything(folder: Path) -> None:
    ran = run(folder, "metrics", "--by", "release", "--json")
    groups, [whole] = (table["groups"] for table in json.loads(ran.out)["tables"])
    first, second = (folder / "names").read_text().split()
    told = {group["key"]["release"]: group for group in groups}
    assert told[first]["counts"]["slots"] == 160
    assert told[first]["rates"]["ctr_served"]["mean"] == 0
    assert told[second]["rates"]["ctr_served"]["mean"] == 0.5
    assert whole["counts"]["impressions"] == 120
    ran = run(folder, "metrics")
    assert "2024-10-07" in ran.out
    assert "exp=a" in ran.out


def test_metrics_says_what_it_did_not_understand(folder: Path) -> None:
    assert "expected some of day, surface" in run(folder, "metrics", "--by", "x").err
    assert "an offset" in run(folder, "metrics", "--from", "2024-10-07").err
    assert "nothing was shown" in run(folder, "metrics", "--from", "2030-01-01T00:00Z").err


def test_report_writes_a_page_and_json_and_prints_its_summary(folder: Path) -> None:
    page, figures = folder / "r.html", folder / "r.json"
    ran = run(folder, "report", "--out", page, "--json", figures)
    assert ran.code == 0, ran.err
    first, second = (folder / "names").read_text().split()
    assert f"What changed from {first} to {second}" in ran.out
    document = json.loads(figures.read_text("utf-8"))
    assert [section["title"] for section in document["sections"]] == ["What changed between two releases", "Traffic", "Seasonality", "Bias"]  # fmt: skip
    assert "3 days: " in json.dumps(document)
    text = page.read_text("utf-8")
    assert "epochs" in text
    assert "http:" not in text.replace("http-equiv", "")


def test_report_refuses_what_it_can_not_do_in_one_line(folder: Path) -> None:
    first, second = (folder / "names").read_text().split()
    page = folder / "x.html"
    refused = {
        ("--compare", first, first): "two different releases",
        ("--compare", first, "nope"): "not in",
        ("--from", "2030-01-01T00:00Z"): "nothing was shown in this span",
        ("--compare", first, second, "--offline"): "nothing relevant was shown",
    }
    for arguments, reason in refused.items():
        ran = run(folder, "report", "--out", page, *arguments)
        assert ran.code == 2, arguments
        assert reason in ran.err
        assert not page.exists()
    assert "r.html" in run(folder, "report", "--out", folder / "no" / "r.html").err
