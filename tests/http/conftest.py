"""The running system as the HTTP tests see it: real processes, real stores, a real pipeline without a release."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "serve"))

from running import REAL_WORKER, Running, running
from serve_worlds import videos


@pytest.fixture(scope="module")
def system() -> Iterator[Running]:
    """Two workers and intake over a catalogue of N_VIDEOS; shared by a module's tests."""
    with running(worker=REAL_WORKER) as one:
        one.fill(videos())
        yield one
