"""Transformer graphs of every usual signature, hand-made so that the answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from upnext.content.text import load_text_encoder
from upnext.core.errors import InvalidInput

WORDS = {"[PAD]": 0, "[UNK]": 1, "red": 2, "fox": 3, "runs": 4}
ROWS = np.array(
    [[9, 9], [0, 1], [3, 4], [1, 0], [0, -2]], np.float32
)  # a vector per token; padding's is loud


def _write(folder: Path, inputs: tuple[str, ...], output: str) -> None:
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    nodes = [helper.make_node("Gather", ["rows", "input_ids"], ["last_hidden_state"])]
    shape: list[str | int] = ["n", "s", 2]
    if output == "sentence_embedding":  # the graph pools by itself: takes the first token
        nodes[0].output[0] = "all"
        nodes.append(helper.make_node("Gather", ["all", "zero"], ["sentence_embedding"], axis=1))
        shape = ["n", 2]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.INT64, ["n", "s"]) for n in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(ROWS, "rows"), numpy_helper.from_array(np.array(0), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))


@pytest.mark.parametrize("inputs", [("input_ids",), ("input_ids", "attention_mask"),
                                    ("input_ids", "attention_mask", "token_type_ids")])  # fmt: skip
def test_tokens_are_averaged_over_the_mask_whatever_the_inputs(
    tmp_path: Path, inputs: tuple[str, ...]
) -> None:
    _write(tmp_path, inputs, "last_hidden_state")
    encoder = load_text_encoder(tmp_path)
    vectors = encoder.encode(["red fox", "", "runs", "red fox runs runs"])
    # (3,4)+(1,0) -> (2,2) -> 1/sqrt 2; runs -> (0,-1); (3,4)+(1,0)+2(0,-2) = (4,0) -> (1,0)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(vectors, [[half, half], [0, 0], [0, -1], [1, 0]], atol=1e-6)


def test_a_graph_that_pools_is_taken_at_its_word(tmp_path: Path) -> None:
    _write(tmp_path, ("input_ids",), "sentence_embedding")
    np.testing.assert_allclose(
        load_text_encoder(tmp_path).encode(["red fox", "fox red runs"]),
        [[0.6, 0.8], [1, 0]],
        atol=1e-6,
    )


def test_an_unknown_signature_is_refused_by_name(tmp_path: Path) -> None:
    _write(tmp_path, ("input_ids", "pixels"), "last_hidden_state")
    with pytest.raises(InvalidInput, match="pixels"):
        load_text_encoder(tmp_path)
