"""`upnext serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from upnext.serve.log_lines import log_as_json
from upnext.serve.supervisor import run as run_supervisor
from upnext.settings.settings import Settings, load

WORKER: Final = (sys.executable, "-m", "upnext.cli.worker")


def run(
    host: str | None, port: int | None, workers: int | None, config: Path | None, err: Console
) -> None:
    """Serves until it is told to stop; prints the URL once every worker is ready."""
    given: dict[str, Any] = {"host": host, "port": port, "workers": workers}
    settings = load(config)
    serve = settings.serve.model_copy(update={k: v for k, v in given.items() if v is not None})
    run_settings(settings.model_copy(update={"serve": serve}), err)


def run_settings(settings: Settings, err: Console) -> None:
    """The same with settings at hand."""
    log_as_json("supervisor")

    def announce(url: str) -> None:
        err.print(
            f"UpNext serves on {url}  (pages: {url}/  API: {url}/openapi.json)", highlight=False
        )
        err.print("stop with Ctrl-C", highlight=False, soft_wrap=True)

    run_supervisor(settings, worker_command=WORKER, announce=announce)
