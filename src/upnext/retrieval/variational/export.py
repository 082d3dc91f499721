"""A trained variational network as the files that serving reads, without torch.

viewer.onnx         a viewer's row to mean and stdev
video.onnx          content to input vector, mean and stdev, for videos that came later
item_inputs.npy     float32[n_items, d_in]   item_vectors.npy   float32[n_items, d]: what the index holds (means, augmented where optimistic)
item_means.npy, item_stdevs.npy   float32[n_items, d]
prior_stdev.npy     float32[d] of viewers            generator.json    settings, vocabulary, sizes, checksum
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

from upnext.core.types import Float32
from upnext.features.context import ContextEncoder
from upnext.retrieval.variational.directions import video_vectors
from upnext.retrieval.variational.network import VariationalNetwork
from upnext.retrieval.variational.viewer_row import FORMAT, row_size

CHUNK: Final = 65_536  # videos at a time


def export_variational(
    network: VariationalNetwork, encoder: ContextEncoder, checksum: str, folder: Path
) -> None:
    """Writes the files of a network on the CPU in eval mode; `checksum` is of its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs, mean, stdev = _all_videos(network)
    vectors = video_vectors(mean, stdev, network.config.directions)
    prior = network.viewer.log_prior.detach().exp().numpy()
    arrays = {"item_inputs": inputs, "item_means": mean, "item_stdevs": stdev}
    for name, array in {**arrays, "item_vectors": vectors, "prior_stdev": prior}.items():
        np.save(folder / f"{name}.npy", array)
    row = torch.zeros(2, row_size(network.config, encoder.size))
    _export(network.viewer, row, folder / "viewer.onnx", ["viewer"], ["mean", "stdev"])
    content = torch.zeros(2, network.features.shape[1])
    _export(network.video, content, folder / "video.onnx", ["content"], ["inputs", "mean", "stdev"])
    meta = {
        "format": FORMAT,
        "config": network.config.model_dump(mode="json"),
        "vocabulary": encoder.vocabulary.to_json(),
        "n_content": network.features.shape[1],
        "checksum": checksum,
    }
    (folder / "generator.json").write_text(json.dumps(meta, indent=1))


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
def _all_videos(network: VariationalNetwork) -> tuple[Float32, Float32, Float32]:
    """(inputs float32[n_items, d_in], means, stdevs float32[n_items, d]) in chunks."""
    n, config = len(network.features), network.config
    inputs = np.zeros((n, config.input_size), np.float32)
    mean = np.zeros((n, config.embedding_size), np.float32)
    stdev = np.zeros_like(mean)
    for start in range(0, n, CHUNK):
        items = torch.arange(start, min(start + CHUNK, n))
        known = (network.n_examples[items] > 0).float()
        part, posterior, _ = network.videos(items, known)
        rows = slice(start, start + len(items))
        inputs[rows] = part.numpy()
        mean[rows], stdev[rows] = posterior.mean.numpy(), posterior.stdev.numpy()
    return inputs, mean, stdev
