"""The log in its folder: readers beside the writer, sealing, bulk import, histories, full disks, damaged files."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from upnext.core.columns import EVENTS, HISTORIES
from upnext.core.errors import InvalidInput, Unavailable
from upnext.core.event import Event
from upnext.events import ImportCount, SqliteEventLog, database, event_body, segments, stamped
from upnext.events.imported_ids import ImportedIds, write_ids


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteEventLog]:
    made = SqliteEventLog(tmp_path)
    yield made
    made.close()


def event(name: str, **fields: object) -> Event:
    return Event(**{"event_id": name, "kind": "click", "user_id": "u", "time_us": 5, **fields})


def bulk(*names: str, **columns: list[object]) -> pa.Table:
    n = len(names)
    plain = {"event_id": names, "kind": ["watch"] * n, "user_id": ["u"] * n, "time_us": [9] * n}
    return pa.table({**plain, **columns})


def ids_of(log: SqliteEventLog, after_seq: int = 0, **how: int) -> list[tuple[int, str]]:
    table = pa.concat_tables([EVENTS.empty_table(), *log.scan(after_seq, **how)])
    return list(zip(table["log_seq"].to_pylist(), table["event_id"].to_pylist()))


def test_body_columns_are_those_of_events_and_only_grow_at_the_end() -> None:
    assert sorted([*event_body.BODY_COLUMNS, "log_seq"]) == sorted(EVENTS.names)
    assert event_body.BODY_COLUMNS[:4] == ("event_id", "kind", "user_id", "time_us")
    assert event_body.BODY_COLUMNS[25] == "undoes_kind"


def test_a_body_from_before_a_column_was_added_reads_as_null_there() -> None:
    import msgspec

    old = msgspec.msgpack.encode(("a", "click", "u", 5, "s"))
    new = event_body.encode_event(event("b", undoes_kind="like"))
    rows = event_body.events_table([1, 2], [old, new]).to_pylist()
    assert (rows[0]["session_id"], rows[0]["undoes_kind"]) == ("s", None)
    assert (rows[1]["event_id"], rows[1]["undoes_kind"]) == ("b", "like")
    assert event_body.decode_event(1, old) == event("a", session_id="s", log_seq=1)


def test_a_reader_sees_commits_as_they_come(log: SqliteEventLog, tmp_path: Path) -> None:
    reader = SqliteEventLog(tmp_path, read_only=True)
    assert ids_of(reader) == []
    log.append([event("a")])
    assert ids_of(reader) == [(1, "a")]
    log.append([event("b")])
    assert ids_of(reader, 1) == [(2, "b")]
    with pytest.raises(Unavailable, match="reading only"):
        reader.append([event("c")])
    reader.close()


def test_a_reader_in_another_process_sees_commits(log: SqliteEventLog, tmp_path: Path) -> None:
    log.append([event("a"), event("b")])
    code = (
        "import sys, pathlib; from upnext.events import SqliteEventLog as L; "
        "print(L(pathlib.Path(sys.argv[1]), read_only=True).last_seq())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True
    )
    assert run.stdout == "2\n", run.stderr


def test_a_reader_before_the_first_writer_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="not there yet"):
        SqliteEventLog(tmp_path / "nothing", read_only=True)


def test_a_second_writer_is_refused(log: SqliteEventLog, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="another writer"):
        SqliteEventLog(tmp_path)
    log.close()
    SqliteEventLog(tmp_path).close()


def test_sealed_rows_keep_their_place_their_ids_and_their_fields(log: SqliteEventLog) -> None:
    log.append([event(str(i), watch_s=i / 2) for i in range(10)])
    before = pa.concat_tables(log.scan())
    assert log.seal(keep_rows=3) == 7
    assert log.seal(keep_rows=3) == 0
    assert pa.concat_tables(log.scan()).equals(before)
    assert ids_of(log, 4, batch_rows=2) == [(n, str(n - 1)) for n in range(5, 11)]
    assert log.append([event("2"), event("new"), event("9")]) == [3, 11, 10]
    assert log.known(["2", "9", "x"]) == [
        event("2", watch_s=1.0, log_seq=3),
        event("9", watch_s=4.5, log_seq=10),
        None,
    ]


def test_sealing_never_crosses_an_imported_segment(log: SqliteEventLog) -> None:
    log.append([event("a"), event("b")])
    log.import_sealed([bulk("i", "j")])
    log.append([event("c")])
    expected = [(1, "a"), (2, "b"), (3, "i"), (4, "j"), (5, "c")]
    assert ids_of(log) == expected
    assert log.seal(keep_rows=0) == 3
    assert ids_of(log) == expected
    assert ids_of(log, 3) == expected[3:]
    log.verify()


def test_a_reader_in_the_middle_of_a_scan_misses_nothing_when_rows_are_sealed(
    log: SqliteEventLog,
) -> None:
    log.append([event(str(i)) for i in range(9)])
    scan = log.scan(batch_rows=2)
    first = next(scan)
    log.seal(keep_rows=1)
    log.append([event("late")])
    rest = [first, *scan]
    assert pa.concat_tables(rest)["log_seq"].to_pylist() == list(range(1, 10))


def test_an_import_counts_new_and_known_rows_whatever_their_origin(log: SqliteEventLog) -> None:
    log.append([event("live"), event("sealed")])
    log.seal(keep_rows=0)
    assert log.import_sealed([bulk("a", "b", "a"), bulk("live", "c", "sealed")]) == ImportCount(
        3, 3
    )
    assert log.import_sealed([bulk("c", "b", "d")]) == ImportCount(1, 2)
    assert log.import_sealed([bulk("c", "b", "d")]) == ImportCount(0, 3)
    assert log.import_sealed([]) == ImportCount(0, 0)
    assert [e for _, e in ids_of(log)] == ["live", "sealed", "a", "b", "c", "d"]
    assert log.append([event("b"), event("e")]) == [4, 7]
    found = log.known(["c"])[0]
    assert found is not None
    assert (found.log_seq, found.kind, found.received_us) == (5, "watch", 0)


def test_imported_ids_hold_after_a_restart(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path)
    log.import_sealed([bulk("a", "b")])
    log.close()
    log = SqliteEventLog(tmp_path)
    assert log.append([event("b")]) == [2]
    assert log.import_sealed([bulk("a", "z")]) == ImportCount(1, 1)
    log.close()


def test_an_import_becomes_several_segments_when_it_is_long(
    log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(segments, "MAX_ROWS", 100)
    monkeypatch.setattr("upnext.events.segment_import.ROW_GROUP", 64)
    names = [f"n{i}" for i in range(300)]
    tables = [bulk(*names[i : i + 7]) for i in range(0, 300, 7)]
    assert log.import_sealed(iter(tables)) == ImportCount(300, 0)
    assert len(list((tmp_path / "segments").glob("*.parquet"))) == 3
    assert ids_of(log) == [(i + 1, f"n{i}") for i in range(300)]
    assert ids_of(log, 150)[0] == (151, "n150")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (bulk("a", colour=["red"]), "colour"),
        (bulk("a", user_id=[None]), "user_id: expected no nulls"),
        (bulk("a", slot=["first"]), "slot: expected int32"),
        (pa.table({"event_id": ["a"]}), "time_us: expected no nulls|kind: expected no nulls"),
    ],
)
def test_rows_that_do_not_conform_are_refused_by_name(
    log: SqliteEventLog, tmp_path: Path, table: pa.Table, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        log.import_sealed([bulk("fine"), table])
    assert ids_of(log) == []
    assert log.append([event("a")]) == [1]


def test_what_a_crash_left_beside_the_segments_is_removed(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path)
    log.import_sealed([bulk("a")])
    log.close()
    folder = tmp_path / "segments"
    listed = sorted(folder.iterdir())
    for name in ("events-000000000000002.parquet", "events-9.ids", "events-3.parquet.tmp"):
        (folder / name).write_bytes(b"half")
    log = SqliteEventLog(tmp_path)
    assert sorted(folder.iterdir()) == listed
    assert ids_of(log) == [(1, "a")]
    log.close()


def test_a_damaged_segment_is_named(log: SqliteEventLog, tmp_path: Path) -> None:
    log.import_sealed([bulk("a", "b")])
    log.verify()
    (file,) = (tmp_path / "segments").glob("*.parquet")
    data = file.read_bytes()
    file.write_bytes(data[:40] + b"X" + data[41:])
    with pytest.raises(Unavailable, match=f"{file.name}.*expected sha256"):
        log.verify()
    file.write_bytes(b"no parquet")
    with pytest.raises(Unavailable, match=file.name):
        list(log.scan())
    file.unlink()
    with pytest.raises(Unavailable, match=file.name):
        list(log.scan())


def test_a_full_disk_is_unavailable_and_the_log_works_again_when_space_returns(
    log: SqliteEventLog,
) -> None:
    log.append([event("a")])
    connection = log._connection
    connection.execute(
        f"PRAGMA max_page_count={connection.execute('PRAGMA page_count').fetchone()[0]}"
    )
    with pytest.raises(Unavailable, match=r"event log .*full"):
        log.append([event(f"b{i}", text="x" * 1000) for i in range(100)])
    assert ids_of(log) == [(1, "a")]
    connection.execute("PRAGMA max_page_count=1000000")
    assert log.append([event("b0"), event("a")]) == [2, 1]


def test_a_failure_in_the_middle_of_a_transaction_leaves_nothing_of_it(
    log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = database.find_keys

    def fail_at_slates(connection: sqlite3.Connection, table: str, keys: list[bytes]) -> object:
        if table == "slates":  # asked for after the events were inserted
            raise sqlite3.OperationalError("disk I/O error")
        return find(connection, table, keys)

    with monkeypatch.context() as patch:
        patch.setattr(database, "find_keys", fail_at_slates)
        with pytest.raises(Unavailable, match="disk I/O error"):
            log.append([event("lost")])
    assert ids_of(log) == []
    assert log.append([event("kept"), event("lost")]) == [1, 2]


def test_a_limit_on_file_size_is_unavailable_and_nothing_acknowledged_is_lost(
    tmp_path: Path,
) -> None:
    code = """
import pathlib, resource, sys
from upnext.core.errors import Unavailable
from upnext.core.event import Event
from upnext.events import SqliteEventLog
log = SqliteEventLog(pathlib.Path(sys.argv[1]))
make = lambda n: [Event(event_id=f"{n}-{i}", kind="click", user_id="u", time_us=1, text="x" * 500) for i in range(50)]
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
n, failures = 0, 0
while failures < 3:
    try:
        assert log.append(make(n))[-1] == 50 * (n + 1)
        n += 1
    except Unavailable as error:
        failures += 1
assert n > 3, n
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert log.append(make(n))[-1] == 50 * (n + 1)
assert sum(len(t) for t in log.scan()) == 50 * (n + 1)
print("good")
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True
    )
    assert run.stdout == "good\n", run.stderr


def test_an_event_that_can_not_be_stored_is_refused_with_its_batch(log: SqliteEventLog) -> None:
    with pytest.raises(InvalidInput, match="event 'bad'"):
        log.append([event("a"), event("bad", text="\ud800")])
    assert log.append([event("b")]) == [1]


def test_a_damaged_database_says_so(tmp_path: Path) -> None:
    SqliteEventLog(tmp_path).close()
    (tmp_path / "log.db").write_bytes(b"not a database at all" * 500)
    with pytest.raises(Unavailable, match="not a database"):
        SqliteEventLog(tmp_path)


def test_a_log_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    SqliteEventLog(tmp_path).close()
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("UPDATE meta SET value = 99 WHERE key = 'version'")
    connection.close()
    for read_only in (False, True):
        with pytest.raises(Unavailable, match="expected version 1, got 99"):
            SqliteEventLog(tmp_path, read_only=read_only)


def test_histories_are_stored_once_and_a_later_table_replaces_a_place(log: SqliteEventLog) -> None:
    assert log.histories().equals(HISTORIES.empty_table())
    first = pa.table(
        {"user_id": ["b", "a", "a"], "position": [0, 1, 0], "video_id": ["x", "y", "z"]}
    )
    assert log.add_histories(first) == 3
    assert log.add_histories(first) == 0
    later = pa.table({"user_id": ["a"], "position": [1], "video_id": ["new"], "item_id": [4]})
    assert log.add_histories(later) == 1
    table = log.histories()
    assert table.schema == HISTORIES
    assert table.select(["user_id", "position", "video_id", "item_id"]).to_pydict() == {
        "user_id": ["a", "a", "b"],
        "position": [0, 1, 0],
        "video_id": ["z", "new", "x"],
        "item_id": [None, 4, None],
    }
    with pytest.raises(InvalidInput, match="histories: position"):
        log.add_histories(pa.table({"user_id": ["a"], "video_id": ["v"]}))


def test_imported_ids_are_told_apart_by_their_second_half(tmp_path: Path) -> None:
    same = [bytes(8) + i.to_bytes(8, "big") for i in (5, 3, 9)]
    other = [i.to_bytes(16, "big") for i in (1 << 100, 1 << 120)]
    write_ids(tmp_path / "x.ids", same + other)
    ids = ImportedIds()
    ids.add(tmp_path / "x.ids", 100)
    unknown = [bytes(16), bytes([255] * 16), bytes(8) + b"\0" * 7 + b"\4"]
    assert ids.find(other[::-1] + same + unknown).tolist() == [104, 103, 100, 101, 102, 0, 0, 0]
    (tmp_path / "x.ids").write_bytes(b"123")
    with pytest.raises(Unavailable, match=r"x\.ids"):
        ids.add(tmp_path / "x.ids", 1)


def test_stamping_leaves_everything_else(log: SqliteEventLog) -> None:
    assert stamped(event("a", text="t"), log_seq=4) == event("a", text="t", log_seq=4)
