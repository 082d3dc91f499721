"""The API of a running system with its real pipeline, before any training."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest
from running import REAL_WORKER, Running, running
from serve_worlds import N_VIDEOS, videos

T0 = 1_700_000_000_000_000


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


def post(client: httpx.Client, *rows: dict) -> dict:
    answer = client.post("/v1/events", json=list(rows))
    assert answer.status_code == 200, answer.text
    return answer.json()


def event(
    event_id: str, user_id: str, video_id: str, kind: str = "impression", **more: object
) -> dict:
    row = {
        "event_id": event_id,
        "time_us": time.time_ns() // 1000,
        "kind": kind,
        "user_id": user_id,
    }
    return {**row, "video_id": video_id, **more}


def test_an_unknown_user_gets_a_full_page_with_exact_propensities(client: httpx.Client) -> None:
    page = feed(client, user_id="nobody-knows-me", n=20)
    assert len(set(ids(page))) == 20
    assert all(0 < item["propensity"] <= 1 for item in page["items"])
    assert [item["slot"] for item in page["items"]] == list(range(20))
    assert page["next_page"] == 1


def test_every_page_of_a_session_is_new_until_all_is_shown_and_repeats_are_flagged(
    client: httpx.Client,
) -> None:
    shown: list[str] = []
    session = ""
    for page in range(N_VIDEOS // 20):
        answer = feed(client, user_id="scroller", session_id=session, page=page, n=20)
        session = answer["session_id"]
        assert answer["n_repeats"] == 0
        shown += ids(answer)
    assert len(shown) == len(set(shown)) == N_VIDEOS
    last = feed(client, user_id="scroller", session_id=session, page=9, n=20)
    assert len(last["items"]) == 20
    assert last["n_repeats"] == 20
    assert all(item["is_repeat"] for item in last["items"])


def test_pages_of_one_session_asked_at_once_share_no_video(system: Running) -> None:
    import asyncio

    async def work() -> list[dict]:
        async with system.async_client() as many:
            asks = [
                many.get(
                    "/v1/feed/home",
                    params={"user_id": "fast", "session_id": "s", "page": p, "n": 15},
                )
                for p in range(6)
            ]
            return [answer.json() for answer in await asyncio.gather(*asks)]

    pages = asyncio.run(work())
    shown = [video for page in pages for video in ids(page)]
    assert len(shown) == len(set(shown)) == 90


def test_a_retry_gets_the_very_same_bytes(client: httpx.Client) -> None:
    params = {"user_id": "again", "request_id": "retry-1", "n": 7}
    first = client.get("/v1/feed/home", params=params)
    for _ in range(4):
        assert client.get("/v1/feed/home", params=params).content == first.content


def test_a_new_visit_gets_another_order(client: httpx.Client) -> None:
    assert len({tuple(ids(feed(client, user_id="visitor", n=20))) for _ in range(4)}) == 4


def test_what_a_viewer_does_counts_at_the_very_next_request(client: httpx.Client) -> None:
    before = ids(feed(client, user_id="actor", session_id="a", n=30))
    post(
        client,
        event("act-1", "actor", before[0]),
        event("act-2", "actor", before[1], "not_interested"),
        event("act-3", "actor", before[2], "mute", target_kind="creator", target_id="c3"),
    )
    after = feed(client, user_id="actor", session_id="b", n=100)
    assert before[0] not in ids(after)
    assert before[1] not in ids(after)
    assert "c3" not in {item["creator_id"] for item in after["items"]}
    assert "c4" in {item["creator_id"] for item in after["items"]}


def test_a_taken_back_mute_brings_the_creator_back(client: httpx.Client) -> None:
    mute = event("mute-1", "undoer", "v1", "mute", target_kind="creator", target_id="c5")
    post(client, {k: v for k, v in mute.items() if k != "video_id"})
    assert "c5" not in {i["creator_id"] for i in feed(client, user_id="undoer", n=100)["items"]}
    undo = {"event_id": "mute-2", "time_us": T0, "kind": "undo", "user_id": "undoer"}
    said = post(client, {**undo, "undoes_event_id": "mute-1"})
    assert said["accepted"] == 1
    assert "c5" in {i["creator_id"] for i in feed(client, user_id="undoer", n=100)["items"]}


def test_events_are_idempotent_and_each_bad_one_is_named(client: httpx.Client) -> None:
    good = event("idem-1", "poster", "v1", "like")
    bad = event("idem-2", "poster", "v1", "zap")
    said = post(client, good, bad, good)
    assert (said["accepted"], said["known"], said["refused"]) == (
        2,
        0,
        1,
    )  # one row, named twice in one batch
    assert said["results"][0] == {
        "index": 1, "status": "refused", "field": "kind", "expected": "a known kind", "got": "'zap'",
    }  # fmt: skip
    again = post(client, good)
    assert (again["accepted"], again["known"]) == (0, 1)
    assert again["results"][0]["log_seq"] > 0
    assert client.post("/v1/events", content=b"{").status_code == 422


def test_out_of_order_events_and_clocks_wrong_by_a_day_are_taken(client: httpx.Client) -> None:
    now = time.time_ns() // 1000
    day = 86_400_000_000
    said = post(
        client,
        event("late-1", "clock", "v1", "like", time_us=now - day),
        event("late-2", "clock", "v2", "like", time_us=now - 2 * day),
        event("late-3", "clock", "v3", "like", time_us=now + day),
    )
    assert said["accepted"] == 3
    assert [r["index"] for r in said["results"] if r.get("is_clamped")] == [2]
    assert not {"v1", "v2", "v3"} & set(ids(feed(client, user_id="clock", n=100)))


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("n=0", 422, "n"), ("n=-1", 422, "n"), ("n=x", 422, "n"), ("n=101", 422, None), ("page=-1", 422, "page"),
        ("lat=91", 422, "lat"), ("lon=nan", 422, "lon"), ("zap=1", 422, "zap"), ("seed=x", 422, "seed"),
        ("user_id=" + "x" * 3000, 422, "user_id"),
    ],
)  # fmt: skip
def test_parameters_that_break_a_rule_are_named(
    client: httpx.Client, query: str, status: int, field: str | None
) -> None:
    answer = client.get(f"/v1/feed/home?{query}")
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["message"]
    if field is not None:
        assert error["field"] == field


def test_ids_of_a_thousand_characters_emoji_and_right_to_left_titles_pass(
    client: httpx.Client,
) -> None:
    for video_id in ("x" * 1000, "🎬/ü ?&=#%", "שלום"):
        path = "/v1/videos/" + httpx.QueryParams({"a": video_id})["a"].replace("%", "%25").replace(
            "?", "%3F"
        ).replace("#", "%23")
        row = {"title": "مرحبا 🎉", "duration_s": 9.0, "creator_id": "c🎈"}
        assert client.put(path, json=row).status_code == 200
        said = post(client, event(f"odd-{video_id[:5]}", "y" * 1000, video_id, "like"))
        assert said["accepted"] == 1
        assert client.delete(path).status_code == 200
    assert len(feed(client, user_id="y" * 1000, session_id="z" * 1000, n=5)["items"]) == 5


def test_excluded_ids_stay_out(client: httpx.Client) -> None:
    out = [f"v{i}" for i in range(50)]
    page = feed(client, user_id="picky", n=70, exclude=out)
    assert len(page["items"]) == 70
    assert not set(out) & set(ids(page))


def test_rank_arranges_the_callers_candidates_and_leaves_out_what_may_not_be_shown(
    client: httpx.Client,
) -> None:
    given = ["v5", "v6", "unknown", "v7", "v5"]
    body = {"user_id": "ranker", "video_ids": given}
    answer = client.post("/v1/rank", json=body).json()
    assert sorted(ids(answer)) == ["v5", "v6", "v7"]
    assert client.post("/v1/rank", json={**body, "n": 2}).json()["items"][1]["slot"] == 1
    assert client.post("/v1/rank", json={**body, "video_ids": []}).status_code == 422
    assert client.post("/v1/rank", json={**body, "surface": "zap"}).status_code == 404
    none = client.post("/v1/rank", json={**body, "video_ids": ["unknown"]})
    assert (none.status_code, none.json()["items"]) == (200, [])


def test_every_slot_can_be_explained(client: httpx.Client) -> None:
    page = feed(client, user_id="curious", n=5)
    for item in page["items"]:
        said = client.get(f"/v1/explain/{page['request_id']}/{item['video_id']}").json()
        assert (said["slot"], said["propensity"]) == (item["slot"], item["propensity"])
        assert said["sources"]
        assert said["trace"]["fetched"]
    assert client.get(f"/v1/explain/{page['request_id']}/nope").status_code == 404
    assert client.get("/v1/explain/nope/v1").status_code == 404


def test_users_and_videos_are_put_patched_and_deleted(client: httpx.Client) -> None:
    assert client.put("/v1/users/pat", json={"country": "DE", "age": 30}).status_code == 200
    assert client.patch("/v1/users/pat", json={"age": 31}).status_code == 200
    assert client.patch("/v1/users/nobody", json={"age": 31}).status_code == 404
    assert client.delete("/v1/users/pat").status_code == 200
    assert client.delete("/v1/users/pat").status_code == 404
    bad = client.put("/v1/videos/x1", json={"duration_s": "long"})
    assert bad.status_code == 422
    assert "duration_s" in bad.json()["error"]["message"]
    typo = client.patch("/v1/videos/v1", json={"titel": "x"})
    assert typo.status_code == 422
    assert "title" in typo.json()["error"]["message"]
    assert client.put("/v1/videos/x1", json={"video_id": "other"}).status_code == 422


def test_health_and_metrics_answer_and_count(client: httpx.Client) -> None:
    assert client.get("/v1/health/live").json()["status"] == "live"
    assert client.get("/v1/health/ready").json() == {"status": "ready", "release_id": "none"}
    text = client.get("/metrics").text
    assert 'upnext_pages_total{surface="home"}' in text
    assert 'upnext_worker_ready{worker="worker-1"} 1.0' in text


def test_openapi_lists_every_route_with_its_parameters_and_schemas(client: httpx.Client) -> None:
    page = client.get("/openapi.json").json()
    assert set(page["paths"]) >= {
        "/v1/feed/{surface}", "/v1/rank", "/v1/events", "/v1/videos", "/v1/videos/{id}", "/v1/users/{id}",
        "/v1/explain/{request_id}/{video_id}", "/v1/health/live", "/v1/health/ready", "/metrics",
    }  # fmt: skip
    names = {p["name"] for p in page["paths"]["/v1/feed/{surface}"]["get"]["parameters"]}
    assert {"surface", "user_id", "n", "exclude", "page", "video_id", "lat", "time_zone"} <= names
    assert "propensity" in page["components"]["schemas"]["FeedItem"]["properties"]
    for operations in page["paths"].values():
        for operation in operations.values():
            assert operation["summary"]


def test_upnext_needs_no_known_current_video(client: httpx.Client) -> None:
    assert len(feed(client, "upnext", user_id="u", video_id="v3", n=5)["items"]) == 5
    assert "v3" not in ids(feed(client, "upnext", user_id="u", video_id="v3", n=60))
    assert len(feed(client, "upnext", user_id="u", video_id="unknown", n=5)["items"]) == 5


def test_keys_open_only_their_scopes() -> None:
    keys = [{"key": "reader-key", "scopes": ["read"]}, {"key": "writer-key", "scopes": ["write"]},
            {"key": "admin-key-1", "scopes": ["admin"]}]  # fmt: skip
    with (
        running(workers=1, serve={"api_keys": keys}, worker=REAL_WORKER) as one,
        one.client() as client,
    ):
        assert client.get("/v1/feed/home").status_code == 401
        reader, writer = {"authorization": "Bearer reader-key"}, {"x-api-key": "writer-key"}
        assert client.get("/v1/feed/home", headers=reader).status_code == 200
        assert client.get("/v1/feed/home", headers=writer).status_code == 403
        assert client.post("/v1/events", json=[], headers=reader).status_code == 403
        assert client.post("/v1/events", json=[], headers=writer).status_code == 200
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers=reader).status_code == 200
        assert client.get("/v1/health/ready").status_code == 200


def test_an_empty_catalogue_answers_with_an_empty_page_and_a_new_video_is_soon_there() -> None:
    with running(workers=1, worker=REAL_WORKER) as one, one.client() as client:
        empty = feed(client, user_id="u")
        assert (empty["items"], empty["next_page"]) == ([], None)
        one.fill(videos(3))
        assert len(feed(client, user_id="u", n=50)["items"]) == 3
        assert client.delete("/v1/videos/v1").status_code == 200
        deadline = time.monotonic() + 15  # the worker looks at the catalogue every second
        left: list[str] = []
        while left != ["v0", "v2"] and time.monotonic() < deadline:
            left = sorted(ids(feed(client, user_id=f"w{time.monotonic()}", n=50)))
        assert left == ["v0", "v2"]
