"""kill -9 of the writing process: nothing acknowledged is lost, nothing is there twice, and the state follows."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from upnext.core.columns import EVENTS
from upnext.events import SqliteEventLog
from upnext.state import LmdbState

CHILD = Path(__file__).parent / "log_child.py"
KILLS = [5, pytest.param(20, marks=pytest.mark.slow)]


def lines_until_killed(verb: str, *arguments: object, after_s: float) -> list[str]:
    """The whole lines that the child wrote before SIGKILL, which comes `after_s` seconds after it is ready."""
    command = [sys.executable, str(CHILD), verb, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        ready = child.stdout.readline()
        threading.Thread(target=lambda: (time.sleep(after_s), child.kill())).start()
        text = child.stdout.read()
    assert ready == "ready\n"
    return text[: text.rfind("\n") + 1].splitlines()


def whole(log: SqliteEventLog) -> pa.Table:
    return pa.concat_tables([EVENTS.empty_table(), *log.scan()])


def check_acknowledged(log: SqliteEventLog, acknowledged: dict[str, int]) -> None:
    table = whole(log)
    ids, numbers = table["event_id"].to_pylist(), table["log_seq"].to_pylist()
    assert numbers == list(range(1, len(ids) + 1))
    assert len(set(ids)) == len(ids)
    place = dict(zip(ids, numbers))
    assert {e: place.get(e) for e in acknowledged} == acknowledged


def note(acknowledged: dict[str, int], lines: list[str]) -> None:
    for line in lines:
        for word in line.split():
            event_id, number = word.split(":")
            acknowledged[event_id] = int(number)


@pytest.mark.parametrize("n_kills", KILLS)
def test_appended_events_survive_kills_and_the_state_is_the_log_up_to_its_watermark(
    tmp_path: Path, n_kills: int
) -> None:
    rng = random.Random(1)
    acknowledged: dict[str, int] = {}
    for kill in range(n_kills):
        # every second run sends what the last one may have lost again: half of its ids are known
        first = max(0, len(acknowledged) - 10 * (kill % 2))
        lines = lines_until_killed(
            "append", tmp_path / "log", first, tmp_path / "state", after_s=rng.uniform(0.02, 0.3)
        )
        note(acknowledged, lines)
        log = SqliteEventLog(tmp_path / "log")
        check_acknowledged(log, acknowledged)
        state = LmdbState(tmp_path / "state")
        table = whole(log).slice(0, state.watermark())
        sums = table.group_by("user_id").aggregate([("log_seq", "sum")]).to_pylist()
        expected = {row["user_id"].encode(): str(row["log_seq_sum"]).encode() for row in sums}
        assert dict(state.scan(b"")) == expected
        assert state.watermark() >= max(acknowledged.values(), default=0)
        state.close()
        log.close()
    assert len(acknowledged) > 20 * n_kills


@pytest.mark.parametrize("n_kills", KILLS)
def test_sealing_moves_rows_whole_or_not_at_all(tmp_path: Path, n_kills: int) -> None:
    rng = random.Random(2)
    acknowledged: dict[str, int] = {}
    for _ in range(n_kills):
        first = len(acknowledged)
        lines = lines_until_killed("seal", tmp_path, first, after_s=rng.uniform(0.02, 0.3))
        note(acknowledged, lines)
        log = SqliteEventLog(tmp_path)
        check_acknowledged(log, acknowledged)
        log.verify()
        log.close()
    assert any((tmp_path / "segments").iterdir())


@pytest.mark.parametrize("n_kills", KILLS)
def test_a_killed_import_is_run_again_and_every_row_is_there_once(
    tmp_path: Path, n_kills: int
) -> None:
    rng = random.Random(3)
    first, n_known_new = 0, 0
    for _ in range(n_kills):
        lines = lines_until_killed("import", tmp_path, first, after_s=rng.uniform(0.02, 0.3))
        for line in lines:
            word, at, n_new, n_known = line.split()
            assert word == "imported"
            assert int(n_new) + int(n_known) == 1500
            first, n_known_new = int(at), n_known_new + 1
        log = SqliteEventLog(tmp_path)
        check_acknowledged(log, {})
        ids = whole(log)["event_id"].to_pylist()
        assert ids == [f"i{n}" for n in range(len(ids))]
        if n_known_new:
            assert len(ids) >= first + 1000
        log.close()
    assert n_known_new > 0
