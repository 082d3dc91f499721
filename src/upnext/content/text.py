"""Titles to vectors: what every title encoder offers, and how the one of a release is opened without torch.

Two kinds travel in a release, both as ONNX: hashed n-grams (content/hashed_ngrams.py, nothing to download) and a sentence
transformer with its tokenizer (content/transformer_text.py; Reimers & Gurevych 2019, "Sentence-BERT").
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from upnext.content.hashed_ngrams import HashedNgrams, OnnxNgrams, fit_hashed_ngrams
from upnext.content.transformer_text import TransformerText
from upnext.core.errors import InvalidInput
from upnext.core.types import Float32

__all__ = [
    "HashedNgrams",
    "TextEncoder",
    "TransformerText",
    "fit_hashed_ngrams",
    "load_text_encoder",
]


class TextEncoder(Protocol):
    """Encodes titles; deterministic."""

    @property
    def size(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> Float32:
        """float32[n, size], rows of length 1 in L2; a text with nothing to read gives zeros."""
        ...

    def save(self, folder: Path) -> None:
        """Writes what load_text_encoder needs into `folder`, made when absent."""
        ...


def load_text_encoder(folder: Path) -> TextEncoder:
    """The encoder stored in a folder: hashed n-grams (text.json + model.onnx) or a transformer (model.onnx + tokenizer.json).

    Raises InvalidInput when the folder holds neither.
    """
    if not (folder / "model.onnx").is_file():
        raise InvalidInput(f"text encoder {folder}: expected a file model.onnx, found none")
    if (folder / "tokenizer.json").is_file():
        return TransformerText(folder)
    if not (folder / "text.json").is_file():
        raise InvalidInput(
            f"text encoder {folder}: expected tokenizer.json or text.json beside model.onnx, found neither"
        )
    settings = json.loads((folder / "text.json").read_text("utf-8"))
    if settings.get("kind") != "hashed_ngrams":
        raise InvalidInput(
            f"text encoder {folder}/text.json: expected kind 'hashed_ngrams', got {settings.get('kind')!r}"
        )
    return OnnxNgrams(folder, bits=int(settings["bits"]), size=int(settings["size"]))
