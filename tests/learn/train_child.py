"""A training process of its own, which kills itself: CONFIG TASK SHARE [--resume] [--fine-tune]."""

from __future__ import annotations

import sys
from pathlib import Path

from learn_world import KillAt, fine_tune, train

from upnext.settings.settings import load

if __name__ == "__main__":
    config, task, share = sys.argv[1:4]
    run = fine_tune if "--fine-tune" in sys.argv else train
    run(load(Path(config)), resume="--resume" in sys.argv, progress=KillAt(task, float(share)))
