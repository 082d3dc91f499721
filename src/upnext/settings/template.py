"""upnext.toml as `upnext init` writes it: every key with its default and what it means."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from upnext.settings.settings import Settings

HEADER = "# UpNext settings. Every key is here with its default; a line that starts with '#' may be uncommented and changed."


def render() -> str:
    """The commented file; reading it gives the defaults."""
    lines = [HEADER]
    defaults = Settings()
    for name in Settings.model_fields:
        value = getattr(defaults, name)
        if isinstance(value, BaseModel):
            _table(name, value, lines)
        elif isinstance(value, dict):
            for key, entry in value.items():
                _table(f"{name}.{key}", entry, lines)
    return "\n".join(lines) + "\n"


def _table(name: str, value: BaseModel, lines: list[str]) -> None:
    story = (type(value).__doc__ or "").strip().splitlines()
    lines += ["", f"[{name}]" + (f"  # {story[0]}" if story else "")]
    below: list[tuple[str, BaseModel]] = []
    for key, field in type(value).model_fields.items():
        entry = getattr(value, key)
        if isinstance(entry, BaseModel):
            below.append((f"{name}.{key}", entry))
            continue
        if field.description:
            lines.append(f"# {field.description}")
        lines.append(f"{key} = {toml_value(entry)}" if entry is not None else f"# {key} = (unset)")
    for table, entry in below:
        _table(table, entry, lines)


def toml_value(value: Any) -> str:
    """A value as TOML writes it inline."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, BaseModel):
        return toml_value(value.model_dump())
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(str(k))} = {toml_value(v)}" for k, v in value.items())
            + "}"
        )
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    return str(value)
