"""Title encoders: near for like titles, equal after storing, zeros for nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upnext.content.text import HashedNgrams, TextEncoder, fit_hashed_ngrams, load_text_encoder
from upnext.core.errors import InvalidInput

THEMES = {
    "bread": [
        "sourdough",
        "flour",
        "oven",
        "crust",
        "yeast",
        "baking",
        "dough",
        "baguette",
        "rye",
        "loaf",
        "butter",
        "toast",
    ],
    "football": [
        "goal",
        "penalty",
        "league",
        "striker",
        "keeper",
        "derby",
        "corner",
        "header",
        "final",
        "coach",
        "pitch",
        "whistle",
    ],
    "猫": [
        "子猫",
        "猫缶",
        "しっぽ",
        "毛玉",
        "ひげ",
        "肉球",
        "爪とぎ",
        "昼寝",
        "おもちゃ",
        "首輪",
        "鳴き声",
        "黒猫",
    ],
    "فضاء": [
        "صاروخ",
        "قمر",
        "كوكب",
        "مدار",
        "نجم",
        "تلسكوب",
        "مجرة",
        "مذنب",
        "شمس",
        "رائد",
        "محطة",
        "نيزك",
    ],
}


def _titles(n: int) -> tuple[list[str], list[int]]:
    rng = np.random.default_rng(3)
    titles, theme = [], []
    for _ in range(n):
        t = int(rng.integers(len(THEMES)))
        words = list(THEMES.values())[t]
        titles.append(" ".join(rng.choice(words, 3, replace=False)))
        theme.append(t)
    return titles, theme


@pytest.fixture(scope="module")
def fitted() -> HashedNgrams:
    return fit_hashed_ngrams(_titles(600)[0], size=24, seed=5)


@pytest.fixture(scope="module")
def stored(fitted: HashedNgrams, tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    folder = tmp_path_factory.mktemp("text")
    fitted.save(folder)
    return load_text_encoder(folder)


def _agreement(encoder: TextEncoder, titles: list[str], theme: list[int]) -> float:
    """The share of titles whose nearest title with no word in common has the same theme."""
    vectors = encoder.encode(titles)
    words = [set(t.split()) for t in titles]
    hits = []
    for i, row in enumerate(vectors @ vectors.T):
        others = [j for j in range(len(titles)) if not words[i] & words[j]]
        hits.append(theme[max(others, key=lambda j: row[j])] == theme[i])
    return float(np.mean(hits))


def test_titles_of_one_theme_are_near_even_without_a_common_word(fitted: HashedNgrams) -> None:
    titles, theme = _titles(120)
    blind = HashedNgrams(fit_hashed_ngrams([], size=24, seed=5).table)
    assert _agreement(fitted, titles, theme) > 0.9
    assert _agreement(blind, titles, theme) < 0.6  # a projection that learned nothing must fail


def test_the_stored_encoder_says_what_the_fitted_one_says(
    fitted: HashedNgrams, stored: TextEncoder
) -> None:
    texts = [*_titles(200)[0], "", "?", "never seen words", "🎉🎉", "שלום עולם", "x" * 5_000]
    np.testing.assert_allclose(stored.encode(texts), fitted.encode(texts), atol=1e-5)
    assert stored.size == fitted.size == 24


def test_nothing_to_read_gives_zeros_and_everything_else_length_one(stored: TextEncoder) -> None:
    vectors = stored.encode(["", "   ", "!!!", "a", "never-seen ünïcode", "🚀"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [0, 0, 0, 1, 1, 1], atol=1e-5)
    assert stored.encode([]).shape == (0, 24)


@given(st.lists(st.text(max_size=30), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_title_alone_is_encoded_as_in_a_batch(stored: TextEncoder, texts: list[str]) -> None:
    batch = stored.encode(texts)
    assert batch.shape == (len(texts), 24)
    assert np.isfinite(batch).all()
    for row, text in zip(batch, texts, strict=True):
        np.testing.assert_allclose(row, stored.encode([text])[0], atol=1e-5)


def test_equal_titles_and_seed_give_equal_encoders_and_another_seed_does_not() -> None:
    titles = _titles(80)[0]
    a, b, c = (fit_hashed_ngrams(titles, size=8, seed=s).table for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize("n_titles", [0, 1, 3, 60])
def test_a_tiny_catalogue_still_gets_an_encoder(n_titles: int) -> None:
    encoder = fit_hashed_ngrams(["one cat"] * n_titles, size=16)
    near, far = (
        encoder.encode(["one cat", "one cats", "zebra"]) @ encoder.encode(["one cat"])[0],
        0.5,
    )
    assert near[0] > 0.999
    assert near[1] > far > near[2]


def test_a_folder_without_an_encoder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"expected a file model\.onnx"):
        load_text_encoder(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(InvalidInput, match=r"tokenizer\.json or text\.json"):
        load_text_encoder(tmp_path)
    (tmp_path / "text.json").write_text('{"kind": "other"}')
    with pytest.raises(InvalidInput, match="got 'other'"):
        load_text_encoder(tmp_path)
