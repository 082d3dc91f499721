"""`upnext premium-curve` as the command line names it; what it does is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upnext.cli.options import Config, Json, consoles


def premium_curve(
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Trains on what is before, judges what comes after; default: the last day.",
        ),
    ] = None,
    until: Annotated[str | None, typer.Option(help="... and before this instant.")] = None,
    weights: Annotated[
        str, typer.Option(help="Premium weights: a premium video's reward is times 1 + weight.")
    ] = "0,0.5,1,2,4",
    at: Annotated[int, typer.Option(help="Recall and share in the first so many.")] = 100,
    users: Annotated[int, typer.Option(help="Viewers judged at most.")] = 20_000,
    premium_tag: Annotated[
        list[str] | None, typer.Option(help="These tags' videos are premium, repeatable.")
    ] = None,
    premium_creator: Annotated[
        list[str] | None, typer.Option(help="These creators' videos are premium, repeatable.")
    ] = None,
    premium_share: Annotated[
        float | None, typer.Option(help="Or: such a share of the creators, drawn by chance.")
    ] = None,
    seed: Annotated[int, typer.Option(help="With --premium-share: of that draw.")] = 0,
    out: Annotated[
        Path, typer.Option(help="Gets curve.png and curve.json; weights done there are kept.")
    ] = Path("premium-curve"),
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Recall against the share of premium videos in the lists, one training per premium weight."""
    from upnext.cli.premium_curve import Asked, Premium, run

    premium = Premium(premium_tag or (), premium_creator or (), premium_share, seed)
    asked = Asked(since, until, weights, at, users, premium, out, config, as_json)
    run(asked, *consoles())
