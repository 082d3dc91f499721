"""upnext.toml as `upnext init` writes it: every key with its default and what it means.

`python -m upnext.settings.template > docs/settings.md` writes the page of the docs anew.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic import BaseModel

from upnext.pipeline.config import HttpSourceConfig
from upnext.settings.settings import ApiKey, Settings

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


PAGE = """# Settings

`upnext init` writes this file as `upnext.toml`, with a JSON schema beside it. Every command finds it by `--config`, else by the environment
variable `UPNEXT_CONFIG`, else as `./upnext.toml`; without any the defaults below hold. An unknown key is an error that names the nearest
known one. A surface given in part keeps our values for the rest; a new name under `surfaces` is a new surface that starts from `home`.
Paths are relative to the file. This page is made from the code: `python -m upnext.settings.template > docs/settings.md`.

```toml
"""

INSIDE = """```

Keys inside lists and tables that are empty by default:

"""


def page() -> str:
    """docs/settings.md."""
    lines = []
    for where, model in (
        ("serve.api_keys", ApiKey),
        ("pipeline.http_sources.NAME", HttpSourceConfig),
    ):
        for key, field in model.model_fields.items():
            default = "required" if field.is_required() else toml_value(field.default)
            lines.append(f"- `{where}.{key}` ({default}): {field.description}")
    return PAGE + render() + INSIDE + "\n".join(lines) + "\n"


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


if __name__ == "__main__":
    sys.stdout.write(page())
