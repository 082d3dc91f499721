"""What people read of why a video is there."""

from upnext.explain.slots import REASONS
from upnext.pipeline.config import SOURCES


def test_every_source_has_words_for_people() -> None:
    assert set(SOURCES) <= set(REASONS)
    assert not any("_" in words for words in REASONS.values())
