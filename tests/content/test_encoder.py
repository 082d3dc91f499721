"""The content vector of a video: fixed size, balanced blocks, the same after storing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from upnext.content.encoder import WEIGHTS, ContentEncoder, fit_content
from upnext.content.tags import TagVectors
from upnext.content.text import fit_hashed_ngrams
from upnext.core.columns import VIDEOS
from upnext.core.errors import InvalidInput

NAMES = ("bread", "goal", "cat")
TABLE = np.array([[3, 0], [0, 1], [-1, 0]], np.float32)
FULL = {
    "video_id": "v", "title": "How to bake bread", "tags": ["bread", "oven"], "category": "food",
    "language": "en", "duration_s": 95.0, "content_vector": [0.1, 0.2, 0.7],
}  # fmt: skip


def _videos(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=VIDEOS)


@pytest.fixture(scope="module")
def encoder() -> ContentEncoder:
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = [
        {"video_id": str(i), "content_vector": rng.normal(size=3).tolist()} for i in range(20)
    ]
    text = fit_hashed_ngrams(["bake bread", "great goal"], size=10)
    return fit_content(_videos(rows), text, TagVectors(TABLE, NAMES))


def test_tag_vectors_are_the_mean_of_known_tags() -> None:
    tags = TagVectors(TABLE, NAMES)
    codes = tags.codes([["bread", "goal"], ["oven"], None, ["cat", "oven", "bread"]])
    assert codes.dtype == np.int32
    assert codes.shape == (4, 8)
    np.testing.assert_allclose(tags.encode(codes), [[1.5, 0.5], [0, 0], [0, 0], [1, 0]])
    np.testing.assert_allclose(tags.encode(np.array([[7, 1, -1]], np.int32)), [[0, 1]])
    assert tags.encode(np.zeros((0, 8), np.int32)).shape == (0, 2)


def test_tag_vectors_come_back_from_disk(tmp_path: Path) -> None:
    tags = TagVectors(TABLE, ("ünï", "غ", "🙂"))
    tags.save(tmp_path / "tags.npz")
    again = TagVectors.load(tmp_path / "tags.npz")
    np.testing.assert_array_equal(again.table, TABLE)
    assert again.names == tags.names


def test_every_row_has_length_one_and_full_rows_have_their_stated_shares(
    encoder: ContentEncoder,
) -> None:
    rows: list[dict[str, object]] = [
        FULL,
        {},
        {"title": None, "tags": None},
        {"title": "?", "duration_s": float("nan")},
    ]
    vectors = encoder.encode(rows)
    assert vectors.shape == (4, encoder.size)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    total = sum(WEIGHTS.values())
    for name, block in encoder.blocks.items():
        share = float((vectors[0, block] ** 2).sum())
        assert abs(share - WEIGHTS[name] / total) < 1e-5, name
    np.testing.assert_array_equal(vectors[1], vectors[2])


def test_alike_videos_are_nearer_than_unlike_ones(encoder: ContentEncoder) -> None:
    alike = FULL | {"title": "Bake your bread", "duration_s": 110.0}
    unlike = {"title": "great goal", "tags": ["goal"], "category": "sport", "language": "es"}
    a, b, c = encoder.encode([FULL, alike, unlike])
    assert a @ b > 0.7 > a @ c


def test_unfit_platform_vectors_count_as_absent(encoder: ContentEncoder) -> None:
    absent = FULL | {"content_vector": None}
    rows = [
        absent,
        FULL | {"content_vector": [1.0]},
        FULL | {"content_vector": [1.0, float("nan"), 0.0]},
    ]
    vectors = encoder.encode(rows)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert not np.array_equal(vectors[0], encoder.encode([FULL])[0])


def test_a_stored_encoder_gives_the_same_rows(encoder: ContentEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "content")
    again = ContentEncoder.load(tmp_path / "content")
    rows: list[dict[str, object]] = [FULL, {}, {"title": "مرحبا 🙂"}]
    np.testing.assert_allclose(again.encode(rows), encoder.encode(rows), atol=1e-5)
    again.save(tmp_path / "twice")
    np.testing.assert_array_equal(
        ContentEncoder.load(tmp_path / "twice").encode(rows), again.encode(rows)
    )
    (tmp_path / "twice" / "content.json").write_text('{"size": 3}')
    with pytest.raises(InvalidInput, match="expected size 3"):
        ContentEncoder.load(tmp_path / "twice")


def test_a_table_is_encoded_as_its_rows_are(encoder: ContentEncoder) -> None:
    rows: list[dict[str, object]] = [
        FULL,
        {"video_id": "w"},
        FULL | {"video_id": "x", "title": "goal"},
    ]
    table = _videos(rows)
    expected = encoder.encode(table.to_pylist())
    np.testing.assert_allclose(encoder.encode_table(table, batch_rows=2), expected, atol=1e-6)
    assert encoder.encode_table(table.select(["video_id"])).shape == (3, encoder.size)
    assert encoder.encode([]).shape == (0, encoder.size)


def test_a_catalogue_without_platform_vectors_has_no_such_block() -> None:
    text = fit_hashed_ngrams([], size=10)
    encoder = fit_content(_videos([{"video_id": "v"}]), text, TagVectors(TABLE, NAMES))
    assert encoder.blocks["platform"].start == encoder.blocks["platform"].stop
    assert encoder.encode([FULL]).shape == (1, encoder.size)
