"""A worker's app on its unix socket, until the supervisor says stop or is gone."""

from __future__ import annotations

import gc

import uvicorn
from fastapi import FastAPI

from upnext.serve.child import Errand, when_orphaned
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
    gc.collect()
    gc.freeze()  # what is here stays: a full collection over it would stop the worker for tens of milliseconds
    gc.set_threshold(50_000, 20, 50)
    server.run()
