"""One small world for the room's tests."""

from __future__ import annotations

import pyarrow as pa
import pytest

from upnext.simulate.history import simulate_history
from upnext.simulate.world import World


@pytest.fixture(scope="session")
def world() -> World:
    return World.make(500, 2_000, seed=7)


@pytest.fixture(scope="session")
def history(world: World) -> dict[str, pa.Table]:
    return simulate_history(world, days=14)
