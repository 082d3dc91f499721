"""The real worker with the pages, as `upnext serve` composes them."""

from upnext.dashboard.pages import mount
from upnext.serve.worker import main

if __name__ == "__main__":
    main(mount)
