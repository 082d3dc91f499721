"""Drawn thumbnails: the same for the same video, well-formed whatever the title says."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from upnext.dashboard.thumbnails import duration_text, thumbnail, wrapped

texts = (
    st.none()
    | st.text(st.characters(codec="utf-8"), max_size=80)
    | st.sampled_from(["<b>&\"'", "]]>", "🎬" * 40])
)


@given(st.text(st.characters(codec="utf-8"), max_size=30), texts, texts, st.booleans())
def test_any_title_gives_well_formed_svg_of_one_look(
    video_id: str, title: str | None, category: str | None, tall: bool
) -> None:
    drawn = thumbnail(video_id, title, category, tall=tall)
    root = ElementTree.fromstring(drawn)
    assert root.tag.endswith("svg")
    assert not [e for e in root.iter() if e.tag.endswith("script")]
    assert drawn == thumbnail(video_id, title, category, tall=tall)


def test_a_title_takes_at_most_three_lines() -> None:
    assert wrapped("one two") == ["one two"]
    assert wrapped("a" * 20) == ["a" * 16, "aaaa"]
    lines = wrapped("many words " * 20)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert wrapped("  ") == ["Untitled"]


def test_durations_read_as_people_write_them() -> None:
    said = [duration_text(s) for s in (0, 9.4, 125, 3725, None, float("nan"), -1)]
    assert said == ["0:00", "0:09", "2:05", "1:02:05", "", "", ""]
