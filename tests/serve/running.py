"""A whole system in processes of its own, over a temporary folder: what `upnext serve` starts."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec

HERE = Path(__file__).parent
MAIN = """
import sys, logging
from pathlib import Path
import msgspec
from upnext.serve.log_lines import log_as_json
from upnext.serve.supervisor import run
from upnext.settings.settings import parse
given = msgspec.json.decode(sys.argv[1])
log_as_json("supervisor", logging.WARNING)
settings = parse(given["settings"], "test", Path(given["root"]))
def announce(url):
    Path(given["root"], "url").write_text(url)
run(settings, worker_command=given["worker"], announce=announce)
"""
FAKE_WORKER = [sys.executable, str(HERE / "fake_worker.py")]
REAL_WORKER = [sys.executable, "-m", "upnext.serve.worker"]
PAGED_WORKER = [sys.executable, str(HERE / "paged_worker.py")]


class Running:
    """A started system with its URL and its processes."""

    def __init__(self, root: Path, settings: dict, worker: list[str], log: Path) -> None:
        given = {"root": str(root), "settings": settings, "worker": worker}
        self.root = root
        self.log = log
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-c", MAIN, msgspec.json.encode(given).decode()], stderr=stderr
            )
        self.url = self._url()

    def _url(self) -> str:
        file = self.root / "url"
        for _ in range(1200):
            if file.exists() and file.read_text():
                return file.read_text()
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"the system did not start:\n{self.log.read_text()[-4000:]}")

    def client(self, **more: object) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, timeout=30, **more)

    def async_client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=64)
        return httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=30, limits=limits)

    def fill(self, rows: list[dict]) -> None:
        """Puts videos and waits until the feed shows them."""
        with self.client() as client:
            answer = client.post("/v1/videos", json={"videos": rows})
            assert answer.status_code == 200, answer.text
            for _ in range(200):
                pages = [client.get("/v1/feed/home", params={"n": 1}).json() for _ in range(4)]
                if all(page.get("items") for page in pages):
                    return
                time.sleep(0.05)
        raise RuntimeError("the videos did not reach the feed")

    def children(self) -> dict[str, list[int]]:
        """{"intake" or "worker": pids} of the supervisor's children."""
        found: dict[str, list[int]] = {"intake": [], "worker": []}
        task = Path(f"/proc/{self.process.pid}/task")
        for pid in {p for t in task.iterdir() for p in (t / "children").read_text().split()}:
            try:
                command = Path(f"/proc/{pid}/cmdline").read_text()
            except OSError:
                continue
            if command:
                found["intake" if "intake" in command else "worker"].append(int(pid))
        return found

    def kill(self, kind: str, which: int = 0) -> None:
        pids = sorted(self.children()[kind])
        if pids:
            os.kill(pids[which % len(pids)], signal.SIGKILL)

    async def until(self, what, timeout_s: float = 20.0) -> None:
        """Waits until the coroutine function says True."""
        async with asyncio.timeout(timeout_s):
            while not await what():
                await asyncio.sleep(0.05)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=25)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return -9


@contextmanager
def running(
    *, workers: int = 2, worker: list[str] | None = None, root: Path | None = None, **settings: dict
):
    """A system that stops at the end; `settings` are tables of upnext.toml."""
    with tempfile.TemporaryDirectory(prefix="upn") as made:
        folder = root or Path(made)
        serve = {"port": 0, "workers": workers, **settings.pop("serve", {})}
        (folder / "url").unlink(missing_ok=True)
        system = Running(
            folder, {"serve": serve, **settings}, worker or FAKE_WORKER, folder / "log.jsonl"
        )
        try:
            yield system
        finally:
            system.stop()
