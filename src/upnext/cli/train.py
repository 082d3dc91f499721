"""`upnext train`."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from upnext.cli.opened import readers
from upnext.cli.progress import RichProgress
from upnext.core.errors import InvalidInput
from upnext.evaluate.split import instant_us
from upnext.learn.off_policy_gate import told
from upnext.settings.settings import load


def run(
    until: str | None,
    fine_tune: bool,
    resume: bool,
    force: bool,
    config: Path | None,
    as_json: bool,
    out: Console,
    err: Console,
) -> None:
    """Trains, judges and publishes; exits with 3 when the gate refuses."""
    settings = load(config)
    view, log, releases = readers(settings)
    try:
        from upnext.learn.fine_tune import FineTuning
        from upnext.learn.train import Training
    except ImportError as error:
        raise InvalidInput(
            f"training needs the train extra: pip install 'upnext[train]' ({error})"
        ) from error
    kind = FineTuning if fine_tune else Training
    job = kind(settings, view, log, releases, RichProgress(err))
    report = job.run(instant_us(until) if until else None, resume=resume, force=force)
    judgement = report.judgement
    if as_json:
        said = {
            "release_id": report.release_id,
            "gate": judgement.to_json(),
            "metrics": dict(report.metrics),
            "notes": list(report.notes),
        }
        out.print_json(json.dumps(said))
    else:
        for note in report.notes:
            out.print(f"note: {note}", highlight=False)
        figures = ", ".join(f"{k} {v:.4g}" for k, v in judgement.metrics.items())
        out.print(
            f"gate: {judgement.word}, against {judgement.against}: {figures}", highlight=False
        )
        if judgement.off_policy:
            word = escape(told(judgement.off_policy))
            out.print(f"gate: off-policy value: {word}", highlight=False)
        for reason in judgement.reasons:
            out.print(f"gate: {reason}", highlight=False)
        if report.release_id is not None:
            out.print(f"published and promoted: release {report.release_id}", highlight=False)
    if report.release_id is None:
        option = " --fine-tune" if fine_tune else ""
        err.print(
            f"the gate refused this release; `upnext train{option} --resume --force` publishes it"
        )
        raise SystemExit(3)
