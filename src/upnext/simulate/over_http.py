"""A running server, asked as an app asks it: pages by GET /v1/feed, what viewers did by POST /v1/events, rows by PUT and POST.

Whose time? A server with `serve.clock = "simulated"` takes it from every request (serve/simulated_clock.py), so that its log and
its state live through the simulated days. Any other server keeps its own: then days are counted here alone, and the server sees
all of them happen in the minutes that they take, each event at the moment it is sent.

Requests that are due together run at once, at most `n_at_once`; `rate` bounds pages a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from upnext.core.clock import Clock, SystemClock
from upnext.core.errors import InvalidInput, Unavailable
from upnext.core.event import Event
from upnext.core.types import Request
from upnext.serve.api_types import ErrorAnswer, EventsAnswer, FeedAnswer, HealthAnswer
from upnext.serve.simulated_clock import HEADER

N_AT_ONCE: Final = 8
ANSWER_S: Final = 20.0  # that one answer may take
PATIENCE_S: Final = 60.0  # with asking again
VIDEOS_AT_ONCE: Final = 1_000
EVENTS_AT_ONCE: Final = 5_000
FOLLOW_S: Final = 2.0  # workers see new videos about a second after they are committed
BUSY: Final = 503


class OverHttp:
    """A Recommender behind a URL. Not thread-safe: one loop drives it."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        rate: float | None = None,
        n_at_once: int = N_AT_ONCE,
        clock: Clock | None = None,
    ) -> None:
        """Asks the server whether it is ready and whose time it keeps.

        rate: pages a second at most; None: as fast as it answers. Raises Unavailable where no server answers, InvalidInput for
        what is no URL."""
        self.url = url.rstrip("/")
        if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
            raise InvalidInput(f"{url}: API key: expected printable ASCII characters")
        headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        limits = httpx.Limits(max_connections=n_at_once)
        try:
            self._client = httpx.Client(
                base_url=self.url, headers=headers, limits=limits, timeout=ANSWER_S,
                trust_env=False,
            )  # fmt: skip
            said = self._answered(lambda: self._client.get("/v1/health/ready"))
            health = msgspec.json.decode(said, type=HealthAnswer)
        except httpx.InvalidURL as error:
            raise InvalidInput(f"{url}: expected http://HOST:PORT: {error}") from error
        except msgspec.MsgspecError as error:
            raise Unavailable(f"{self.url}: expected an UpNext server: {error}") from error
        self.simulated_time_us = health.simulated_time_us
        self.release_id = health.release_id
        self._clock = clock or SystemClock()
        self._pool = ThreadPoolExecutor(n_at_once, thread_name_prefix="viewers")
        self._pace = _Pace(rate)

    @property
    def keeps_own_time(self) -> bool:
        """Whether the server's time is its own, not the simulation's."""
        return self.simulated_time_us is None

    def put(self, videos: pa.Table, users: pa.Table) -> None:
        """Sends whole rows of core.columns.VIDEOS and USERS, and waits until workers see them; sending them again changes nothing.

        To a server with its own time no video is uploaded later than now. Raises Unavailable, InvalidInput."""
        if self.keeps_own_time:
            place = videos.schema.get_field_index("uploaded_us")
            uploaded_us = pc.min_element_wise(videos.column(place), self._clock.now_us())
            videos = videos.set_column(place, videos.schema.field(place), uploaded_us)
        for start in range(0, len(videos), VIDEOS_AT_ONCE):
            rows = _rows(videos.slice(start, VIDEOS_AT_ONCE))
            self._call("POST", "/v1/videos", {"videos": rows}, None)

        def put_user(row: dict[str, Any]) -> None:
            self._call("PUT", f"/v1/users/{quote(row['user_id'], safe='')}", row, None)

        list(self._pool.map(put_user, _rows(users)))
        if len(videos):
            time.sleep(FOLLOW_S)

    def feed(self, requests: Sequence[Request]) -> list[list[str]]:
        """The video_ids of each request's page, asked for at once. Raises Unavailable, InvalidInput."""
        return list(self._pool.map(self._page, requests))

    def send(self, events: Sequence[Event], time_us: int) -> None:
        """Sends the events at `time_us`; a server with its own time hears that they happen now. Raises Unavailable, InvalidInput."""
        if self.keeps_own_time:
            now_us = self._clock.now_us()
            events = [msgspec.structs.replace(event, time_us=now_us) for event in events]
        for start in range(0, len(events), EVENTS_AT_ONCE):
            batch = list(events[start : start + EVENTS_AT_ONCE])
            said = self._call("POST", "/v1/events", batch, time_us)
            answer = msgspec.json.decode(said, type=EventsAnswer)
            for one in answer.results:
                if one.status == "refused":
                    event = batch[one.index]
                    raise InvalidInput(
                        f"event {event.event_id}: {one.field}: expected {one.expected}, got {one.got}"
                    )

    def close(self) -> None:
        """Ends the connections."""
        self._pool.shutdown(cancel_futures=True)
        self._client.close()

    def __enter__(self) -> OverHttp:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _page(self, request: Request) -> list[str]:
        self._pace.wait()
        parameters: dict[str, str | int | None] = {
            "user_id": request.user_id,
            "session_id": request.session_id,
            "request_id": request.request_id,
            "page": request.page,
            "n": request.size,
            "seed": request.seed,
            "device": request.device,
            "video_id": request.current_video_id,
        }
        given = {key: value for key, value in parameters.items() if value is not None}
        headers = self._told(request.time_us)
        said = self._answered(
            lambda: self._client.get(f"/v1/feed/{request.surface}", params=given, headers=headers)
        )
        answer = msgspec.json.decode(said, type=FeedAnswer)
        return [item.video_id for item in answer.items]

    def _call(self, method: str, path: str, body: object, time_us: int | None) -> bytes:
        content = msgspec.json.encode(body)
        headers = {"content-type": "application/json", **self._told(time_us)}
        return self._answered(
            lambda: self._client.request(method, path, content=content, headers=headers)
        )

    def _told(self, time_us: int | None) -> dict[str, str]:
        if self.keeps_own_time or time_us is None:
            return {}
        return {HEADER: str(time_us)}

    def _answered(self, ask: Callable[[], httpx.Response]) -> bytes:
        """The body of a good answer; a slow or busy server is asked again: every call may come twice with the effect of once."""
        until_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = ask()
            except httpx.UnsupportedProtocol as error:
                raise InvalidInput(f"{self.url}: expected http://HOST:PORT: {error}") from error
            except httpx.TransportError as error:
                if isinstance(error, httpx.ReadTimeout) and time.monotonic() < until_s:
                    continue
                raise Unavailable(
                    f"{self.url}: no answer: {error or type(error).__name__}"
                ) from error
            if answer.status_code == 200:
                return answer.content
            if answer.status_code != BUSY or time.monotonic() > until_s:
                raise _failure(self.url, answer)
            time.sleep(min(1.0, float(answer.headers.get("retry-after", 1))))


class _Pace:
    """Lets at most `rate` callers a second pass, from any thread."""

    def __init__(self, rate: float | None) -> None:
        self._gap_s = 0.0 if rate is None else 1.0 / rate
        self._next_s = time.monotonic()
        self._lock = threading.Lock()

    def wait(self) -> None:
        if not self._gap_s:
            return
        with self._lock:
            now_s = time.monotonic()
            mine_s = max(now_s, self._next_s)
            self._next_s = mine_s + self._gap_s
        time.sleep(max(0.0, mine_s - now_s))


def _failure(url: str, answer: httpx.Response) -> InvalidInput | Unavailable:
    """The error of an answer that is not 200, in one line."""
    try:
        said = msgspec.json.decode(answer.content, type=ErrorAnswer).error
    except msgspec.MsgspecError:
        where = f"{url}{answer.request.url.path}"
        return Unavailable(f"{where}: expected an UpNext server, got status {answer.status_code}")
    line = f"{url}: {answer.status_code} {said.code}: {said.message}"
    if answer.status_code in (401, 403):
        return InvalidInput(f"{line}; give one with scopes read and write by --api-key")
    return Unavailable(line) if answer.status_code >= 500 else InvalidInput(line)


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as the API takes them: no nulls, maps as objects."""
    maps = {field.name for field in table.schema if pa.types.is_map(field.type)}
    return [
        {k: dict(v) if k in maps else v for k, v in row.items() if v is not None}
        for row in table.to_pylist()
    ]
