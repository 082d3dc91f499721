"""A candidate generator asked over HTTP, bounded in time and in number of calls.

The deadline is kept even when the peer accepts and then hangs: the call runs on a small pool of its own and the request goes
on without it. After five failures in a row the source rests for `retry_after_s` (a circuit breaker), so that a dead peer costs
nothing but its candidates.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout

import httpx
import msgspec
import numpy as np

from upnext.core.errors import Unavailable
from upnext.core.types import Candidates, Int64, Query
from upnext.pipeline.config import HttpSourceConfig

FAILURES_BEFORE_REST = 5
_LARGEST = float(np.finfo(np.float32).max)


class _Answer(msgspec.Struct):
    video_ids: list[str]
    scores: list[float]


class HttpSource:
    """A Source whose videos come from `config.url`."""

    def __init__(
        self, name: str, config: HttpSourceConfig, item_ids: Callable[[list[str]], Int64]
    ) -> None:
        self.name = name
        self._config = config
        self._item_ids = item_ids
        self._client = httpx.Client(timeout=config.deadline_ms / 1000, trust_env=False)
        self._pool = ThreadPoolExecutor(config.max_in_flight, thread_name_prefix=f"source-{name}")
        self._free = threading.Semaphore(config.max_in_flight)
        self._n_failures = 0
        self._rests_until_s = 0.0

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k known videos. Raises Unavailable when late, failing, resting or full."""
        if time.monotonic() < self._rests_until_s:
            raise Unavailable(f"source {self.name!r} rests after repeated failures")
        if not self._free.acquire(blocking=False):
            raise Unavailable(f"source {self.name!r} has all its calls under way")
        future: Future[_Answer] = self._pool.submit(self._ask, query, k)
        try:
            answer = future.result(timeout=self._config.deadline_ms / 1000)
        except (FutureTimeout, httpx.HTTPError, msgspec.MsgspecError, UnicodeError) as error:
            self._failed()
            raise Unavailable(f"source {self.name!r}: {type(error).__name__} {error}") from error
        self._n_failures = 0
        item_id = self._item_ids(answer.video_ids[:k])
        score = np.clip(answer.scores[:k], -_LARGEST, _LARGEST).astype(np.float32)
        known = item_id >= 0
        return Candidates.of_source(self.name, item_id[known], score[known])

    def _failed(self) -> None:
        self._n_failures += 1
        if self._n_failures >= FAILURES_BEFORE_REST:
            self._n_failures = 0
            self._rests_until_s = time.monotonic() + self._config.retry_after_s

    def _ask(self, query: Query, k: int) -> _Answer:
        request = query.request
        try:
            response = self._client.post(
                self._config.url,
                json={
                    "user_id": request.user_id,
                    "surface": request.surface,
                    "current_video_id": request.current_video_id,
                    "k": k,
                },
            )
            response.raise_for_status()
            answer = msgspec.json.decode(response.content, type=_Answer)
        finally:
            self._free.release()
        if len(answer.video_ids) != len(answer.scores):
            raise msgspec.ValidationError(
                f"expected as many scores as video_ids ({len(answer.video_ids)}), got {len(answer.scores)}"
            )
        return answer
