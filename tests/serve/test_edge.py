"""Small parts of the edge: keys, ids, log lines, frames, claimed folders."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path

import msgspec
import pytest

from upnext.core.errors import InvalidInput, Unavailable
from upnext.serve.access import Access, Refused
from upnext.serve.corked import CorkedTransport
from upnext.serve.frames import FrameReader, frame
from upnext.serve.json_table import json_table
from upnext.serve.log_lines import JsonLines
from upnext.serve.supervisor import claimed
from upnext.serve.time_ordered_id import time_ordered_id
from upnext.settings.settings import ApiKey


def test_ids_are_unique_and_sort_by_the_time_they_were_made() -> None:
    ids = []
    for _ in range(5):
        ids.append(time_ordered_id())
        time.sleep(0.002)
    assert ids == sorted(set(ids))
    assert all(len(i) == 32 and i[12:13] == b"7" and i[16:17] in b"89ab" for i in ids)


READER = ApiKey(key="reader-key", scopes=("read",))
ADMIN = ApiKey(key="admin-key-1", scopes=("admin",))


def test_a_key_opens_its_scopes_and_admin_opens_all() -> None:
    access = Access([READER, ADMIN])
    access.check({"authorization": "Bearer reader-key"}, "read")
    access.check({"x-api-key": "admin-key-1"}, "write")
    access.check({"cookie": "a=b; upnext_key=admin-key-1"}, "admin")
    access.check({}, "none")
    for headers, status in (({}, 401), ({"authorization": "Bearer nobody"}, 401),
                            ({"authorization": "Bearer reader-key"}, 403)):  # fmt: skip
        with pytest.raises(Refused) as refused:
            access.check(headers, "write")
        assert refused.value.status == status


def test_without_keys_everything_is_open_but_not_to_another_sites_pages() -> None:
    access = Access([])
    access.check({}, "admin")
    access.check({"sec-fetch-site": "same-origin"}, "write")
    with pytest.raises(Refused):
        access.check({"sec-fetch-site": "cross-site"}, "write")


def test_a_log_line_is_one_line_of_json_with_its_fields() -> None:
    record = logging.makeLogRecord(
        {
            "name": "x",
            "levelno": 30,
            "levelname": "WARNING",
            "msg": "two\nlines",
            "worker": Path("w"),
        }
    )
    line = JsonLines("worker-0").format(record)
    assert "\n" not in line
    read = json.loads(line)
    assert (read["level"], read["process"], read["worker"]) == ("warning", "worker-0", "w")


def test_frames_come_back_whole_wherever_the_stream_was_cut_into_reads() -> None:
    bodies = [{"a": 1}, {}, {"text": "x" * 700}]
    encoder = msgspec.msgpack.Encoder()
    stream = b"".join(frame(i, body, encoder) for i, body in enumerate(bodies))
    for n_bytes in (1, 2, 3, 5, 7, 64, 711, len(stream)):
        reader = FrameReader()
        cuts = [stream[i : i + n_bytes] for i in range(0, len(stream), n_bytes)]
        found = [msgspec.msgpack.decode(body) for cut in cuts for body in reader.feed(cut)]
        assert found == [[i, body] for i, body in enumerate(bodies)]
        assert not reader.is_inside


def test_a_frame_cut_in_the_middle_is_known_and_one_that_is_too_long_is_refused() -> None:
    whole = frame(7, {"a": 1}, msgspec.msgpack.Encoder())
    reader = FrameReader()
    (body,) = reader.feed(whole + whole[:-1])
    assert msgspec.msgpack.decode(body) == [7, {"a": 1}]
    assert reader.is_inside
    with pytest.raises(Unavailable, match="a frame of"):
        FrameReader().feed(b"\xff\xff\xff\xff")


class Written:
    """A transport that keeps what was written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


def test_what_is_written_in_one_turn_of_the_loop_leaves_as_one_write() -> None:
    async def work() -> None:
        under = Written()
        corked = CorkedTransport(under)
        corked.write(b"head")
        corked.write(b"body")
        assert under.writes == []
        await asyncio.sleep(0)
        assert under.writes == [b"headbody"]
        corked.write(b"next")
        await asyncio.sleep(0)
        corked.write(b"the ")
        corked.write(b"end")
        corked.close()
        assert under.writes == [b"headbody", b"next", b"the end"]
        assert corked.is_closing()
        await asyncio.sleep(0)
        assert len(under.writes) == 3

    asyncio.run(work())


def test_one_data_folder_is_served_once_and_long_paths_get_a_short_socket_folder(
    tmp_path: Path,
) -> None:
    with claimed(tmp_path / "run") as folder:
        assert folder == (tmp_path / "run").resolve() or len(str(folder)) < 90
        with pytest.raises(Unavailable, match="another"), claimed(tmp_path / "run"):
            pass
    with claimed(tmp_path / ("long" * 30) / "run") as folder:
        assert len(str(folder)) < 90
        assert folder.is_dir()
    assert not folder.exists()


def test_rows_of_json_become_a_table_or_say_where_they_do_not_fit() -> None:
    table = json_table(
        [{"video_id": "a", "moderation": {"x": 0.5}, "tags": ["t"]}, {"video_id": "b"}], "videos"
    )
    assert table.num_rows == 2
    assert table.column("moderation").to_pylist() == [[("x", 0.5)], None]
    with pytest.raises(InvalidInput, match=r"videos\[1\].duration_s: expected double, got 'long'"):
        json_table(
            [{"video_id": "a", "duration_s": 1.0}, {"video_id": "b", "duration_s": "long"}],
            "videos",
        )
    with pytest.raises(InvalidInput, match="did you mean 'title'"):
        json_table([{"video_id": "a", "titel": "x"}], "videos")
