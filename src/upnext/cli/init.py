"""`upnext init`: the commented settings file and its JSON schema."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from upnext.core.errors import InvalidInput
from upnext.settings.settings import CONFIG_NAME, Settings
from upnext.settings.template import render


def run(folder: Path, *, force: bool, out: Console) -> None:
    """Writes upnext.toml and upnext.schema.json into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CONFIG_NAME
    if path.exists() and not force:
        raise InvalidInput(f"{path} exists; --force overwrites it")
    path.write_text(render(), "utf-8")
    schema = folder / "upnext.schema.json"
    schema.write_text(json.dumps(Settings.model_json_schema(), indent=1) + "\n", "utf-8")
    out.print(f"wrote {path} and {schema}", highlight=False)
    out.print("next: upnext import mapping.toml; upnext train; upnext serve", highlight=False)
