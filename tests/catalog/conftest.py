"""A new catalogue for every test."""

from __future__ import annotations

from pathlib import Path

import pytest

from upnext.catalog import Catalog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def catalog(path: Path) -> Catalog:
    return Catalog(path)
