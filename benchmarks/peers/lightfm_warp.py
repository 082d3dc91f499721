"""LightFM's WARP (Weston et al. 2011; Kula 2015) on exported rows.

python lightfm_warp.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from exchange import Rows, read, run_peer
from lightfm import LightFM

OPTIONS = [{"epochs": epochs} for epochs in (10, 15, 25)]


def warp(rows: Rows, users: np.ndarray, epochs: int) -> np.ndarray:
    """float32[c, n_items]: 64 components and biases, learning rate .05."""
    shown = rows.pairs()
    model = LightFM(no_components=64, loss="warp", learning_rate=0.05, random_state=0)
    model.fit(shown.tocoo(), epochs=epochs, num_threads=1)
    bias, items = model.get_item_representations()
    own_bias, own = model.get_user_representations()
    scores = own[users] @ items.T + bias + own_bias[users][:, None]
    scores[np.diff(shown.indptr)[users] == 0] = 0
    return scores.astype(np.float32)


if __name__ == "__main__":
    run_peer(read(Path(sys.argv[1])), "lightfm_warp", OPTIONS, warp)
