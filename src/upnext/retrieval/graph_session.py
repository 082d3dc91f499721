"""An exported network's graph, opened to answer one request at a time on one thread."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort


def graph_session(path: Path) -> ort.InferenceSession:
    """The ONNX graph at `path`; workers are many, so each uses one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
