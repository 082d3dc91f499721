"""The running system as the HTTP tests see it: real processes, real stores, a real pipeline without a release."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "serve"))

from running import REAL_WORKER, Running, running

N_VIDEOS = 120
TOPICS = ("music", "cooking", "chess", "trains")


def videos(n: int = N_VIDEOS) -> list[dict]:
    """Rows of a small catalogue."""
    return [
        {
            "video_id": f"v{i}", "title": f"{TOPICS[i % 4].title()} number {i}", "creator_id": f"c{i % 10}",
            "duration_s": 20.0 + i % 40, "category": TOPICS[i % 4], "tags": [TOPICS[i % 4]],
            "language": "en", "uploaded_us": 1_700_000_000_000_000 + i,
        }
        for i in range(n)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def system() -> Iterator[Running]:
    """Two workers and intake over a catalogue of N_VIDEOS; shared by a module's tests."""
    with running(worker=REAL_WORKER) as one:
        one.fill(videos())
        yield one
