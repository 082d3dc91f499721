"""Seconds per epoch of RecTools' SASRec on ML-1M at d = 64, two blocks, length 200, batch 128, for three losses: what `upnext bench sequence` is held against.

Reads "user item" lines in order of time (ml-1m.txt.gz of the SASRec and BERT4Rec papers); the last item of each viewer is left out, as in leave-last-out.
A timed epoch follows one short fit that warms up. Threads are torch's: set OMP_NUM_THREADS. With a third argument only that many viewers are taken.

    python rectools_sasrec_time.py ml-1m.txt.gz BCE|sampled_softmax|softmax [VIEWERS]
"""

from __future__ import annotations

import json
import sys
import time
import warnings

import numpy as np
import pandas as pd
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

NEGATIVES = {"BCE": 1, "sampled_softmax": 64, "softmax": 1}  # softmax looks at every item
SHAPE = {
    "n_factors": 64,
    "n_blocks": 2,
    "n_heads": 2,
    "session_max_len": 200,
    "batch_size": 128,
    "lr": 0.001,
    "dropout_rate": 0.2,
}
WARM_UP = 256  # viewers


def read(path: str) -> pd.DataFrame:
    """Every row but each viewer's last."""
    rows = pd.read_csv(path, sep=" ", names=[Columns.User, Columns.Item])
    rows[Columns.Weight] = 1.0
    rows[Columns.Datetime] = pd.to_datetime(np.arange(len(rows)), unit="s")
    return rows[rows.duplicated(Columns.User, keep="last")]


def epoch_s(rows: pd.DataFrame, loss: str) -> float:
    """Seconds of one epoch of fit, with its data loading."""
    torch.manual_seed(0)
    model = SASRecModel(**SHAPE, loss=loss, n_negatives=NEGATIVES[loss], epochs=1)
    dataset = Dataset.construct(rows)
    began = time.perf_counter()
    model.fit(dataset)
    return time.perf_counter() - began


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    path, loss, *viewers = sys.argv[1:]
    rows = read(path)
    users = rows[Columns.User].unique()
    taken = rows[rows[Columns.User].isin(users[: int(viewers[0])])] if viewers else rows
    epoch_s(rows[rows[Columns.User].isin(users[:WARM_UP])], loss)
    seconds = epoch_s(taken, loss)
    n_viewers = taken[Columns.User].nunique()
    found = {
        "loss": loss,
        "negatives": NEGATIVES[loss] if loss != "softmax" else "all",
        "threads": torch.get_num_threads(),
        "viewers": n_viewers,
        "rows": len(taken),
        "epoch_s": round(seconds, 2),
        "epoch_s_of_all": round(seconds * len(users) / n_viewers, 2),
    }
    print(json.dumps(found))
