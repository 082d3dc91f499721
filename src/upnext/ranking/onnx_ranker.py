"""The trained ranker at serving: an ONNX graph, its column names checked, no torch.

The graph takes `user` float32[1, f_user] and `items` float32[n, f_item] and gives `predictions` float32[n, t], calibrated:
normalisation, calibration and units are inside (ranker_graph.py).

A page's candidates are predicted in pieces, small ones costing no more than one large call. Where other cores are idle, the caller and a helping
thread take them in turn. An int8 graph quantises the inputs of each piece on their own range, so a row's prediction depends a little on its
piece, never on who took it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from upnext.core.errors import InvalidInput, expected
from upnext.core.types import Features, Float32, Predictions

MANIFEST = "ranker.json"
PIECE: Final = 128  # rows of one call of the graph


class OnnxRanker:
    """A ranker folder, ready to predict."""

    def __init__(self, session: Any, manifest: Mapping[str, Any], threads: int = 1) -> None:
        """`session`: an onnxruntime.InferenceSession of one thread; `threads` take its pieces. Use `load`."""
        self._session = session
        self._n_helpers = threads - 1
        self._helpers = ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="ranker")
        self.manifest = manifest
        self.tasks: tuple[str, ...] = tuple(manifest["tasks"])
        self.user_names: tuple[str, ...] = tuple(manifest["user_names"])
        self.item_names: tuple[str, ...] = tuple(manifest["item_names"])
        self._checked = (
            self.user_names,
            self.item_names,
        )  # the plan's own tuples, once they passed

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> OnnxRanker:
        """The ranker of `folder`. Raises InvalidInput when its ranker.json or graph can't be read."""
        try:
            manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
            path = folder / manifest["file"]
        except (OSError, ValueError, KeyError) as error:
            raise InvalidInput(f"{folder / MANIFEST}: can't be read: {error}") from error
        if not path.is_file():
            raise InvalidInput(f"{path}: the ranker's graph is missing")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        return cls(session, manifest, threads)

    def predict(self, features: Features, *, share: bool = False) -> Predictions:
        """Every task for every row of `features`; n = 0 gives values float32[0, t]. `share`: other cores are idle.

        Raises InvalidInput when the columns are not those the ranker was trained on."""
        names = (features.user_names, features.item_names)
        if names[0] is not self._checked[0] or names[1] is not self._checked[1]:
            self._check("user", self.user_names, names[0])
            self._check("item", self.item_names, names[1])
            self._checked = names
        if len(features.items) == 0:
            return Predictions(self.tasks, np.zeros((0, len(self.tasks)), np.float32))
        user = np.ascontiguousarray(features.user, np.float32)[None, :]
        items = np.ascontiguousarray(features.items, np.float32)
        return Predictions(self.tasks, self._in_pieces(user, items, share))

    def predict_rows(self, user: Float32, items: Float32) -> Float32:
        """float32[m, t] of m rows of many viewers, user float32[m, f_user] and items float32[m, f_item]: for batch work."""
        return self._in_pieces(
            np.ascontiguousarray(user, np.float32), np.ascontiguousarray(items, np.float32), True
        )

    def _in_pieces(self, user: Float32, items: Float32, share: bool) -> Float32:
        """float32[m, t] of items float32[m, f_item], with user float32[1, f_user] for all or [m, f_user]."""
        values = np.empty((len(items), len(self.tasks)), np.float32)
        pieces = deque(range(0, len(items), PIECE))

        def take_pieces() -> None:
            while pieces:
                try:
                    start = pieces.popleft()
                except IndexError:  # another thread took the last one
                    return
                rows = slice(start, start + PIECE)
                mine = user if len(user) == 1 else user[rows]
                inputs = {"user": mine, "items": items[rows]}
                values[rows] = self._session.run(["predictions"], inputs)[0]

        n_helpers = min(self._n_helpers, len(pieces) - 1) if share else 0
        under_way = [self._helpers.submit(take_pieces) for _ in range(n_helpers)]
        take_pieces()
        for helper in under_way:
            if not helper.cancel():  # one that found no core yet is not waited for
                helper.result()
        return values

    def _check(self, side: str, trained: tuple[str, ...], given: tuple[str, ...]) -> None:
        if given == trained:
            return
        missing = [name for name in trained if name not in given]
        unknown = [name for name in given if name not in trained]
        if missing or unknown:
            got = f"missing {missing[:5]}, unknown {unknown[:5]}"
        else:
            got = "the same columns in another order"
        raise expected(f"ranker's {side} columns", f"the {len(trained)} it was trained on", got)
