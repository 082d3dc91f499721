"""Commands without data, with wrong settings or wrong arguments: one line that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import one_error_line, upnext

BEFORE_IMPORT = [
    ("train",), ("evaluate",), ("recommend", "ann"), ("recommend", "ann", "--explain"),
    ("release", "rollback"), ("release", "promote", "20260101-000000-000000"), ("train", "--resume"),
]  # fmt: skip


@pytest.mark.parametrize("command", BEFORE_IMPORT, ids=" ".join)
def test_a_command_without_data_says_so_inone_error_line(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    config = tmp_path / "upnext.toml"
    config.write_text("", "utf-8")
    one_error_line(upnext(*command, "--config", config))
    assert not (tmp_path / "upnext-data").exists()


WITH_CONFIG = [
    ("import", "mapping.toml"), ("train",), ("evaluate",), ("recommend", "ann"), ("release", "list"),
    ("release", "rollback"), ("release", "promote", "x"), ("serve",),
]  # fmt: skip


@pytest.mark.parametrize("command", WITH_CONFIG, ids=" ".join)
def test_a_missing_or_wrong_settings_file_isone_error_line(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    missing = one_error_line(upnext(*command, "--config", tmp_path / "none.toml"))
    assert "none.toml" in missing
    assert "upnext init" in missing
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[serve]\nprot = 1\n", "utf-8")
    assert "did you mean 'port'" in one_error_line(upnext(*command, "--config", wrong))
    wrong.write_text("[serve\n", "utf-8")
    assert "not TOML" in one_error_line(upnext(*command, "--config", wrong))


@pytest.mark.parametrize(
    "command",
    [("validate", "nope.toml"), ("validate", "."), ("simulate", "x", "--viewers", "0"),
     ("simulate", "--world", "easi"), ("simulate", "--policy", "best"), ("simulate", "--days", "2", "--videos", "0")],
)  # fmt: skip
def test_commands_without_settings_fail_in_one_line_too(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = one_error_line(upnext(*command))
    assert command[-1] in said or "viewer" in said
