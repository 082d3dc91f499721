"""LMDB as the state store: other processes, growth, prefixes, damage."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.core.errors import InvalidInput, Unavailable
from upnext.state import LmdbState
from upnext.state.stored_key import stored_key

READER = """
import sys, pathlib
from upnext.state import LmdbState
state = LmdbState(pathlib.Path(sys.argv[1]), read_only=True, map_size=1 << 17)
for line in sys.stdin:
    value = state.get([line.strip().encode()])[0]
    sys.stdout.write(f"{state.watermark()} {None if value is None else len(value)}\\n")
    sys.stdout.flush()
"""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[LmdbState]:
    made = LmdbState(tmp_path / "state")
    yield made
    made.close()


def test_a_prefix_gives_its_keys_in_order_over_many_pages(state: LmdbState) -> None:
    many = {b"a/%05d" % i: b"%d" % i for i in range(3000)}
    state.apply({**many, b"a": b"1", b"b/1": b"x", b"a0": b"y"}, 1)
    assert list(state.scan(b"a/")) == sorted(many.items())
    assert [key for key, _ in state.scan(b"b")] == [b"b/1"]
    assert len(list(state.scan(b""))) == 3003
    assert list(state.scan(b"c")) == []


def test_a_prefix_finds_keys_that_are_longer_than_the_store_takes(state: LmdbState) -> None:
    user = "😀" * 1000
    state.apply({b"seen/" + user.encode(): b"1", b"seen/short": b"2"}, 1)
    found = dict(state.scan(b"seen/"))
    assert sorted(found.values()) == [b"1", b"2"]
    assert [v for _, v in state.scan((b"seen/" + user.encode())[:400])] == [b"1"]
    with pytest.raises(InvalidInput, match="at most 400 bytes"):
        list(state.scan(bytes(401)))


@given(st.lists(st.binary(max_size=700), unique=True, min_size=2, max_size=30))
def test_stored_keys_are_short_and_never_meet(keys: list[bytes]) -> None:
    keys += [key.ljust(n, b"\0") for key in keys for n in (479, 480, 481)]
    unique = set(keys)
    stored = {stored_key(key) for key in unique}
    assert len(stored) == len(unique)
    assert max(map(len, stored)) <= 511


def test_equal_contents_have_equal_checksums_however_they_came(
    state: LmdbState, tmp_path: Path
) -> None:
    other = LmdbState(tmp_path / "other")
    state.apply({b"a": b"1", b"b": b"2", b"c": b"3"}, 5)
    other.apply({b"b": b"2"}, 1)
    other.apply({b"c": b"3", b"x": b""}, 2)
    assert other.checksum() != state.checksum()
    other.apply({b"a": b"1", b"x": None}, 4)
    assert other.checksum() == state.checksum()
    other.apply({b"a": b"12", b"b": b""}, 4)
    state.apply({b"a": b"1", b"b": b"2"}, 5)
    assert other.checksum() != state.checksum()
    other.close()


def test_clearing_empties_it_and_resets_the_watermark(state: LmdbState) -> None:
    state.apply({b"a": b"1"}, 5)
    state.clear()
    assert (state.watermark(), list(state.scan(b""))) == (0, [])
    state.apply({b"b": b"1"}, 1)
    assert state.get([b"a", b"b"]) == [None, b"1"]


def test_what_was_committed_is_there_after_reopening(state: LmdbState, tmp_path: Path) -> None:
    state.apply({b"a": b"1"}, 5)
    state.sync()
    state.close()
    again = LmdbState(tmp_path / "state")
    assert (again.get([b"a"]), again.watermark()) == ([b"1"], 5)
    again.close()


def test_a_reader_in_another_process_follows_a_map_that_grows(tmp_path: Path) -> None:
    state = LmdbState(tmp_path, map_size=1 << 17)
    state.apply({b"a": b"12"}, 1)
    command = [sys.executable, "-c", READER, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None

        def ask(key: str) -> str:
            reader.stdin.write(key + "\n")
            reader.stdin.flush()
            return reader.stdout.readline().strip()

        assert ask("a") == "1 2"
        for i in range(2, 50):
            state.apply({b"big%d" % i: bytes(40_000)}, i)
        assert ask("big49") == "49 40000"
        reader.kill()  # its slot is stale now
    state.sync()
    assert state.get([b"big2"]) == [bytes(40_000)]
    state.close()


def test_threads_read_while_the_map_grows(tmp_path: Path) -> None:
    state = LmdbState(tmp_path, map_size=1 << 17)
    state.apply({b"n": b"0"}, 0)
    stop = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not stop.wait(0.0005):
            n, big = state.get([b"n", b"big"])
            if n != b"0" and big is not None and big[:1] != n[-1:]:
                wrong.append((n, big[:1]))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(1, 60):
        digit = b"%d" % (i % 10)
        state.apply({b"n": b"%d" % i, b"big": digit * 30_000, b"fill%d" % i: bytes(30_000)}, i)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert state.watermark() == 59
    state.close()


def test_a_reader_before_the_first_writer_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="not there yet"):
        LmdbState(tmp_path / "nothing", read_only=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(Unavailable, match="not there yet"):
        LmdbState(tmp_path / "empty", read_only=True)


def test_a_reader_does_not_write(state: LmdbState, tmp_path: Path) -> None:
    state.apply({b"a": b"1"}, 1)
    state.close()
    reader = LmdbState(tmp_path / "state", read_only=True)
    assert reader.get([b"a"]) == [b"1"]
    for write in (lambda: reader.apply({}, 2), reader.clear):
        with pytest.raises(Unavailable, match="reading only"):
            write()
    reader.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_damage_is_unavailable_with_the_advice_to_rebuild(
    state: LmdbState, tmp_path: Path, read_only: bool
) -> None:
    state.apply({b"k%d" % i: bytes(3000) for i in range(50)}, 1)
    state.close()
    file = tmp_path / "state" / "data.mdb"
    data = file.read_bytes()
    file.write_bytes(b"\xff" * len(data))
    with pytest.raises(Unavailable, match="rebuild the state from the log"):
        LmdbState(tmp_path / "state", read_only=read_only)
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(Unavailable, match=r"expected .* bytes, got .*rebuild"):
        LmdbState(tmp_path / "state", read_only=read_only)


def test_a_full_disk_is_unavailable_and_changes_nothing(tmp_path: Path) -> None:
    code = """
import pathlib, resource, sys
from upnext.core.errors import Unavailable
from upnext.state import LmdbState
state = LmdbState(pathlib.Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
n = 0
try:
    while True:
        state.apply({b"%d" % n: bytes(5000)}, n + 1)
        n += 1
except Unavailable as error:
    assert sys.argv[1] in str(error), error
assert n > 3 and state.watermark() == n, (n, state.watermark())
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
state.apply({b"%d" % n: bytes(5000)}, n + 1)
assert len(list(state.scan(b""))) == n + 1
print("good")
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True
    )
    assert run.stdout == "good\n", run.stderr


def test_a_reader_is_unavailable_while_the_file_is_gone_and_follows_the_one_built_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upnext.state.lmdb_state._LOOK_EVERY_S", 0.0)
    path = tmp_path / "state"
    write(path, "old")
    reader = LmdbState(path, read_only=True)
    assert reader.get([b"k"]) == [b"old"]
    path.rename(tmp_path / "taken-away")
    assert not reader.is_in_place()
    for _ in range(2):
        with pytest.raises(Unavailable, match="not there"):
            reader.get([b"k"])
    write(path, "new")
    assert reader.get([b"k"]) == [b"new"]
    assert reader.is_in_place()
    reader.close()


def write(path: Path, value: str) -> None:
    """Puts k in a state, from another process: one process opens a file once."""
    text = (
        "import sys, pathlib; from upnext.state import LmdbState; "
        "state = LmdbState(pathlib.Path(sys.argv[1])); state.apply({b'k': sys.argv[2].encode()}, 1); "
        "state.close()"
    )
    subprocess.run([sys.executable, "-c", text, str(path), value], check=True)
