"""`upnext weights ...`: the commands and their options."""

from __future__ import annotations

from typing import Annotated

import typer

from upnext.cli.options import Config, Json, consoles

weights_app = typer.Typer(
    help="What a video's value is made of, per surface: show, set, reset, try.",
    no_args_is_help=True,
)
Surface = Annotated[str, typer.Argument(help="A surface of the settings: home, shorts, upnext ...")]
Weights = Annotated[
    list[str], typer.Argument(help="TASK=NUMBER; repeat it. dislike and skip weigh at most 0.")
]
Note = Annotated[str, typer.Option(help="Why; kept in the history.")]


@weights_app.command("show")
def weights_show(config: Config = None, as_json: Json = False) -> None:
    """Each surface's weights, those of the settings and those in force."""
    from upnext.cli.weights import run_show

    run_show(config, as_json, consoles()[0])


@weights_app.command("set")
def weights_set(surface: Surface, weights: Weights, note: Note = "", config: Config = None) -> None:
    """Put weights in force over those of the settings; running servers follow within a second."""
    from upnext.cli.weights import run_set

    run_set(surface, weights, note, config, consoles()[0])


@weights_app.command("reset")
def weights_reset(surface: Surface, note: Note = "", config: Config = None) -> None:
    """Put the weights of the settings in force again."""
    from upnext.cli.weights import run_reset

    run_reset(surface, note, config, consoles()[0])


@weights_app.command("try")
def weights_try(
    surface: Surface,
    weights: Weights,
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Requests from this instant (ISO with offset); default: the log's last day.",
        ),
    ] = None,
    pages: Annotated[int, typer.Option(min=1, help="At most so many.")] = 500,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """What other weights would do to the pages of a replay of the log; nothing comes in force."""
    from upnext.cli.weights import run_try

    run_try(surface, weights, since, pages, config, as_json, *consoles())
