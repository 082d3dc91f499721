"""A trivial ASGI worker for the dispatcher's tests: says who it is, echoes, sleeps, streams, dies on request."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from urllib.parse import parse_qs


async def read_all(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def answer(send, status, body, kind=b"application/json", framed=True):
    headers = [(b"content-type", kind)]
    if framed and status != 204:
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if status == 204 else body})


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    query = {k: v[0] for k, v in parse_qs(scope["query_string"].decode()).items()}
    path = scope["path"]
    if "die_once" in query and not os.path.exists(query["die_once"]):
        open(query["die_once"], "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if path == "/die":
        os.kill(os.getpid(), signal.SIGKILL)
    if path == "/metrics":
        text = "# HELP x_total things\n# TYPE x_total counter\nx_total 2.0\n# HELP y y\n# TYPE y gauge\ny 3.0\n"
        await answer(send, 200, text.encode(), b"text/plain")
    elif path == "/empty":
        await answer(send, 204, b"")
    elif path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for i in range(int(query.get("n", 3))):
            body = (b"%d" % i) * int(query.get("size", 1))
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await asyncio.sleep(float(query.get("every", 0)))
        if "cut" in query:
            os.kill(os.getpid(), signal.SIGKILL)
        await send({"type": "http.response.body", "body": b""})
    else:
        body = await read_all(receive)
        await asyncio.sleep(float(query.get("sleep", 0)))
        headers = {k.decode(): v.decode() for k, v in scope["headers"]}
        said = {"pid": os.getpid(), "method": scope["method"], "n": len(body), "headers": headers}
        await answer(send, 200, json.dumps(said).encode())


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(
        app, uds=sys.argv[1], log_level="critical", access_log=False, timeout_keep_alive=3600
    )
