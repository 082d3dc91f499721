"""`upnext experiment ...`: the commands and their options."""

from __future__ import annotations

from typing import Annotated

import typer

from upnext.cli.options import Config, Json, consoles

experiment_app = typer.Typer(
    help="Compare arms on live viewers: start, ramp, stop, report.", no_args_is_help=True
)


@experiment_app.command("start")
def experiment_start(
    name: Annotated[str, typer.Argument(help="A new name: a-z, 0-9, - and _.")],
    arm: Annotated[
        list[str],
        typer.Option(help="NAME:PERCENT of the layer's viewers; repeat it, the control first."),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="What an arm changes: ARM.surfaces.SURFACE.KEY=VALUE as in upnext.toml, or ARM.release=ID; repeat it.",
        ),
    ] = None,
    layer: Annotated[
        str, typer.Option(help="Experiments of one layer share no viewer; layers are independent.")
    ] = "default",
    surface: Annotated[
        list[str] | None,
        typer.Option(help="Where it runs; default: the surfaces that an arm changes, else all."),
    ] = None,
    interleave: Annotated[
        bool, typer.Option("--interleave", help="Two arms mixed on every page (team draft).")
    ] = False,
    two_sided: Annotated[
        bool,
        typer.Option(
            "--two-sided",
            help="Creators are in arms too: viewers of an arm see its creators alone, on every surface. Arms of equal shares.",
        ),
    ] = False,
    metric: Annotated[
        list[str] | None, typer.Option(help="What decides; repeat it. Default: value.")
    ] = None,
    guardrail: Annotated[
        list[str] | None,
        typer.Option(help="METRIC:MARGIN, a relative loss that is too much; repeat it."),
    ] = None,
    config: Config = None,
) -> None:
    """Assign viewers to arms from now on; running servers follow within seconds."""
    from upnext.cli.experiment import kind_of, run_start

    run_start(
        name, arm, set_ or [], layer=layer, surfaces=surface or [],
        kind=kind_of(interleave=interleave, two_sided=two_sided), judged=(metric or [], guardrail or []),
        config=config, out=consoles()[0],
    )  # fmt: skip


@experiment_app.command("ramp")
def experiment_ramp(
    name: Annotated[str, typer.Argument(help="A running experiment.")],
    percent: Annotated[float, typer.Argument(help="Of the layer's viewers, all arms together.")],
    config: Config = None,
) -> None:
    """Give a running experiment more viewers; who is in stays in the same arm."""
    from upnext.cli.experiment import run_ramp

    run_ramp(name, percent, config, consoles()[0])


@experiment_app.command("stop")
def experiment_stop(
    name: Annotated[str, typer.Argument(help="A running experiment.")], config: Config = None
) -> None:
    """End an experiment: everyone gets the base again."""
    from upnext.cli.experiment import run_stop

    run_stop(name, config, consoles()[0])


@experiment_app.command("list")
def experiment_list(config: Config = None, as_json: Json = False) -> None:
    """Every experiment with its arms, newest first."""
    from upnext.cli.experiment import run_list

    run_list(config, as_json, consoles()[0])


@experiment_app.command("report")
def experiment_report(
    name: Annotated[str, typer.Argument(help="From `upnext experiment list`.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """What an experiment shows so far; may be read at any moment."""
    from upnext.cli.experiment_report import run

    run(name, config, as_json, consoles()[0])
