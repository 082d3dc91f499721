"""A value that is made anew when it has aged."""

from __future__ import annotations

from upnext.retrieval.aged import Aged


def test_a_value_stands_until_it_has_aged_in_either_direction() -> None:
    value = Aged(lambda time_us: f"as of {time_us}", 5.0)
    value.refresh(10_000_000)
    value.refresh(14_999_999)
    assert value.at(99) == "as of 10000000"
    value.refresh(15_000_000)
    assert value.at(99) == "as of 15000000"
    value.refresh(10_000_000)  # a replay may go back in time
    assert value.at(99) == "as of 10000000"


def test_who_asks_first_has_it_made() -> None:
    made: list[int] = []
    value = Aged(made.append, 5.0)
    value.at(7)
    value.at(8)
    assert made == [7]
