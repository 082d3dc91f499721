"""The content profile in worlds where what is like what is known."""

import numpy as np
import pytest
from retrieval_world import query_of, showings_of

from upnext.core.errors import InvalidInput
from upnext.core.types import Flag
from upnext.retrieval.config import ContentProfileConfig
from upnext.retrieval.content_profile import ContentProfileGenerator, ContentProfileLearner
from upnext.retrieval.inverted_index import InvertedIndex
from upnext.retrieval.material import Material, VideoCodes
from upnext.retrieval.nearest import Nearest

N, C, TOPICS = 40, 9, 4
LIKED, SHOWN, DISLIKED = Flag.LIKE, Flag.IMPRESSION, Flag.DISLIKE


def contents(seed=2):
    """Video i is of topic i % 4, with noise, and all have a large part in common: its mean dwarfs what differs."""
    rng = np.random.default_rng(seed)
    topics = np.linalg.qr(rng.standard_normal((C, C)))[0][:TOPICS]
    rows = topics[np.arange(N) % TOPICS] + 0.1 * rng.standard_normal((N, C)) + 5.0
    return rows.astype(np.float32)


def codes(n):
    return VideoCodes(*(np.zeros(n, kind) for kind in ("i4", "i8", "i4", "f4", "?", "i8")))


def learned(content, start_from=None, **config):
    learner = ContentProfileLearner(ContentProfileConfig(size=3, **config))
    material = Material(showings_of([(0, 0, 1, 1)]), content, None, codes(len(content)))
    return learner, learner.learn(material, start_from=start_from)


def generator_in(folder, content, **config):
    learned(content, **config)[0].export(folder)
    return ContentProfileGenerator(folder)


def nearest_in(folder, generator):
    vectors = np.load(folder / "item_vectors.npy")
    index = InvertedIndex.build(vectors, np.arange(len(vectors)))
    return Nearest("content_profile", generator, index), index


def test_videos_of_the_liked_topic_are_proposed_where_plain_content_sees_no_difference(tmp_path):
    content = contents()
    source, _ = nearest_in(tmp_path, generator_in(tmp_path, content))
    found = source.fetch(query_of(items=[1, 5, 9], flags=[LIKED] * 3), 7)
    assert set(found.item_id) == {i for i in range(N) if i % TOPICS == 1} - {1, 5, 9}
    plain = content / np.linalg.norm(content, axis=1, keepdims=True)
    assert (plain @ plain.T).min() > 0.98  # the naive cosine: everything is like everything


def test_what_was_merely_shown_says_nothing_and_a_dislike_pushes_away(tmp_path):
    generator = generator_in(tmp_path, contents())
    one = generator.vectors(query_of(items=[1, 2], flags=[LIKED, SHOWN]))
    assert one == pytest.approx(generator.vectors(query_of(items=[1], flags=[LIKED])))
    item = np.load(tmp_path / "item_vectors.npy")
    away = generator.vectors(query_of(items=[1, 2], flags=[LIKED, DISLIKED]))
    assert (away @ item[6])[0] < (one @ item[6])[0] - 0.2
    assert np.linalg.norm(away) == pytest.approx(1)


def test_the_profile_is_the_decayed_mean(tmp_path):
    generator = generator_in(tmp_path, contents(), half_life=1, dislike_weight=0.5, n_rows=3)
    item = np.load(tmp_path / "item_vectors.npy")
    query = query_of(items=[8, 0, 1, 2], flags=[LIKED, LIKED, DISLIKED, LIKED | SHOWN])
    mean = 0.25 * item[0] - 0.5 * 0.5 * item[1] + item[2]  # video 8 is beyond the latest three
    assert generator.vectors(query)[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_a_viewer_who_liked_nothing_has_no_profile(tmp_path):
    generator = generator_in(tmp_path, contents())
    for query in (
        query_of(),
        query_of(items=[3], flags=[SHOWN]),
        query_of(items=[3], flags=[DISLIKED]),
    ):
        assert generator.vectors(query).shape == (0, generator.embedding_size)
    unknown = query_of(items=[10**6], flags=[LIKED])
    assert generator.vectors(unknown).shape == (0, 3)


def test_a_video_that_came_a_minute_ago_is_found_and_can_be_liked(tmp_path):
    content = contents()
    generator = generator_in(tmp_path, content)
    source, index = nearest_in(tmp_path, generator)
    ids, vectors = generator.bring(np.array([N, N + 1]), content[[1, 2]], codes(2))
    index.add(ids, vectors)
    found = source.fetch(query_of(items=[1], flags=[LIKED]), 1)
    assert found.item_id.tolist() == [N]
    liked_new = generator.vectors(query_of(items=[N + 1], flags=[LIKED]))
    assert liked_new == pytest.approx(
        generator.vectors(query_of(items=[2], flags=[LIKED])), abs=1e-5
    )


def test_going_on_keeps_the_components_and_takes_in_new_videos():
    first, said = learned(contents())
    assert said["held_variance"] > 0.9
    more = np.vstack([contents(), contents(seed=3)])
    again, _ = learned(more, start_from=first.snapshot())
    for name, array in first.snapshot().items():
        assert again.snapshot()[name].tolist() == array.tolist()
    with pytest.raises(InvalidInput, match="before what it learned"):
        ContentProfileLearner(ContentProfileConfig()).snapshot()
