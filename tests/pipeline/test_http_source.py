"""A remote source: whatever its peer does, the request goes on within the deadline, and a dead peer is left in peace."""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from pipeline_world import Hydrated, request

from upnext.core.errors import Unavailable
from upnext.core.types import Query
from upnext.pipeline.config import HttpSourceConfig
from upnext.pipeline.http_source import FAILURES_BEFORE_REST, HttpSource

QUERY = Hydrated().hydrate(request())
KNOWN = {"v1": 1, "v2": 2, "v3": 3}


@contextmanager
def peer(answer: Callable[[], bytes | None]) -> Iterator[tuple[str, list[socket.socket]]]:
    """(URL, connections so far) of a server that sends `answer()` to each request; None: it hangs."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:

        def serve() -> None:
            while True:
                try:
                    connection = server.accept()[0]
                except OSError:
                    return
                taken.append(connection)
                said = answer()
                if said is not None:
                    connection.recv(65_536)
                    connection.sendall(said)
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/", taken
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for one in taken:
                one.close()


def http(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (
        status, len(body), body,
    )  # fmt: skip


def source(url: str, **settings: object) -> HttpSource:
    given = {"deadline_ms": 2_000.0, **settings}
    return HttpSource(
        "platform",
        HttpSourceConfig(url=url, **given),
        lambda video_ids: np.array([KNOWN.get(v, -1) for v in video_ids], np.int64),
    )


def refused(one: HttpSource, query: Query = QUERY) -> str:
    with pytest.raises(Unavailable) as caught:
        one.fetch(query, 5)
    return str(caught.value)


def test_known_videos_come_in_order_with_their_scores() -> None:
    body = b'{"video_ids": ["v3", "nobody-knows", "v1", "v2"], "scores": [9.5, 9, 8, 7]}'
    with peer(lambda: http(body)) as (url, _):
        found = source(url).fetch(QUERY, 3)
    assert found.item_id.tolist() == [3, 1]
    assert found.columns["source:platform"].tolist() == [9.5, 8.0]


def test_a_peer_that_hangs_costs_its_deadline_and_no_more() -> None:
    with peer(lambda: None) as (url, _):
        assert "Timeout" in refused(source(url, deadline_ms=30.0))


@pytest.mark.parametrize(
    "answer",
    [
        http(b"{"), http(b"[]"), http(b'{"video_ids": ["v1"], "scores": []}'), http(b"\xff\xfe\x00"),
        http(b'{"video_ids": ["\xff"], "scores": [1]}'), http(b'{"video_ids": null, "scores": []}'),
        http(b"oops", b"500 Internal Server Error"), b"", b"no http at all\r\n\r\n",
    ],
)  # fmt: skip
def test_a_peer_that_talks_nonsense_is_unavailable(answer: bytes) -> None:
    with peer(lambda: answer) as (url, _):
        assert "platform" in refused(source(url))


def test_a_huge_score_stays_finite() -> None:
    with peer(lambda: http(b'{"video_ids": ["v1"], "scores": [1e300]}')) as (url, _):
        found = source(url).fetch(QUERY, 5)
    assert np.isfinite(found.columns["source:platform"]).all()


def test_a_score_that_is_no_number_is_refused() -> None:
    with peer(lambda: http(b'{"video_ids": ["v1"], "scores": [1e999]}')) as (url, _):
        assert "platform" in refused(source(url))


def test_after_five_failures_in_a_row_the_peer_is_left_in_peace_for_a_while() -> None:
    with peer(lambda: http(b"", b"503 Busy")) as (url, taken):
        one = source(url, retry_after_s=60.0)
        for _ in range(FAILURES_BEFORE_REST):
            assert "rests" not in refused(one)
        for _ in range(20):
            assert "rests" in refused(one)
        assert len(taken) == FAILURES_BEFORE_REST


def test_a_success_between_starts_the_count_anew_and_a_rest_ends() -> None:
    good = http(b'{"video_ids": ["v1"], "scores": [1]}')
    bad = http(b"", b"503 Busy")
    answers = iter([*[bad] * 4, good, *[bad] * 5, good])
    with peer(lambda: next(answers)) as (url, taken):
        one = source(url, retry_after_s=0.05)
        for _ in range(4):
            refused(one)
        assert len(one.fetch(QUERY, 5)) == 1
        for _ in range(5):
            assert "rests" not in refused(one)
        assert "rests" in refused(one)
        threading.Event().wait(0.06)
        assert len(one.fetch(QUERY, 5)) == 1
        assert len(taken) == 11


def test_no_more_calls_are_under_way_than_allowed() -> None:
    with peer(lambda: None) as (url, _):
        one = source(url, max_in_flight=2, deadline_ms=300.0)
        said: list[str] = []
        threads = [threading.Thread(target=lambda: said.append(refused(one))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum("under way" in message for message in said) >= 4


def test_the_peer_is_told_who_asks_and_for_how_many() -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection = server.accept()[0]
            with connection:
                data = b""
                while not data.endswith(b"}"):
                    data += connection.recv(65_536)
                heard.append(data)
                connection.sendall(http(b'{"video_ids": [], "scores": []}'))

        thread = threading.Thread(target=serve)
        thread.start()
        asked = dataclasses.replace(QUERY, request=request(current_video_id="v9"))
        assert len(source(f"http://127.0.0.1:{server.getsockname()[1]}/x").fetch(asked, 7)) == 0
        thread.join()
    assert b'"user_id":"u"' in heard[0]
    assert b'"k":7' in heard[0]
    assert b'"current_video_id":"v9"' in heard[0]
