"""`upnext release`: the commands of releases; what they do is in release.py."""

from __future__ import annotations

from typing import Annotated

import typer

from upnext.cli.options import Config, Json, consoles

release_app = typer.Typer(help="List, promote and roll back releases.", no_args_is_help=True)


@release_app.command("list")
def release_list(config: Config = None, as_json: Json = False) -> None:
    """Every release with its data window and metrics, the current one marked."""
    from upnext.cli.release import run_list

    run_list(config, as_json, consoles()[0])


@release_app.command("promote")
def release_promote(
    release_id: Annotated[str, typer.Argument(help="From `upnext release list`.")],
    config: Config = None,
) -> None:
    """Make a release the current one; running workers swap to it."""
    from upnext.cli.release import run_promote

    run_promote(release_id, config, consoles()[0])


@release_app.command("rollback")
def release_rollback(config: Config = None) -> None:
    """Go back to the release that was current before."""
    from upnext.cli.release import run_rollback

    run_rollback(config, consoles()[0])
