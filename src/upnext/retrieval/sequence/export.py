"""A trained sequence model as the files that serving reads, without torch.

sequence.onnx      a history's steps, feedback, clock and gaps and the request's context to a query vector
item_vectors.npy   float32[i, d (+ 1 + p)]: vector, bias, recent popularity      item_inputs.npy   float32[i, d]: what a step reads
durations.npy      float32[i] seconds      video_side.npz   content and code tables to vectors, for videos that came later
generator.json     settings, vocabulary, sizes, checksum
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

from upnext.core.types import Array
from upnext.retrieval.material import Material
from upnext.retrieval.sequence.network import SequenceNetwork
from upnext.retrieval.sequence.recent import Recent
from upnext.retrieval.sequence.steps import LEAST_STEPS, N_CLOCK, N_FEEDBACK
from upnext.retrieval.sequence.vectors import item_vectors

FORMAT: Final = 1  # of the files


class QueryGraph(nn.Module):
    """One viewer's query: what the step `last` knows."""

    def __init__(self, network: SequenceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        steps: Tensor,
        feedback: Tensor,
        clock: Tensor,
        context: Tensor,
        last: Tensor,
        gaps: Tensor | None = None,
    ) -> Tensor:
        """float32[1, d (+ 1 + p)] of steps float32[h, d], feedback float32[h, f], clock float32[h, 5], context float32[1, c].

        last int64[1]: how many steps are real; gaps int64[h + 1, h + 1]."""
        bucket = None if gaps is None else gaps[None]
        hidden = self.network.hidden(steps[None], feedback[None], clock[None], bucket)
        return self.network.queries(hidden[0].index_select(0, last), context)


def export_sequence(
    network: SequenceNetwork, material: Material, recent: Recent, checksum: str, folder: Path
) -> None:
    """Writes the files of a network on the CPU in eval mode; `checksum` is of its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    vectors = item_vectors(network, recent.columns[-1])
    np.save(folder / "item_vectors.npy", vectors)
    size = network.config.embedding_size
    np.save(folder / "item_inputs.npy", np.ascontiguousarray(vectors[:, :size]))
    np.save(folder / "durations.npy", material.videos.duration_s.astype(np.float32))
    np.savez(folder / "video_side.npz", **_video_side(network))  # type: ignore[arg-type]
    _export(network, folder / "sequence.onnx")
    meta = {
        "format": FORMAT,
        "config": network.config.model_dump(mode="json"),
        "vocabulary": material.context.vocabulary.to_json(),
        "n_content": network.sizes.n_content,
        "checksum": checksum,
    }
    (folder / "generator.json").write_text(json.dumps(meta, indent=1))


def _video_side(network: SequenceNetwork) -> dict[str, Array]:
    """The weights that bring a new video in, by name; none where a video is its id alone."""
    if network.videos is None:
        return {}
    state = network.videos.state_dict()
    return {name: value.detach().cpu().numpy() for name, value in state.items()}


def _export(network: SequenceNetwork, path: Path) -> None:
    config = network.config
    n_steps = max(LEAST_STEPS, min(3, config.length))
    example = [
        torch.zeros(n_steps, config.embedding_size),
        torch.zeros(n_steps, N_FEEDBACK),
        torch.zeros(n_steps, N_CLOCK),
        torch.zeros(1, network.sizes.n_context),
        torch.ones(1, dtype=torch.int64),
    ]
    names = ["steps", "feedback", "clock", "context", "last"]
    h = torch.export.Dim("h", min=LEAST_STEPS, max=max(LEAST_STEPS + 1, config.length + 1))
    shapes: list[dict[int, object] | None] = [{0: h}, {0: h}, {0: h}, None, None]
    if network.gaps is not None:
        example.append(torch.zeros(n_steps + 1, n_steps + 1, dtype=torch.int64))
        names.append("gaps")
        shapes.append({0: h + 1, 1: h + 1})
    # else it tells everyone that torchvision, which nothing here needs, is not there
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own calls
        torch.onnx.export(
            QueryGraph(network), tuple(example), path, input_names=names, output_names=["query"],
            dynamic_shapes=tuple(shapes), dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip
