"""What the demo's settings are beside the defaults."""

from __future__ import annotations

from pathlib import Path

from upnext.cli.demo import demo_settings
from upnext.settings.settings import Settings, load


def test_the_demo_has_the_defaults_without_the_rankers_trees(tmp_path: Path) -> None:
    (tmp_path / "upnext.toml").write_text(demo_settings())
    given, ours = load(tmp_path / "upnext.toml").model_dump(), Settings().model_dump()
    assert given["ranking"].pop("teacher_share") == 0.0
    assert ours["ranking"].pop("teacher_share") == 0.5
    assert given == ours
