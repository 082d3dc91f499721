"""`python -m upnext.cli.worker`: a worker of `upnext serve` with the pages beside the API."""

from __future__ import annotations

from upnext.dashboard.pages import mount
from upnext.serve.worker import main

if __name__ == "__main__":
    main(mount)
