"""`python -m upnext.serve.intake`: the intake process, started by the supervisor."""

from __future__ import annotations

import asyncio

from upnext.serve.child import Errand, read_errand, stop_event
from upnext.serve.event_loop import loop_factory
from upnext.serve.intake_process import IntakeProcess
from upnext.serve.log_lines import log_as_json
from upnext.serve.simulated_clock import clock_of
from upnext.serve.stores import open_stores


def main() -> None:
    """Serves the writers until SIGTERM or until the supervisor is gone."""
    errand = read_errand()
    log_as_json(errand.name, errand.log_level)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(errand))


async def _serve(errand: Errand) -> None:
    settings = errand.read_settings()
    process = IntakeProcess(lambda: open_stores(settings, clock_of(settings)), errand.socket_path)
    await process.run(stop_event())


if __name__ == "__main__":
    main()
