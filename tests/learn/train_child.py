"""A training process of its own, which kills itself: CONFIG TASK SHARE [--resume]."""

from __future__ import annotations

import sys
from pathlib import Path

from learn_world import KillAt, train

from upnext.settings.settings import load

if __name__ == "__main__":
    config, task, share = sys.argv[1:4]
    train(load(Path(config)), resume="--resume" in sys.argv, progress=KillAt(task, float(share)))
