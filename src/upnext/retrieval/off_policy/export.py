"""A trained policy as the files that serving reads, without torch.

state.onnx           input vectors and steps of a history, and the context, to the viewer's vector
item_tower.onnx      content to input and output vectors, for videos that came later
item_inputs.npy      float32[n_items, d_in]       item_vectors.npy   float32[n_items, d]
generator.json       settings, vocabulary, sizes, checksum
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from upnext.core.types import Float32
from upnext.features.context import ContextEncoder
from upnext.retrieval.off_policy.network import OffPolicyNetwork
from upnext.retrieval.off_policy.step import N_STEP

FORMAT: Final = 1  # of the files
CHUNK: Final = 65_536  # videos at a time


class Serving(nn.Module):
    """Viewers' histories of one length, and their contexts, to their vectors."""

    def __init__(self, network: OffPolicyNetwork) -> None:
        super().__init__()
        self.state = network.state
        self.viewer = network.viewer

    def forward(self, inputs: Tensor, steps: Tensor, context: Tensor) -> Tensor:
        """float32[b, d] of float32[b, h + 1, d_in], float32[b, h + 1, N_STEP] and float32[b, c + 1]; as exported, b is 1."""
        vector: Tensor = self.viewer(self.state(inputs, steps)[:, -1], context)
        return vector


def export_network(
    network: OffPolicyNetwork, encoder: ContextEncoder, checksum: str, folder: Path
) -> None:
    """Writes the files of a network on the CPU in eval mode; `checksum` is of its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    config = network.config
    n_content = network.features.shape[1]
    inputs, vectors = all_items(network)
    np.save(folder / "item_inputs.npy", inputs)
    np.save(folder / "item_vectors.npy", vectors)
    history = torch.export.Dim("h", min=1, max=1 << 16)
    example = (
        torch.zeros(1, 3, config.input_size), torch.zeros(1, 3, N_STEP),
        torch.zeros(1, encoder.size + 1),
    )  # fmt: skip
    shapes = ({1: history}, {1: history}, None)
    names = (["inputs", "steps", "context"], ["vector"])
    _export(Serving(network), example, folder / "state.onnx", names, shapes)
    videos = ({0: torch.export.Dim("n", min=1, max=1 << 24)},)
    names = (["content"], ["inputs", "vectors"])
    content = (torch.zeros(2, n_content),)
    _export(network.item, content, folder / "item_tower.onnx", names, videos)
    meta = {
        "format": FORMAT,
        "config": config.model_dump(mode="json"),
        "vocabulary": encoder.vocabulary.to_json(),
        "n_content": n_content,
        "checksum": checksum,
    }
    (folder / "generator.json").write_text(json.dumps(meta, indent=1))


def _export(
    module: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    names: tuple[list[str], list[str]],
    shapes: Sequence[Mapping[int, Any] | None],
) -> None:
    # else it tells everyone that torchvision, which nothing here needs, is not there
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own calls
        torch.onnx.export(
            module, example, path, input_names=names[0], output_names=names[1],
            dynamic_shapes=tuple(shapes), dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip


@torch.no_grad()
def all_items(network: OffPolicyNetwork) -> tuple[Float32, Float32]:
    """(inputs float32[n_items, d_in], vectors float32[n_items, d]) in chunks."""
    n_items = len(network.features)
    inputs = np.zeros((n_items, network.config.input_size), np.float32)
    vectors = np.zeros((n_items, network.config.embedding_size), np.float32)
    for start in range(0, n_items, CHUNK):
        chunk = slice(start, min(start + CHUNK, n_items))
        part = network.inputs(torch.arange(chunk.start, chunk.stop))
        inputs[chunk] = part.numpy()
        vectors[chunk] = network.item.vectors(part).numpy()
    return inputs, vectors
