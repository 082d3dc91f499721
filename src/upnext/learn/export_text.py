"""A sentence-transformers model brought into a release: ONNX and a tokenizer file, so that serving encodes titles without torch.

The graph holds the whole model (transformer, pooling, and dense or normalising layers where it has them) from token ids to
sentence_embedding. A folder that already has model.onnx and tokenizer.json is copied as it is.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from upnext.content.text import TextEncoder, fit_hashed_ngrams, load_text_encoder
from upnext.core.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

OPSET = 17


def title_encoder(
    text_model: str, titles: Sequence[str], folder: Path, *, size: int = 64, seed: int = 0
) -> TextEncoder:
    """The encoder that the config's `text_model` names, stored in `folder` and opened from there; "": hashed n-grams of `titles`
    in `size` dimensions."""
    if text_model:
        export_text_model(text_model, folder)
    else:
        fit_hashed_ngrams(titles, size=size, seed=seed).save(folder)
    return load_text_encoder(folder)


def export_text_model(source: str, folder: Path) -> None:
    """Writes model.onnx, tokenizer.json and text.json of a local model folder, or of an installed package that carries one.

    Raises InvalidInput when `source` names neither, or when a model has to be exported and sentence-transformers (the `text`
    extra) is not installed. Nothing is downloaded.
    """
    model_folder = find_text_model(source)
    folder.mkdir(parents=True, exist_ok=True)
    graphs = [model_folder / "model.onnx", model_folder / "onnx" / "model.onnx"]
    graph = next((g for g in graphs if g.is_file()), None)
    if graph is not None and (model_folder / "tokenizer.json").is_file():
        shutil.copyfile(graph, folder / "model.onnx")
        for name in ("tokenizer.json", "text.json"):
            if (model_folder / name).is_file():
                shutil.copyfile(model_folder / name, folder / name)
        return
    _export(model_folder, folder)


def find_text_model(source: str) -> Path:
    """The model's folder: `source` itself, or the one inside the installed package of that name. Raises InvalidInput."""
    path = Path(source)
    if path.is_dir():
        found = _model_inside(path)
        if found is None:
            raise InvalidInput(
                f"text_model {source!r}: expected modules.json, or model.onnx with tokenizer.json, in the folder"
            )
        return found
    name = source.replace("-", "_")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for inside in [Path(place), *sorted(p for p in Path(place).iterdir() if p.is_dir())]:
            if (found := _model_inside(inside)) is not None:
                return found
    raise InvalidInput(
        f"text_model: expected a model folder or an installed package that carries one, got {source!r}"
    )


def _model_inside(folder: Path) -> Path | None:
    has_graph = (folder / "model.onnx").is_file() and (folder / "tokenizer.json").is_file()
    return folder if has_graph or (folder / "modules.json").is_file() else None


class _Sentences(torch.nn.Module):
    """A sentence-transformers model with plain tensors in and out."""

    def __init__(self, model: torch.nn.Module, inputs: Sequence[str]) -> None:
        super().__init__()
        self.model, self.inputs = model, tuple(inputs)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """float32[n, d] of int64[n, s] tensors in the order of `inputs`."""
        embedding: torch.Tensor = self.model(dict(zip(self.inputs, tensors, strict=True)))[
            "sentence_embedding"
        ]
        return embedding


def _export(model_folder: Path, folder: Path) -> None:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise InvalidInput(
            f"text_model {model_folder}: expected the `text` extra (sentence-transformers) to be installed, got {error}"
        ) from error
    model = SentenceTransformer(
        str(model_folder), device="cpu", local_files_only=True,
        model_kwargs={"attn_implementation": "eager"},
    ).eval()  # fmt: skip
    tokenizer = model.tokenizer
    sample = tokenizer(["a title", "another, longer title"], padding=True, return_tensors="pt")
    inputs = [n for n in ("input_ids", "attention_mask", "token_type_ids") if n in sample]
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the exporter warns of its own deprecations and of traced shapes
        torch.onnx.export(
            _Sentences(model, inputs),
            tuple(sample[n] for n in inputs),
            str(folder / "model.onnx"),
            input_names=inputs,
            output_names=["sentence_embedding"],
            dynamic_axes={n: {0: "n", 1: "s"} for n in inputs} | {"sentence_embedding": {0: "n"}},
            opset_version=OPSET,
            dynamo=False,
        )
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "kind": "transformer",
        "max_tokens": int(model.max_seq_length or 256),
        "pad_id": int(tokenizer.pad_token_id or 0),
    }
    (folder / "text.json").write_text(json.dumps(settings, indent=1) + "\n", "utf-8")
