"""A title encoder that needs no download: hashed n-grams, tf-idf, and the catalogue's own main directions of meaning.

Latent semantic analysis (Deerwester et al. 1990): the titles' tf-idf matrix X is cut to its `size` strongest right singular
vectors V, so that pieces that occur in the same titles point the same way. To each piece's row of V a random row
of the same mean length is added (a Johnson-Lindenstrauss projection, which keeps shared pieces as closeness): `size` directions
are few for a catalogue's words, and without it two titles that share one rare word are strangers. A piece the catalogue never
showed has its random row alone, so a title of new words is still a direction. A title's vector is the normalised sum of
idf * row over its pieces. Below MIN_TITLES titles there is nothing to learn and every row is random.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from upnext.content.ngrams import Pieces, pieces_of
from upnext.content.unit import unit_rows
from upnext.core.randomness import rng_for
from upnext.core.types import Array, Float32, Float64, Int64

MIN_TITLES = 50
MAX_TITLES = 20_000  # the singular vectors are learned from a seeded sample of this many
BITS = 15  # 2^15 buckets
BATCH_TEXTS = 8_192
BATCH_ROWS = 64  # rows per run of the graph: what it gathers stays in the cache
OPSET = 17


@dataclass(frozen=True)
class HashedNgrams:
    """The fitted encoder: one row per bucket of hashed pieces, tf-idf weight included."""

    table: Float32  # [2^bits, d]

    @property
    def size(self) -> int:
        """Length of a vector."""
        return int(self.table.shape[1])

    @property
    def bits(self) -> int:
        """log2 of the number of buckets."""
        return int(self.table.shape[0]).bit_length() - 1

    def encode(self, texts: Sequence[str]) -> Float32:
        """float32[n, size], L2-normalised rows; zeros for a text without letters, digits or emoji."""
        out = np.zeros((len(texts), self.size), np.float32)
        for begin in range(0, len(texts), 512):
            pieces = pieces_of(texts[begin : begin + 512], self.bits)
            filled = np.flatnonzero(np.diff(pieces.start))
            if len(filled):
                rows = self.table[pieces.bucket] * pieces.weight[:, None]
                out[begin + filled] = np.add.reduceat(rows, pieces.start[filled], axis=0)
        return unit_rows(out)

    def save(self, folder: Path) -> None:
        """Writes model.onnx and text.json; needs `onnx` (the train extra)."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.onnx").write_bytes(_graph(self.table))
        settings = {"kind": "hashed_ngrams", "bits": self.bits, "size": self.size}
        (folder / "text.json").write_text(json.dumps(settings, indent=1) + "\n", "utf-8")


def fit_hashed_ngrams(texts: Sequence[str], *, size: int = 64, seed: int = 0) -> HashedNgrams:
    """The encoder fitted to a catalogue's titles; equal titles and seed give an equal encoder. Needs scipy (the train extra)."""
    rng = rng_for(seed, "hashed_ngrams")
    texts = list(texts)
    if len(texts) > MAX_TITLES:
        texts = [texts[i] for i in np.sort(rng.choice(len(texts), MAX_TITLES, replace=False))]
    pieces = pieces_of(texts, BITS) if texts else pieces_of([""], BITS)
    owner = np.repeat(np.arange(len(pieces.start) - 1), np.diff(pieces.start))
    n_texts_with = np.bincount(
        np.unique(owner * np.int64(1 << BITS) + pieces.bucket) % (1 << BITS), minlength=1 << BITS
    )
    idf = np.log((1 + len(texts)) / (1 + n_texts_with)) + 1.0
    table = rng.standard_normal((1 << BITS, size)) / np.sqrt(size)
    if len(texts) > max(MIN_TITLES, size) and int((n_texts_with > 0).sum()) > size:
        directions = _directions(pieces, owner, idf, size, rng)
        known = n_texts_with > 0
        directions /= np.sqrt((directions[known] ** 2).sum(axis=1).mean())
        table = np.where(known[:, None], directions + table, table)
    return HashedNgrams((table * idf[:, None]).astype(np.float32))


def _directions(
    pieces: Pieces, owner: Int64, idf: Float64, size: int, rng: np.random.Generator
) -> Float64:
    """float64[2^bits, size]: V of the titles' normalised tf-idf matrix, zeros beyond its rank; each column with its larger side positive."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import svds

    n_texts = len(pieces.start) - 1
    value = pieces.weight * idf[pieces.bucket]
    norm = np.sqrt(np.bincount(owner, value**2, n_texts))
    x = csr_matrix((value / norm[owner], (owner, pieces.bucket)), shape=(n_texts, len(idf)))
    k = min(size, n_texts - 1)
    _, strength, rows = svds(x, k=k, v0=rng.standard_normal(min(x.shape)))
    order = np.argsort(-strength, kind="stable")
    v = (rows[order] * (strength[order] > 1e-6 * strength.max())[:, None]).T
    signs = np.sign(v[np.argmax(np.abs(v), axis=0), np.arange(k)])
    return np.asarray(v * signs, np.float64)


def _graph(table: Float32) -> bytes:
    """The encoder as ONNX: bucket int64[n, m], weight float32[n, m] -> vector float32[n, size]."""
    from onnx import TensorProto, checker, helper, numpy_helper

    constants: dict[str, Array] = {
        "table": table,
        "floor": np.array(1e-12, np.float32),
        "middle": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["table", "bucket"], ["rows"], axis=0),  # [n, m, d]
        helper.make_node("Unsqueeze", ["weight", "middle"], ["weights"]),  # [n, 1, m]
        helper.make_node("MatMul", ["weights", "rows"], ["summed"]),  # [n, 1, d]
        helper.make_node("Squeeze", ["summed", "middle"], ["sum"]),
        helper.make_node("ReduceL2", ["sum"], ["norm"], axes=[-1], keepdims=1),
        helper.make_node("Max", ["norm", "floor"], ["length"]),
        helper.make_node("Div", ["sum", "length"], ["vector"]),
    ]
    graph = helper.make_graph(
        nodes,
        "hashed_ngrams",
        [
            helper.make_tensor_value_info("bucket", TensorProto.INT64, ["n", "m"]),
            helper.make_tensor_value_info("weight", TensorProto.FLOAT, ["n", "m"]),
        ],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", table.shape[1]])],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())


class OnnxNgrams:
    """The stored encoder, run by ONNX Runtime on one thread."""

    def __init__(self, folder: Path, *, bits: int, size: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.size = size
        self.bits = bits
        self._folder = folder
        self._session = ort.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def encode(self, texts: Sequence[str]) -> Float32:
        """float32[n, size], L2-normalised rows; zeros for a text without letters, digits or emoji."""
        out = np.zeros((len(texts), self.size), np.float32)
        for begin in range(0, len(texts), BATCH_TEXTS):
            pieces = pieces_of(texts[begin : begin + BATCH_TEXTS], self.bits)
            for rows, bucket, weight in _padded(pieces):
                feeds = {"bucket": bucket, "weight": weight}
                out[begin + rows] = self._session.run(None, feeds)[0]
        return out

    def save(self, folder: Path) -> None:
        """Copies the stored files to another folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("model.onnx", "text.json"):
            shutil.copyfile(self._folder / name, folder / name)


def _padded(pieces: Pieces) -> Iterator[tuple[Int64, Int64, Float32]]:
    """Batches (text rows[b], bucket[b, m], weight[b, m]) of texts of like length; padding has weight 0; empty texts left out."""
    length = np.diff(pieces.start)
    order = np.argsort(length, kind="stable")
    order = order[length[order] > 0]
    for begin in range(0, len(order), BATCH_ROWS):
        rows = order[begin : begin + BATCH_ROWS]
        place = np.arange(int(length[rows].max()))
        inside = place < length[rows, None]
        at = np.where(inside, pieces.start[rows, None] + place, 0)
        weight = np.where(inside, pieces.weight[at], np.float32(0))
        yield rows, np.where(inside, pieces.bucket[at], 0), weight
