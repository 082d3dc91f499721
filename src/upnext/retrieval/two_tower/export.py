"""A trained two-tower network as the files that serving reads, without torch.

user_tower.onnx      a user row to its vector
item_tower.onnx      content to input and output vectors, for videos that came later
item_inputs.npy      float32[n_items, d_in]       item_vectors.npy   float32[n_items, d]
token_vectors.npy    float32[buckets, d_in]       retrieval.json     settings, vocabulary, sizes, checksum
new_videos.npz       which videos are trained, and how the others are placed (new_videos.py)
"""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from upnext.core.types import Bool, Float32
from upnext.retrieval.material import Material
from upnext.retrieval.two_tower.fit_new_videos import known_videos
from upnext.retrieval.two_tower.network import TwoTower
from upnext.retrieval.two_tower.new_videos import NewVideos
from upnext.retrieval.two_tower.user_inputs import row_size

FORMAT: Final = 2  # of the files
CHUNK: Final = 65_536  # videos at a time


def export_towers(
    network: TwoTower, material: Material, is_trained: Bool, checksum: str, folder: Path
) -> None:
    """Writes the files of a network on the CPU in eval mode; is_trained bool[n_items]; `checksum` is of its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    n_content = network.features.shape[1]
    inputs, vectors = all_items(network)
    known = known_videos(network, material, vectors, is_trained)
    new = np.flatnonzero(~is_trained)
    has_place, placed = NewVideos(known).placed(new, inputs[new], material.videos.creator[new])
    vectors[new] = placed * has_place[:, None]
    known.save(folder / "new_videos.npz")
    np.save(folder / "item_inputs.npy", inputs)
    np.save(folder / "item_vectors.npy", vectors)
    np.save(folder / "token_vectors.npy", network.tokens.weight.detach().numpy())
    encoder = material.context
    row = torch.zeros(2, row_size(network.config, encoder.size))
    _export(network.user, row, folder / "user_tower.onnx", ["user"], ["vector"])
    content = torch.zeros(2, n_content)
    _export(network.item, content, folder / "item_tower.onnx", ["content"], ["inputs", "vectors"])
    meta = {
        "format": FORMAT,
        "config": network.config.model_dump(mode="json"),
        "vocabulary": encoder.vocabulary.to_json(),
        "n_content": n_content,
        "checksum": checksum,
    }
    (folder / "retrieval.json").write_text(json.dumps(meta, indent=1))


def _export(
    module: nn.Module, example: Tensor, path: Path, inputs: list[str], outputs: list[str]
) -> None:
    batch = torch.export.Dim("n", min=1, max=1 << 24)
    # else it tells everyone that torchvision, which nothing here needs, is not there
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's exporter warns of its own calls
        torch.onnx.export(
            module, (example,), path, input_names=inputs, output_names=outputs,
            dynamic_shapes=({0: batch},), dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip


@torch.no_grad()
def all_items(network: TwoTower) -> tuple[Float32, Float32]:
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
