"""A platform with a small release, trained once, and a copy of it for each test that changes something."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "learn"))

from learn_world import platform, tables_of, train

from upnext.catalog.store import Catalog
from upnext.settings.settings import Settings


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A platform with a small release."""
    settings = platform(tables_of(40, 90, days=3), tmp_path_factory.mktemp("trained"))
    assert train(settings, None).release_id is not None
    return settings


@pytest.fixture
def settings(trained: Settings, tmp_path: Path) -> Settings:
    """A copy of it to change."""
    shutil.copytree(trained.folder, tmp_path / "copy")
    return trained.model_copy(
        update={"root": tmp_path, "data": trained.data.model_copy(update={"folder": "copy"})}
    )


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    one = Catalog(settings.catalog_path)
    yield one
    one.close()
