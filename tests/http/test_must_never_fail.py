"""What must never fail, through the HTTP API of a running system: a page comes whatever the request, the catalogue or a store is like.

COVERED says which test holds each promise; those that other modules show already are named there and not repeated.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from running import REAL_WORKER, Running, running
from serve_worlds import N_VIDEOS, videos

COVERED = {
    "unknown user": "test_api.py::test_an_unknown_user_gets_a_full_page_with_exact_propensities",
    "unknown video": "test_must_never_fail.py::test_an_unknown_video_is_taken_in_every_place_and_never_shown",
    "new user without any field": "test_must_never_fail.py::test_a_new_user_without_any_field_gets_a_full_page",
    "everything seen": "test_must_never_fail.py::test_who_has_seen_everything_in_earlier_sessions_gets_flagged_repeats",
    "everything seen in this session": "test_api.py::test_every_page_of_a_session_is_new_until_all_is_shown_and_repeats_are_flagged",
    "everything blocked in the viewer's country": "test_must_never_fail.py::test_where_everything_is_blocked_the_page_is_empty_and_no_error",
    "n larger than the catalogue": "test_must_never_fail.py::test_n_larger_than_what_is_allowed_gives_what_is_there",
    "n = 0": "test_api.py::test_parameters_that_break_a_rule_are_named",
    "an empty catalogue": "test_api.py::test_an_empty_catalogue_answers_with_an_empty_page_and_a_new_video_is_soon_there",
    "a video deleted between two pages": "test_must_never_fail.py::test_a_video_deleted_between_two_pages_is_gone_from_the_second",
    "duplicate events": "test_api.py::test_events_are_idempotent_and_each_bad_one_is_named",
    "out-of-order events": "test_api.py::test_out_of_order_events_and_clocks_wrong_by_a_day_are_taken",
    "clocks that are wrong by a day": "test_api.py::test_out_of_order_events_and_clocks_wrong_by_a_day_are_taken",
    "a video with no title and no tags": "test_must_never_fail.py::test_videos_without_title_and_tags_or_with_emoji_and_rtl_titles_are_shown",
    "emoji and right-to-left titles": "test_must_never_fail.py::test_videos_without_title_and_tags_or_with_emoji_and_rtl_titles_are_shown",
    "ids of 1,000 characters": "test_api.py::test_ids_of_a_thousand_characters_emoji_and_right_to_left_titles_pass",
    "a source that hangs": "test_must_never_fail.py::test_a_source_that_hangs_costs_its_candidates_not_the_page",
    "the state store gone": "test_must_never_fail.py::test_with_the_state_gone_pages_go_on_and_it_is_built_anew",
    "a half-written release": "test_must_never_fail.py::test_a_half_written_release_is_refused_and_pages_go_on",
    "a damaged release": "test_outages.py::test_a_damaged_release_is_refused_with_the_files_name_and_the_old_pipeline_stays",
    "a full disk": "test_outages.py::test_a_full_disk_acknowledges_nothing_feeds_go_on_and_all_recovers",
    "seen, mute and not interested act at once": "test_api.py::test_what_a_viewer_does_counts_at_the_very_next_request",
    "a new video is soon retrievable": "test_must_never_fail.py::test_a_new_video_is_soon_shown_in_a_full_catalogue",
    "a retry returns the logged slate": "test_api.py::test_a_retry_gets_the_very_same_bytes",
    "two pages of a session never overlap": "test_api.py::test_pages_of_one_session_asked_at_once_share_no_video",
}  # fmt: skip
ODD = {
    "bare": None,
    "empty": "",
    "emoji": "🎬🔥👩‍👩‍👧 party",
    "rtl": "مرحبا بالعالم שלום",
    "long": "x" * 5000,
}


@contextmanager
def hanging_server() -> Iterator[str]:
    """The URL of a server that takes connections and never answers."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:

        def take() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for one in held:
                one.close()


@pytest.fixture(scope="module")
def system() -> Iterator[Running]:
    """Shorts has a source that hangs."""
    with hanging_server() as url:
        pipeline = {"http_sources": {"platform": {"url": url, "retry_after_s": 0.3}}}
        surfaces = {"shorts": {"sources": {"platform": 20, "popular": 80, "fresh": 40}}}
        with running(worker=REAL_WORKER, pipeline=pipeline, surfaces=surfaces) as one:
            one.fill(videos())
            yield one


@pytest.fixture(scope="module")
def client(system: Running) -> Iterator[httpx.Client]:
    with system.client() as one:
        yield one


def feed(client: httpx.Client, surface: str = "home", **params: object) -> dict:
    answer = client.get(f"/v1/feed/{surface}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(page: dict) -> list[str]:
    return [item["video_id"] for item in page["items"]]


def seen(user_id: str, shown: list[str]) -> list[dict]:
    now_us = time.time_ns() // 1000
    return [
        {"event_id": f"seen-{user_id}-{v}", "time_us": now_us, "kind": "impression", "user_id": user_id, "video_id": v}
        for v in shown
    ]  # fmt: skip


def until(what, timeout_s: float = 20.0) -> None:
    """Waits until `what()` holds."""
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)


def test_every_promise_names_a_test_that_is_there() -> None:
    for promise, where in COVERED.items():
        module, test = where.split("::")
        text = (Path(__file__).parent / module).read_text("utf-8")
        assert f"def {test}(" in text, promise


def test_a_new_user_without_any_field_gets_a_full_page(client: httpx.Client) -> None:
    assert client.put("/v1/users/blank", json={}).status_code == 200
    assert len(set(ids(feed(client, user_id="blank", n=30)))) == 30
    assert len(ids(feed(client))) == 30  # nobody at all


def test_an_unknown_video_is_taken_in_every_place_and_never_shown(client: httpx.Client) -> None:
    (event,) = seen("explorer", ["never-heard-of"])
    said = client.post("/v1/events", json=[event, {**event, "event_id": "unk-2", "kind": "like"}])
    assert said.json()["accepted"] == 2
    for surface in ("home", "shorts", "upnext"):
        page = feed(client, surface, user_id="other", video_id="never-heard-of", n=100)
        assert len(page["items"]) >= 99  # one may have been deleted meanwhile
        assert "never-heard-of" not in ids(page)
    page = feed(client, user_id="other", exclude=["never-heard-of"], n=5)
    assert len(page["items"]) == 5
    missing = [client.delete("/v1/videos/nope"), client.patch("/v1/videos/nope", json={})]
    assert [answer.status_code for answer in missing] == [404, 404]


def test_who_has_seen_everything_in_earlier_sessions_gets_flagged_repeats(
    client: httpx.Client,
) -> None:
    everything = [
        *(f"v{i}" for i in range(N_VIDEOS)),
        *(f"odd-{name}" for name in ODD),
        "brand-new",
    ]
    said = client.post("/v1/events", json=seen("addict", everything))
    assert said.json()["accepted"] == len(everything)
    page = feed(client, user_id="addict", n=10)
    assert (len(page["items"]), page["n_repeats"]) == (10, 10)
    assert "repeat" in page["degraded"]
    assert ids(page) == everything[:10]  # least recently seen first


def test_where_everything_is_blocked_the_page_is_empty_and_no_error() -> None:
    with running(workers=1, worker=REAL_WORKER) as one, one.client() as client:
        one.fill(videos(9))
        blocked = [{**row, "countries_blocked": ["DE"]} for row in videos(9)]
        assert client.post("/v1/videos", json={"videos": blocked}).status_code == 200
        assert client.put("/v1/users/cut-off", json={"country": "DE"}).status_code == 200
        until(lambda: not feed(client, country="DE", n=5)["items"])
        for surface in ("home", "shorts", "upnext"):
            for who in ({"user_id": "cut-off"}, {"user_id": "traveller", "country": "DE"}):
                page = feed(client, surface, n=20, **who)
                assert (page["items"], page["next_page"], page["n_repeats"]) == ([], None, 0)
        assert len(ids(feed(client, user_id="cut-off", country="FR", n=20))) == 9
        body = {"user_id": "cut-off", "video_ids": ["v1", "v2"]}
        assert client.post("/v1/rank", json=body).json()["items"] == []


def test_n_larger_than_what_is_allowed_gives_what_is_there(client: httpx.Client) -> None:
    out = [f"v{i}" for i in range(N_VIDEOS - 30)]
    page = feed(client, user_id="greedy", n=100, exclude=out)
    left = [v for v in ids(page) if v.startswith("v")]
    assert len(left) == len(set(left)) <= 30
    assert len(left) >= 28
    assert page["n_repeats"] == 0


def test_a_video_deleted_between_two_pages_is_gone_from_the_second(client: httpx.Client) -> None:
    first = feed(client, user_id="reader", session_id="r", n=40)
    victim = "v0" if "v0" not in ids(first) else "v1" if "v1" not in ids(first) else ids(first)[0]
    assert client.delete(f"/v1/videos/{victim}").status_code == 200
    at_once = feed(client, user_id="reader", session_id="r", page=1, n=20)
    assert len(at_once["items"]) == 20
    time.sleep(2.0)  # each worker looks at the catalogue every second
    rest = ids(feed(client, user_id="reader", session_id="r", page=2, n=100))
    assert victim not in rest
    assert not set(rest) & {*ids(first), *ids(at_once)}
    again = client.get("/v1/feed/home", params={"user_id": "reader", "session_id": "r", "n": 40,
                                                "request_id": first["request_id"]})  # fmt: skip
    assert ids(again.json()) == ids(first)  # the logged slate, whatever became of its videos
    client.post("/v1/videos", json={"videos": [videos()[int(victim[1:])]]})


def test_videos_without_title_and_tags_or_with_emoji_and_rtl_titles_are_shown(
    client: httpx.Client,
) -> None:
    rows = [{"video_id": f"odd-{name}", "title": title} for name, title in ODD.items()]
    assert client.post("/v1/videos", json={"videos": rows}).status_code == 200
    out = [f"v{i}" for i in range(N_VIDEOS)]

    def shown() -> dict[str, str | None]:
        page = feed(client, user_id="odd-viewer", n=50, exclude=out)
        return {
            i["video_id"]: i["title"] for i in page["items"] if i["video_id"].startswith("odd-")
        }

    titles: dict[str, str | None] = {}

    def all_shown() -> bool:  # a video shown in one page is not in the next one
        titles.update(shown())
        return len(titles) == len(ODD)

    until(all_shown)
    for name, title in ODD.items():
        assert titles[f"odd-{name}"] == title or not title
    for row in rows:
        assert client.delete(f"/v1/videos/{row['video_id']}").status_code == 200


def test_a_source_that_hangs_costs_its_candidates_not_the_page(client: httpx.Client) -> None:
    flagged = 0
    for i in range(12):
        page = feed(client, "shorts", user_id=f"patient-{i}", n=10)
        assert len(set(ids(page))) == 10
        flagged += "source:platform" in page["degraded"]
        assert "platform" not in {s for item in page["items"] for s in item["sources"]}
    assert flagged == 12
    said = client.get(f"/v1/explain/{page['request_id']}/{ids(page)[0]}").json()
    assert said["trace"]["late"] == ["platform"]
    assert feed(client, "home", user_id="patient", n=10)["degraded"].count("source:platform") == 0


def test_a_new_video_is_soon_shown_in_a_full_catalogue(client: httpx.Client) -> None:
    row = {"uploaded_us": time.time_ns() // 1000, "title": "Premiere", "creator_id": "newcomer"}
    assert client.put("/v1/videos/brand-new", json=row).status_code == 200
    until(lambda: "brand-new" in ids(feed(client, user_id="early", n=100)))
    assert client.delete("/v1/videos/brand-new").status_code == 200


def test_a_half_written_release_is_refused_and_pages_go_on(system: Running) -> None:
    releases = system.root / "upnext-data" / "releases"
    (releases / "work" / "tmp-1").mkdir(parents=True)
    (releases / "work" / "tmp-1" / "weights.bin").write_bytes(b"half")
    half = releases / "20260101-000000-000000"
    half.mkdir()
    (half / "weights.bin").write_bytes(b"half")
    entry = '{"verb":"promote","release_id":"20260101-000000-000000","time_us":1}'
    (releases / "current.json").write_text('{"journal":[' + entry + "]}")
    with system.client() as client:
        until(lambda: "manifest.json: missing" in system.log.read_text())
        without = {"status": "ready", "release_id": "none", "degraded": ["release"]}
        # each worker looks in its own time
        until(lambda: all(client.get("/v1/health/ready").json() == without for _ in range(8)))
        assert len(feed(client, user_id="calm", n=10)["items"]) == 10
        (releases / "current.json").write_text('{"journal":[{"verb"')  # cut short
        until(lambda: system.log.read_text().count("current.json") >= 1)
        system.kill("worker", 0)  # a worker that starts with it serves too
        until(lambda: "upnext_worker_ready" in client.get("/metrics").text)
        (releases / "current.json").unlink()
        for i in range(6):
            assert len(feed(client, user_id=f"calm-{i}", n=10)["items"]) == 10


def test_with_the_state_gone_pages_go_on_and_it_is_built_anew() -> None:
    with running(worker=REAL_WORKER) as one, one.client() as client:
        one.fill(videos())
        first = feed(client, user_id="u", session_id="s", n=20)
        assert client.post("/v1/events", json=seen("u", ids(first))).status_code == 200
        state = one.root / "upnext-data" / "state"
        state.rename(one.root / "state-taken-away")
        until(lambda: "state" in feed(client, user_id="w", n=5)["degraded"])
        for page in range(1, 4):
            answer = feed(client, user_id="u", session_id="s", page=page, n=20)
            assert len(answer["items"]) == 20
        until(
            lambda: all("state" not in feed(client, user_id="w", n=5)["degraded"] for _ in "1234")
        )
        later = feed(client, user_id="u", session_id="later", n=100)
        assert not set(ids(later)) & set(ids(first))
        assert later["n_repeats"] == 0
        assert client.post("/v1/events", json=seen("w", ["v1"])).json()["accepted"] == 1
