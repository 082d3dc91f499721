"""Hashed pieces: counted by hand on one title, the same for any batch, for any script."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from upnext.content.ngrams import MAX_CHARACTERS, PAIR_WEIGHT, RUN_WEIGHTS, pieces_of


def _bag(text: str) -> list[tuple[int, float]]:
    pieces = pieces_of([text], 20)
    return sorted(zip(pieces.bucket.tolist(), pieces.weight.tolist(), strict=True))


def test_a_title_of_two_words_has_the_pieces_counted_by_hand() -> None:
    # " red fox " is 9 characters: 7 runs of three, 6 of four, 5 of five; two words, one pair
    weights = pieces_of(["Red  FOX!"], 20).weight
    assert len(weights) == 2 + 1 + 7 + 6 + 5
    total = 2 * 1.0 + PAIR_WEIGHT + 7 * RUN_WEIGHTS[3] + 6 * RUN_WEIGHTS[4] + 5 * RUN_WEIGHTS[5]
    assert abs(float(weights.sum()) - total) < 1e-5


def test_hashes_are_the_same_on_every_machine() -> None:
    assert pieces_of(["a"], 15).bucket.tolist() == [14406, 19054]  # the word; the run " a "


def test_case_width_and_invisible_marks_do_not_matter() -> None:
    assert _bag("Straße") == _bag("STRASSE")
    assert _bag("ＣＡＴ") == _bag("cat")
    assert _bag("\u202bשלום\u202c") == _bag("שלום")
    assert _bag("❤\ufe0f") == _bag("❤")
    assert _bag("red fox") != _bag("fox red")


def test_ideographs_and_emoji_are_words_of_their_own() -> None:
    def shared(a: str, b: str) -> int:
        return len({p for p, w in _bag(a) if w == 1.0} & {p for p, w in _bag(b) if w == 1.0})

    assert shared("猫の動画", "犬と猫") == 1
    assert shared("😺😺 wow", "cat😺") == 1
    assert shared("مباراة اليوم", "اليوم") == 1
    assert shared("cats", "cat") == 0


def test_texts_without_anything_to_read_have_no_pieces() -> None:
    pieces = pieces_of(["", "  \n", "?!…", "\u200d\ufe0f"], 15)
    assert pieces.start.tolist() == [0, 0, 0, 0, 0]


@given(st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_a_text_has_the_same_pieces_alone_and_in_any_batch(texts: list[str]) -> None:
    batch = pieces_of(texts, 15)
    assert batch.bucket.size == 0 or (batch.bucket.min() >= 0 and batch.bucket.max() < 1 << 15)
    for i, text in enumerate(texts):
        alone = pieces_of([text], 15)
        rows = slice(batch.start[i], batch.start[i + 1])
        np.testing.assert_array_equal(np.sort(batch.bucket[rows]), np.sort(alone.bucket))


def test_lone_surrogates_and_endless_titles_are_read() -> None:
    assert len(_bag("\ud800 cat")) > 0
    assert _bag("ab " * 100_000) == _bag(("ab " * 100_000)[:MAX_CHARACTERS])
