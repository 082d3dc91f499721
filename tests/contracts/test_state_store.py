"""What every StateStore must do; each implementation runs through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upnext.core.errors import InvalidInput
from upnext.core.protocols import StateStore
from upnext.state import LmdbState

STORES: dict[str, Callable[[Path], StateStore]] = {"lmdb": LmdbState}


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StateStore]:
    made = STORES[request.param](tmp_path / "state")
    yield made
    made.close()


def test_an_empty_store_has_watermark_zero_and_no_values(store: StateStore) -> None:
    assert store.watermark() == 0
    assert store.get([b"a", b"", b"watermark", b"\x00watermark"]) == [None] * 4
    assert store.get([]) == []


def test_values_are_set_replaced_and_deleted_with_the_watermark(store: StateStore) -> None:
    store.apply({b"a": b"1", b"b": b"", b"": b"empty key"}, 3)
    assert store.get([b"b", b"a", b"c", b""]) == [b"", b"1", None, b"empty key"]
    store.apply({b"a": None, b"b": b"2", b"never": None}, 9)
    assert store.get([b"a", b"b"]) == [None, b"2"]
    assert store.watermark() == 9


def test_the_watermark_moves_without_deltas_but_never_back(store: StateStore) -> None:
    store.apply({}, 7)
    store.apply({}, 7)
    with pytest.raises(InvalidInput, match="at least the watermark 7"):
        store.apply({b"a": b"1"}, 6)
    assert store.watermark() == 7
    assert store.get([b"a"]) == [None]


def test_long_keys_that_differ_at_the_end_only_are_two(store: StateStore) -> None:
    long = ("😀" * 1000).encode()
    store.apply({long: b"1", long + b"x": b"2", long[:479]: b"3", long[:480]: b"4"}, 1)
    keys = [long, long + b"x", long[:479], long[:480], long[:481]]
    assert store.get(keys) == [b"1", b"2", b"3", b"4", None]


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.dictionaries(st.binary(max_size=600), st.none() | st.binary(max_size=50), max_size=8),
        max_size=6,
    )
)
def test_it_holds_what_a_dictionary_would(
    store: StateStore, steps: list[dict[bytes, bytes | None]]
) -> None:
    kept: dict[bytes, bytes | None] = {}
    for step in steps:
        store.apply(step, store.watermark() + 1)
        kept |= step
        assert store.get(list(kept)) == list(kept.values())
    store.apply(dict.fromkeys(kept), store.watermark())
