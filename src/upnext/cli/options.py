"""What the commands share: options, and where they print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from upnext.core.errors import InvalidInput

PIPE_WIDTH = 240
Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="upnext.toml; default: ./upnext.toml")
]
Until = Annotated[
    str | None, typer.Option(help="Learn from events before this instant (ISO with offset).")
]
FineTune = Annotated[
    bool,
    typer.Option(
        "--fine-tune", help="The current release's generators go on with what came since."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def consoles() -> tuple[Console, Console]:
    """Where results go (stdout) and where progress goes (stderr); a pipe or a file gets wide lines instead of cut columns."""
    out, err = Console(), Console(stderr=True)
    return (
        out if out.is_terminal else Console(width=PIPE_WIDTH),
        err if err.is_terminal else Console(stderr=True, soft_wrap=True),
    )


def refuse(mode: str, given: dict[str, bool]) -> None:
    """Raises InvalidInput for an option that has no effect in this mode of a command."""
    for option, is_given in given.items():
        if is_given:
            raise InvalidInput(f"{mode}: {option} has no effect there; leave it out")
