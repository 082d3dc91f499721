"""A worker's app on its unix socket, until the supervisor says stop or is gone."""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI

from upnext.serve.child import Errand, settle_memory, when_orphaned
from upnext.serve.corked import CorkedHttp

KEEP_ALIVE_S = 3_600  # the dispatcher's pooled connections must not be closed under it


def run_worker(app: FastAPI, errand: Errand) -> None:
    """Serves `app`; returns after SIGTERM or the end of stdin."""
    config = uvicorn.Config(
        app,
        uds=errand.socket,
        http=CorkedHttp,
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=8,
        lifespan="on",
        server_header=False,
        date_header=False,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)

    def stop() -> None:
        server.should_exit = True

    when_orphaned(stop)
    settle_memory()
    server.run()
