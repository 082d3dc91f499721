"""`upnext evaluate --policy`: from a log of slates to what a release would have earned, and one clear line where it can't."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from upnext.cli.main import main
from upnext.settings.settings import CONFIG_NAME


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / CONFIG_NAME).write_text("", "utf-8")
    return tmp_path / CONFIG_NAME


def asked(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["upnext", "evaluate", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--policy", "new"], "run `upnext import` first"),
        (["--log", "slates"], "run `upnext import` first"),
        (["--policy", "new", "--log", "other.toml"], "expected --log slates, got 'other.toml'"),
        (["--policy", "new", "--pages", "0"], "--pages: expected at least 1, got 0"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    assert asked(monkeypatch, *words, "--config", str(config)) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert said in line
