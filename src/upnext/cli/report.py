"""`upnext report`: one page with what changed between two releases, when, and for whom; the same figures as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich.console import Console

from upnext.artifacts.manifest import Manifest
from upnext.cli.opened import readers
from upnext.cli.progress import RichProgress
from upnext.core.errors import InvalidInput, Unavailable, expected
from upnext.evaluate.online import Span
from upnext.evaluate.report_log import counted, served_releases
from upnext.evaluate.report_page import Pair, report_document
from upnext.evaluate.split import instant_us
from upnext.settings.settings import load

N_CANDIDATES: Final = 6  # the latest releases, of which two are compared


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    page: Path
    compare: tuple[str, str] | None = None
    since: str | None = None
    until: str | None = None
    json_file: Path | None = None
    offline: bool = False
    time_zone: str = "UTC"
    config: Path | None = None


def run(asked: Asked, out: Console, err: Console) -> None:
    """Writes the page, and the JSON where asked for; prints the summary."""
    from upnext.dashboard.report import report_html
    from upnext.dashboard.report_plots import check_plots

    check_plots()
    settings = load(asked.config)
    view, log, releases = readers(settings)
    since_us = instant_us(asked.since) if asked.since else 0
    until_us = instant_us(asked.until) if asked.until else None
    span = Span(since_us, until_us, asked.time_zone)
    if asked.compare is not None and asked.compare[0] == asked.compare[1]:
        raise expected("report: --compare", "two different releases", asked.compare[0])
    manifests = [releases.open(i, verify=False).manifest for i in asked.compare or ()]
    candidates = manifests or releases.list()[-N_CANDIDATES:]
    names = [manifest.release_id for manifest in candidates]
    counts = counted(log, view, span, RichProgress(err), releases=names)
    if counts is None:
        raise InvalidInput("report: nothing was shown in this span")
    pair = _pair(candidates, served_releases(counts))
    if asked.offline:
        from upnext.cli.report_offline import Bench, offline_table

        if pair is None:
            raise InvalidInput("report: --offline: there are no two releases to compare")
        bench = Bench(settings, view, log, releases, span.until_us)
        table = offline_table(bench, pair.before, pair.after, RichProgress(err))
        pair = replace(pair, offline=table)
    document = report_document(counts, pair)
    texts = [(asked.page, report_html(document))]
    if asked.json_file is not None:
        texts.append(
            (asked.json_file, json.dumps(document.to_json(), indent=1, allow_nan=False) + "\n")
        )
    for file, text in texts:
        _write(file, text)
        err.print(f"wrote {file}, {len(text.encode()) / 1024:,.0f} KiB", highlight=False)
    for part in document.summary:
        out.print(part.title, style="bold", highlight=False)
        for line in part.lines:
            out.print(f"  {line}", highlight=False, soft_wrap=True)
        if part.note:
            out.print(f"  {part.note}", style="dim", highlight=False, soft_wrap=True)


def _pair(candidates: Sequence[Manifest], served: Mapping[str, float]) -> Pair | None:
    """The two releases asked for; else the latest two of those that served, filled up with the latest."""
    if len(candidates) < 2:
        return None
    wanted = sorted(candidates, key=lambda m: (m.release_id in served, m.created_us))[-2:]
    if len(candidates) == 2:
        wanted = list(candidates)
    else:
        wanted.sort(key=lambda manifest: manifest.created_us)
    return Pair(wanted[0], wanted[1])


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise Unavailable(f"report: {file}: {error.strerror or error}") from error
