"""`upnext`: every command, each in a file of its own and imported only when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from upnext.cli.bench_app import bench_app
from upnext.cli.experiment_app import experiment_app
from upnext.cli.options import Config, FineTune, Json, Until, consoles, refuse
from upnext.cli.premium_app import premium_curve
from upnext.cli.release_app import release_app
from upnext.cli.weights_app import weights_app
from upnext.core.errors import UpNextError

app = typer.Typer(
    name="upnext",
    help="An open-source video recommender: import, train, serve, evaluate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(release_app, name="release")
app.add_typer(experiment_app, name="experiment")
app.add_typer(weights_app, name="weights")
app.add_typer(bench_app, name="bench")
app.command("premium-curve")(premium_curve)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write upnext.toml.")] = Path("."),
    force: Annotated[bool, typer.Option(help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented upnext.toml with every setting, and its JSON schema."""
    from upnext.cli.init import run

    run(folder, force=force, out=consoles()[0])


@app.command("import")
def import_(
    source: Annotated[
        Path, typer.Argument(help="A mapping file (TOML), or with --layout a folder.")
    ],
    layout: Annotated[
        str | None, typer.Option(help="A public layout instead of a mapping: kuairand, movielens.")
    ] = None,
    max_bad_share: Annotated[
        float, typer.Option(help="Refuse when more than this share of a table's rows is bad.")
    ] = 0.01,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Bring tables in: CSV, JSONL or Parquet with a mapping. Running it again adds nothing."""
    from upnext.cli.data import run_import

    run_import(source, layout, max_bad_share, config, as_json, *consoles())


@app.command()
def validate(
    source: Annotated[
        Path, typer.Argument(help="A mapping file (TOML), or with --layout a folder.")
    ],
    layout: Annotated[str | None, typer.Option(help="kuairand or movielens.")] = None,
    as_json: Json = False,
) -> None:
    """The data doctor: read everything, write nothing, say what is wrong and where."""
    from upnext.cli.data import run_validate

    run_validate(source, layout, as_json, *consoles())


@app.command()
def train(
    until: Until = None,
    fine_tune: FineTune = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a killed training.")] = False,
    force: Annotated[bool, typer.Option(help="Publish even if the gate refuses.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """From log to release: learn, judge at the gate, publish."""
    from upnext.cli.train import run

    run(until, fine_tune, resume, force, config, as_json, *consoles())


@app.command()
def evaluate(
    since: Annotated[
        str | None,
        typer.Option(
            "--from", help="Judge on what was shown from this instant on (ISO with offset)."
        ),
    ] = None,
    until: Annotated[str | None, typer.Option(help="... and before this one.")] = None,
    release: Annotated[
        str | None, typer.Option(help="A release id; default: the current one.")
    ] = None,
    users: Annotated[
        int, typer.Option(help="At most this many viewers, drawn at random.")
    ] = 20_000,
    split: Annotated[
        Literal["time", "last", "both"] | None,
        typer.Option(
            help="Split at an instant (the default), leave-last-out, or one after the other."
        ),
    ] = None,
    target: Annotated[
        Literal["all", "first", "last", "successive"] | None,
        typer.Option(help="What of the time split's window is to be found; default: all."),
    ] = None,
    save_split: Annotated[
        Path | None, typer.Option(help="Write the split to this Parquet file, and nothing else.")
    ] = None,
    split_file: Annotated[
        Path | None, typer.Option(help="Judge on the split of such a file; refused on other data.")
    ] = None,
    export_rows: Annotated[
        Path | None, typer.Option(help="Only write what may be learned from, to this folder.")
    ] = None,
    lists: Annotated[
        list[Path] | None, typer.Option(help="Others' lists as more rows: Parquet, or a folder.")
    ] = None,
    baseline: Annotated[
        str, typer.Option(help="The row that all others are compared with.")
    ] = "popular_7d",
    segments: Annotated[
        bool, typer.Option("--segments", help="Print the segments' tables too.")
    ] = False,
    audit: Annotated[
        bool, typer.Option("--audit", help="Only say what is to be known of the data itself.")
    ] = False,
    upnext: Annotated[
        bool, typer.Option("--upnext", help="Only whether up-next lists suit what is watched.")
    ] = False,
    log: Annotated[
        Path | None,
        typer.Option(
            help="slates: our own log, for --policy; or a mapping file (TOML) of logged draws: value its target policy."
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="current, new or a release id: what it would have earned on the pages that were logged."
        ),
    ] = None,
    pages: Annotated[
        int, typer.Option(help="With --policy: at most this many pages, drawn at random.")
    ] = 20_000,
    reward_model: Annotated[
        str, typer.Option(help="With --log: tabular, logistic or boosting.")
    ] = "tabular",
    level: Annotated[float, typer.Option(help="With --log: of the intervals.")] = 0.95,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Measure generators, merged candidates, the ranked list and every ranker head; or, with --policy or --log, another policy."""
    of_lists = {
        "--release": release is not None, "--users": users != 20_000, "--split": split is not None,
        "--target": target is not None, "--save-split": save_split is not None,
        "--split-file": split_file is not None, "--segments": segments, "--audit": audit,
        "--export-rows": export_rows is not None, "--lists": bool(lists), "--baseline": baseline != "popular_7d",
        "--upnext": upnext,
    }  # fmt: skip
    of_tables = {"--reward-model": reward_model != "tabular", "--level": level != 0.95}
    window = {"--from": since is not None, "--until": until is not None}
    if policy is not None or log == Path("slates"):
        refuse("evaluate --policy", {**of_lists, **of_tables})
        from upnext.cli.evaluate_policy import run as run_policy

        run_policy(policy or "new", log, since, until, pages, config, as_json, *consoles())
        return
    of_pages = {"--pages": pages != 20_000}
    if log is not None:
        refuse("evaluate --log MAPPING", {**of_lists, **window, **of_pages})
        from upnext.cli.off_policy import run as run_off_policy

        run_off_policy(log, reward_model, level, as_json, consoles()[0])
        return
    refuse("evaluate without --log", {**of_tables, **of_pages})
    if upnext:
        del of_lists["--release"], of_lists["--users"], of_lists["--upnext"]
        refuse("evaluate --upnext", {**of_lists, "--until": until is not None})
        from upnext.cli.evaluate_upnext import run as run_upnext

        run_upnext(since, release, users, config, as_json, *consoles())
        return
    from upnext.cli.evaluate import Asked, run

    asked = Asked(
        since, until, release, users, split, target, save_split, split_file, export_rows,
        tuple(lists or ()), baseline, segments, audit, config, as_json,
    )  # fmt: skip
    run(asked, *consoles())


@app.command()
def metrics(
    since: Annotated[
        str | None, typer.Option("--from", help="What was served from here on (ISO with offset).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="... and before this instant.")] = None,
    by: Annotated[
        str, typer.Option(help="Which groups: any of day,surface,release,arm; empty: one row.")
    ] = "day,surface,release,arm",
    time_zone: Annotated[
        str, typer.Option(help="Whose midnight parts the days (an IANA name).")
    ] = "UTC",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Clicks, watch time, likes, retention of what was served, from slates and events."""
    from upnext.cli.metrics import run

    run(since, until, by, time_zone, config, as_json, consoles())


@app.command()
def report(
    out: Annotated[Path, typer.Option(help="The HTML file to write.")],
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Two releases, before and after; default: the latest two that served."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="What was served from here on (ISO with offset).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="... and before this instant.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the same figures here, as JSON.")
    ] = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="Also compare both releases' lists on one window; takes minutes."
        ),
    ] = False,
    time_zone: Annotated[
        str, typer.Option(help="Whose midnight parts the days (an IANA name).")
    ] = "UTC",
    config: Config = None,
) -> None:
    """Write a page: what changed between two releases, seasonality, bias; with intervals."""
    from upnext.cli.report import Asked, run

    run(Asked(out, compare, since, until, json_file, offline, time_zone, config), *consoles())


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes.")] = None,
    config: Config = None,
) -> None:
    """Answer requests: a dispatcher, workers and the intake process, restarted when they die."""
    from upnext.cli.serve import run

    run(host, port, workers, config, consoles()[1])


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo lives.")] = Path("upnext-demo"),
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8900,
    viewers: Annotated[int, typer.Option(help="Viewers of the made-up platform.")] = 500,
    videos: Annotated[int, typer.Option(help="Videos of the made-up platform.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Of the made-up platform.")] = 0,
    once: Annotated[
        bool, typer.Option("--once", help="Build everything, print, don't serve.")
    ] = False,
) -> None:
    """A working platform with pages to look at: makes a world, imports, trains, serves."""
    from upnext.cli.demo import run

    run(folder, port, viewers, videos, seed, once, consoles()[1])


@app.command()
def simulate(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Where to write tables and mapping.toml; without it nothing is."),
    ] = None,
    world: Annotated[str, typer.Option(help="A named world, see --list.")] = "everyday",
    viewers: Annotated[int, typer.Option(help="Number of viewers.")] = 500,
    videos: Annotated[int, typer.Option(help="Number of videos.")] = 2_000,
    days: Annotated[int, typer.Option(min=1, help="Days of the platform's life.")] = 14,
    seed: Annotated[int, typer.Option(help="Same seed, same figures and tables.")] = 0,
    policy: Annotated[
        str,
        typer.Option(help="old, random, popular, greedy, watch, satisfaction or served."),
    ] = "old",
    listed: Annotated[bool, typer.Option("--list", help="Print the named worlds.")] = False,
    against: Annotated[
        str | None, typer.Option(help="A running server's URL: its pages, its log.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(help="With --against: a key with scopes read and write.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="With --against: pages a second at most.")
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            help="popularity,greedy,full: each through the real pipeline, kept in FOLDER."
        ),
    ] = None,
    past_days: Annotated[
        int | None,
        typer.Option(
            help="With --compare: days under the old policy that come before.", show_default="7"
        ),
    ] = None,
    train_every: Annotated[
        int | None,
        typer.Option(
            help="With --compare: days between trainings; 0: nothing is learned.",
            show_default="7",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Days of a made-up platform; with FOLDER its tables, ready for `upnext import FOLDER/mapping.toml`."""
    from upnext.cli.simulate import run_list, run_simulate

    if listed:
        run_list(as_json, consoles()[0])
        return
    of_against = {"--api-key": api_key is not None, "--rate": rate is not None}
    of_compare = {"--past-days": past_days is not None, "--train-every": train_every is not None}
    if against is not None:
        from upnext.cli.simulate_against import Visitors, run_against

        others = {"FOLDER": folder is not None, "--compare": compare is not None}
        refuse("simulate --against", {**others, "--policy": policy != "old", **of_compare})
        visitors = Visitors(world, viewers, videos, days, seed, api_key, rate)
        run_against(against, visitors, as_json, *consoles())
        return
    if compare is not None:
        from upnext.cli.simulate_compare import run_compare
        from upnext.simulate.comparison import Plan

        refuse("simulate --compare", {**of_against, "--policy": policy != "old"})
        plan = Plan(
            world, viewers, videos, days, 7 if past_days is None else past_days,
            7 if train_every is None else train_every, seed=seed,
        )  # fmt: skip
        run_compare(folder, compare, plan, as_json, *consoles())
        return
    refuse("simulate without --against", of_against)
    refuse("simulate without --compare", of_compare)
    size = (viewers, videos, days)
    run_simulate(world, size, seed, policy, folder, as_json, consoles())


@app.command()
def recommend(
    user: Annotated[str, typer.Argument(help="The viewer's id.")],
    surface: Annotated[str, typer.Option(help="home, shorts, upnext or your own.")] = "home",
    size: Annotated[int, typer.Option("--size", "-n", help="Slots of the page.")] = 10,
    video: Annotated[str | None, typer.Option(help="The video being watched, for upnext.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show where each slot comes from.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Print the page that a viewer would get now."""
    from upnext.cli.recommend import run

    run(user, surface, size, video, explain, config, as_json, consoles()[0])


def main() -> None:
    """Runs a command; a failure a person can act on is one clear line and exit code 2."""
    try:
        app()
    except UpNextError as error:
        Console(stderr=True).print(f"[red]error[/red]: {error}", highlight=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
