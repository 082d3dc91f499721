"""`upnext bench`: what is measured on this machine, each benchmark in a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upnext.cli.options import Config, Json, consoles

bench_app = typer.Typer(help="Measure on this machine.", no_args_is_help=True)


@bench_app.command("worlds")
def bench_worlds(
    viewers: Annotated[int, typer.Option(help="Viewers of each world.")] = 1_000,
    videos: Annotated[int, typer.Option(help="Videos of each world.")] = 10_000,
    days: Annotated[int, typer.Option(min=1, help="Days of each world.")] = 11,
    seed: Annotated[int, typer.Option(help="Of every world.")] = 0,
    as_json: Json = False,
) -> None:
    """Marginals of every named world beside those of a real log, with distances."""
    from upnext.cli.bench_worlds import run

    run(viewers, videos, days, seed, as_json, *consoles())


@bench_app.command("serve")
def bench_serve(
    videos: Annotated[int, typer.Option(min=1_000, help="Synthetic videos.")] = 1_000_000,
    rate: Annotated[float, typer.Option(help="Requests a second, Poisson.")] = 60.0,
    seconds: Annotated[float, typer.Option(help="Length of the measured run.")] = 30.0,
    workers: Annotated[int, typer.Option(help="Worker processes.")] = 2,
    folder: Annotated[
        Path | None, typer.Option(help="Keep the synthetic system here and use it again.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The whole home request under open-loop load, beside its kernels alone."""
    from upnext.cli.bench_serve import run

    run(videos, rate, seconds, workers, folder, as_json, *consoles())


@bench_app.command("off-policy")
def bench_off_policy(
    replications: Annotated[int, typer.Option(min=2, help="Logs drawn of each world.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Same seed, same logs.")] = 0,
    as_json: Json = False,
) -> None:
    """Bias and coverage of every off-policy estimator on three worlds with known truth."""
    from upnext.cli.bench_off_policy import run

    run(replications, seed, as_json, *consoles())


@bench_app.command("open-bandit")
def bench_open_bandit(
    folder: Annotated[
        Path, typer.Argument(help="Of the data set: random/CAMPAIGN/CAMPAIGN.csv and bts/...")
    ],
    reward_model: Annotated[str, typer.Option(help="tabular, logistic or boosting.")] = "tabular",
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    as_json: Json = False,
) -> None:
    """Each policy of the Open Bandit Dataset valued from the other's log, against what it earned."""
    from upnext.cli.bench_open_bandit import run

    run(folder, reward_model, level, as_json, consoles()[0])


@bench_app.command("interference")
def bench_interference(
    viewers: Annotated[int, typer.Option(help="Viewers of a market.")] = 8_000,
    creators: Annotated[int, typer.Option(help="Creators of a market.")] = 8_000,
    days: Annotated[int, typer.Option(min=1, help="Days of the tests.")] = 20,
    seeds: Annotated[int, typer.Option(min=1, help="Markets, of seeds 0, 1 and so on.")] = 5,
    as_json: Json = False,
) -> None:
    """Markets where helping some creators costs others: the true effect beside what three A/B tests say."""
    from upnext.cli.bench_interference import run

    run(viewers, creators, days, seeds, as_json, *consoles())


@bench_app.command("factorisation")
def bench_factorisation(
    folder: Annotated[Path, typer.Argument(help="Holds ml-1m.txt or ml-1m.txt.gz.")],
    factors: Annotated[str, typer.Option(help="Numbers of factors.")] = "64,128,256",
    iterations: Annotated[int, typer.Option(min=2, help="Of each library.")] = 10,
    threads: Annotated[int, typer.Option(min=1, help="Of each library.")] = 2,
    as_json: Json = False,
) -> None:
    """Seconds an iteration of alternating least squares on ML-1M beside `implicit`, at equal quality."""
    from upnext.cli.bench_factorisation import run

    run(folder, factors, iterations, threads, as_json, consoles()[0])


@bench_app.command("evaluate")
def bench_evaluate(
    users: Annotated[int, typer.Option(min=100, help="Synthetic viewers.")] = 100_000,
    videos: Annotated[int, typer.Option(min=2_000, help="Synthetic videos.")] = 1_000_000,
    size: Annotated[int, typer.Option(min=2, help="Numbers in a vector.")] = 64,
    as_json: Json = False,
) -> None:
    """Every metric over the full, exact ranking of all videos for all viewers, with time and memory."""
    from upnext.cli.bench_evaluate import run

    run(users, videos, size, as_json, *consoles())


@bench_app.command("fine-tuning")
def bench_fine_tuning(
    until: Annotated[
        str | None,
        typer.Option(help="End of what is judged (ISO with offset); default: the log's."),
    ] = None,
    hours: Annotated[
        float, typer.Option(min=0.01, help="Length of what is judged, and of the tail before it.")
    ] = 24.0,
    generators: Annotated[
        str, typer.Option(help="Names with commas between them; default: all that are trained.")
    ] = "",
    viewers: Annotated[int, typer.Option(min=0, help="Only so many, drawn; 0: all.")] = 0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Each generator stale, fine-tuned on the newest showings alone, and trained anew: cost and recall, on your own log."""
    from upnext.cli.bench_fine_tuning import Asked, run
    from upnext.cli.studied_log import Cut

    run(Asked(Cut(until, hours, viewers), generators, config, as_json), *consoles())


@bench_app.command("ablation")
def bench_ablation(
    generator: Annotated[str, typer.Argument(help="two_tower, factorisation, sequence ...")],
    variant: Annotated[
        list[str] | None,
        typer.Option(help='"label: setting=value ..."; generator=NAME changes that. Many.'),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(help="End of what is judged (ISO with offset); default: the log's."),
    ] = None,
    hours: Annotated[float, typer.Option(min=0.01, help="Length of what is judged.")] = 24.0,
    viewers: Annotated[int, typer.Option(min=0, help="Only so many, drawn; 0: all.")] = 0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """What each part of a generator adds on your own log: trained as set and in variants, the differences paired."""
    from upnext.cli.bench_ablation import Asked, run
    from upnext.cli.studied_log import Cut

    cut = Cut(until, hours, viewers)
    run(Asked(generator, tuple(variant or ()), cut, config, as_json), *consoles())


@bench_app.command("new-videos")
def bench_new_videos(
    since: Annotated[
        str, typer.Option("--from", help="Judge on what was shown from here on (ISO with offset).")
    ],
    until: Annotated[str | None, typer.Option(help="... and before this one.")] = None,
    hours: Annotated[
        str, typer.Option(help="First viewers of so many hours are known, with commas between.")
    ] = "1,6,24",
    share: Annotated[float, typer.Option(min=0.01, max=0.9, help="Of the videos, held out.")] = 0.2,
    users: Annotated[int, typer.Option(min=1, help="At most this many viewers, drawn.")] = 20_000,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Videos that a two-tower network was not trained on: recall by content, creator, first viewers, and the blend."""
    from upnext.cli.bench_new_videos import Asked, run

    run(Asked(since, until, hours, share, users, config, as_json), *consoles())


@bench_app.command("retrieval")
def bench_retrieval(
    videos: Annotated[int, typer.Option(min=10_000, help="Made-up videos.")] = 1_000_000,
    vectors: Annotated[
        str, typer.Option(help="int16, int8 or int4; auto: int8 from 5 million videos on.")
    ] = "auto",
    size: Annotated[int, typer.Option(min=2, help="Numbers in a vector.")] = 64,
    seed: Annotated[int, typer.Option(help="Same seed, same vectors.")] = 0,
    folder: Annotated[
        Path | None, typer.Option(help="Keep vectors and index here and use them again.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Recall, time and memory of the vector index under filters, beside exact search and plain FAISS."""
    from upnext.cli.bench_retrieval import Task, kind_of, run

    run(Task("", videos, size, kind_of(vectors, videos), seed), folder, as_json, consoles()[0])


@bench_app.command("experiments")
def bench_experiments(
    replications: Annotated[
        int, typer.Option(min=100, help="Made-up experiments per line of the first table.")
    ] = 1_000,
    seed: Annotated[int, typer.Option(help="Same seed, same figures.")] = 0,
    as_json: Json = False,
) -> None:
    """False alarms and power of the experiments' tests, with peeking and without; interleaving beside A/B."""
    from upnext.cli.bench_experiments import run

    run(replications, seed, as_json, consoles()[0])


@bench_app.command("sources")
def bench_sources(
    videos: Annotated[int, typer.Option(min=10_000, help="Made-up videos.")] = 1_000_000,
    history: Annotated[int, typer.Option(min=1, help="Showings in each viewer's history.")] = 200,
    requests: Annotated[
        int, typer.Option(min=100, help="Requests, each of another viewer.")
    ] = 2_000,
    k: Annotated[int, typer.Option("--k", min=1, help="Candidates asked of each source.")] = 300,
    seed: Annotated[int, typer.Option(help="Same seed, same world and viewers.")] = 0,
    as_json: Json = False,
) -> None:
    """Milliseconds that each candidate source without a network takes, beside the bound of 0.3."""
    from upnext.cli.bench_sources import run

    run(videos, history, requests, k, seed, as_json, *consoles())


@bench_app.command("interests")
def bench_interests(
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="The instant (ISO with offset); default: where the data of the release end.",
        ),
    ] = None,
    release: Annotated[
        str | None, typer.Option(help="A release id; default: the current one.")
    ] = None,
    users: Annotated[int, typer.Option(help="At most this many viewers, drawn at random.")] = 2_000,
    k: Annotated[int, typer.Option("--k", min=1, help="Videos of a list.")] = 100,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Recall and coverage of one and of several query vectors per viewer, on the platform's own log."""
    from upnext.cli.bench_interests import Asked, run

    run(Asked(since, release, users, k, config, as_json), *consoles())


@bench_app.command("heads")
def bench_heads(
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Judge on what was shown from here on; default: where the data of the release end.",
        ),
    ] = None,
    until: Annotated[str | None, typer.Option(help="... and before this one.")] = None,
    release: Annotated[
        str | None, typer.Option(help="A release id; default: the current one.")
    ] = None,
    surface: Annotated[
        str | None, typer.Option(help="Learn and judge on showings of this surface alone.")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Every head of the ranker beside boosted trees (LightGBM) with the same columns: figures and paired differences."""
    from upnext.cli.bench_heads import Asked, run

    run(Asked(since, until, release, surface, config, as_json), *consoles())


@bench_app.command("sequence")
def bench_sequence(
    folder: Annotated[Path, typer.Argument(help="Holds ml-1m.txt.gz.")],
    work: Annotated[Path, typer.Option(help="Checkpoints and the best weights.")] = Path(
        "bench-sequence"
    ),
    resume: Annotated[bool, typer.Option(help="Go on with the run of the folder.")] = False,
    minutes: Annotated[float, typer.Option(help="Stop after so many, to be resumed.")] = 1e9,
    patience: Annotated[int, typer.Option(min=1, help="Epochs without a better one.")] = 8,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the model: layer=sasrec.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The sequence model on MovieLens-1M as the papers measure it: the last item of every user, unsampled."""
    from upnext.cli.bench_sequence import Limits, ml_1m_config, run

    config = ml_1m_config(settings or [])
    run(folder, work, config, Limits(resume, patience, minutes), as_json, *consoles())


@bench_app.command("rewards")
def bench_rewards(
    world: Annotated[
        str, typer.Option(help="A named world, see `upnext simulate --list`.")
    ] = "clickbait",
    viewers: Annotated[int, typer.Option(help="Viewers of the log.")] = 8_000,
    videos: Annotated[int, typer.Option(help="Videos of the world.")] = 300,
    days: Annotated[
        int,
        typer.Option(min=2, help="Days of the log, and of the pages that each generator fills."),
    ] = 7,
    seeds: Annotated[int, typer.Option(help="Worlds, of seeds 0, 1 and so on.")] = 3,
    as_json: Json = False,
) -> None:
    """Generators trained on one log by immediate, delayed and incremental rewards, each with fresh viewers."""
    from upnext.cli.bench_rewards import run
    from upnext.simulate.reward_study import Plan

    plan = Plan(world, videos, viewers, days, days=days)
    run(plan, seeds, as_json, *consoles())


@bench_app.command("corrections")
def bench_corrections(
    world: Annotated[
        str, typer.Option(help="A named world, see `upnext simulate --list`.")
    ] = "everyday",
    viewers: Annotated[int, typer.Option(help="Viewers of the log.")] = 4_000,
    videos: Annotated[int, typer.Option(help="Videos of the world.")] = 60,
    strength: Annotated[
        float, typer.Option(min=0.0, help="How skewed the log is; 0: slots filled by chance.")
    ] = 1.5,
    seeds: Annotated[int, typer.Option(help="Worlds, of seeds 0, 1 and so on.")] = 3,
    as_json: Json = False,
) -> None:
    """A skewed log of a world with known truth: what policies trained with and without propensities are worth."""
    from upnext.cli.bench_corrections import run
    from upnext.simulate.correction_study import Plan

    run(Plan(world, videos, viewers, strength=strength), seeds, as_json, *consoles())
