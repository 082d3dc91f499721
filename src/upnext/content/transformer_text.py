"""A sentence transformer that runs without torch: model.onnx with the tokenizer.json of the tokenizers library.

Takes what the usual exports offer: inputs input_ids, attention_mask and, where the graph has it, token_type_ids; output
sentence_embedding float32[n, d], or last_hidden_state / token embeddings float32[n, s, d], averaged here over the mask
(Reimers & Gurevych 2019, mean pooling).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from upnext.content.unit import unit_rows
from upnext.core.errors import InvalidInput
from upnext.core.types import Float32, Int64

MAX_TOKENS = 256  # a model's own limit, where text.json states it, comes before this
BATCH_TEXTS = 32


class TransformerText:
    """A stored sentence transformer, run by ONNX Runtime; `threads` cores."""

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        from tokenizers import Tokenizer

        settings = (
            json.loads((folder / "text.json").read_text("utf-8"))
            if (folder / "text.json").is_file()
            else {}
        )
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._folder = folder
        self._session = ort.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [i.name for i in self._session.get_inputs()]
        self._output = self._choose_output()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(int(settings.get("max_tokens", MAX_TOKENS)))
        self._tokenizer.no_padding()
        self._pad_id = int(settings.get("pad_id", 0))
        self.size = int(self._run(self._ids(["a"])).shape[1])

    def encode(self, texts: Sequence[str]) -> Float32:
        """float32[n, size], L2-normalised rows; zeros for an empty or blank text."""
        out = np.zeros((len(texts), self.size), np.float32)
        rows = [i for i, text in enumerate(texts) if text.strip()]
        ids = self._ids([texts[i] for i in rows])
        order = sorted(range(len(rows)), key=lambda i: (len(ids[i]), i))  # like lengths together
        for begin in range(0, len(order), BATCH_TEXTS):
            batch = order[begin : begin + BATCH_TEXTS]
            out[[rows[i] for i in batch]] = self._run([ids[i] for i in batch])
        return unit_rows(out)

    def save(self, folder: Path) -> None:
        """Copies the stored files to another folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("model.onnx", "tokenizer.json", "text.json"):
            if (self._folder / name).is_file():
                shutil.copyfile(self._folder / name, folder / name)

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        clean = [t.encode("utf-8", "replace").decode("utf-8") for t in texts]  # lone surrogates
        return [e.ids for e in self._tokenizer.encode_batch(clean)]

    def _run(self, ids: Sequence[Sequence[int]]) -> Float32:
        """float32[b, d] of b token lists, not normalised."""
        length = max(len(row) for row in ids)
        tokens = np.full((len(ids), length), self._pad_id, np.int64)
        mask: Int64 = np.zeros((len(ids), length), np.int64)
        for i, row in enumerate(ids):
            tokens[i, : len(row)] = row
            mask[i, : len(row)] = 1
        known = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": np.zeros_like(mask)}
        out = self._session.run([self._output], {name: known[name] for name in self._inputs})[0]
        if out.ndim == 3:
            weight = mask[:, :, None].astype(np.float32)
            out = (out * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 1.0)
        return np.asarray(out, np.float32)

    def _choose_output(self) -> str:
        model = self._folder / "model.onnx"
        unknown = set(self._inputs) - {"input_ids", "attention_mask", "token_type_ids"}
        if unknown or "input_ids" not in self._inputs:
            raise InvalidInput(
                f"{model}: expected inputs input_ids, attention_mask, token_type_ids, got {self._inputs}"
            )
        names = [o.name for o in self._session.get_outputs()]
        for name in ("sentence_embedding", "last_hidden_state", "token_embeddings"):
            if name in names:
                return name
        raise InvalidInput(
            f"{model}: expected an output sentence_embedding or last_hidden_state, got {names}"
        )
