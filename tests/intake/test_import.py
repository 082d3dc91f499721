"""A platform's files with a mapping become our tables, all of them, once."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from upnext.catalog import Catalog, CatalogView
from upnext.core.columns import EVENTS
from upnext.core.errors import InvalidInput, NotFound
from upnext.core.protocols import NoProgress
from upnext.events.log import SqliteEventLog
from upnext.intake import Report, Stores, import_tables, plan_of, validate

NOW_US = 2_000_000_000_000_000
MAPPING = """
[[videos]]
file = "movies.csv"
[videos.columns]
video_id = "movieId"
title = "title"
tags = {column = "genres", split = "|", null = ["(none)"]}
uploaded_us = {column = "upload_dt", time = "%Y-%m-%d", time_zone = "Asia/Shanghai"}
duration_s = {column = "length_ms", scale = 0.001}
category = {constant = "film"}

[[events]]
file = "ratings.csv.gz"
[events.columns]
user_id = "userId"
video_id = "movieId"
time_us = {column = "timestamp", unit = "s"}
surface = {column = "tab", map = {"0" = "home", "1" = "shorts"}}
[[events.emit]]
kind = "impression"
[[events.emit]]
kind = "like"
when = {column = "rating", ge = 4.0}
[[events.emit]]
kind = "watch"
watch_s = {column = "play_ms", scale = 0.001}
value = "long_view"
"""
MOVIES = """movieId,title,genres,upload_dt,length_ms
m1,"A ""quoted"", title",Drama|War,2022-04-10,60000
m2,"two
lines",(none),,
"""
RATINGS = """userId,movieId,rating,timestamp,play_ms,long_view,tab
u1,m1,4.0,1600000100,30000,1,0
u2,m3,3.5,1600000050,1500,0,1
u1,m1,4.0,1600000100,30000,1,0
u1,m2,5,1600000200,0,0,1
"""


def write(folder: Path, **files: str) -> Path:
    (folder / "map.toml").write_text(files.pop("mapping", MAPPING))
    for name, text in ({"movies_csv": MOVIES, "ratings_csv_gz": RATINGS} | files).items():
        path = folder / name.replace("_", ".")
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return folder / "map.toml"


def run(mapping: Path, stores: Stores, **more: Any) -> Report:
    return import_tables(plan_of(mapping), stores, NoProgress(), now_us=NOW_US, **more)


def test_rows_become_videos_and_events_in_order_of_time(
    tmp_path: Path, stores: Stores, log: Any
) -> None:
    report = run(write(tmp_path), stores)
    view = CatalogView(tmp_path / "catalog.db")
    first, second, placeholder = view.videos(np.arange(3))
    assert first["title"] == 'A "quoted", title'
    assert first["tags"] == ["Drama", "War"]
    assert first["uploaded_us"] == 1_649_520_000_000_000  # 2022-04-09T16:00Z, midnight in Shanghai
    assert first["duration_s"] == 60.0
    assert (second["title"], second["tags"], second["duration_s"]) == ("two\nlines", None, None)
    assert second["category"] == "film"
    assert (placeholder["video_id"], placeholder["status"]) == ("m3", "unknown")
    events = log.events()
    assert log.tables[0].schema == pa.schema([f for f in EVENTS if f.name != "log_seq"])
    told = [
        (e["time_us"] // 1_000_000 - 1_600_000_000, e["kind"], e["user_id"], e["item_id"])
        for e in events
    ]
    assert told == [
        (50, "impression", "u2", 2), (50, "watch", "u2", 2),
        (100, "impression", "u1", 0), (100, "like", "u1", 0), (100, "watch", "u1", 0),
        (200, "impression", "u1", 1), (200, "like", "u1", 1), (200, "watch", "u1", 1),
    ]  # fmt: skip
    watch = events[4]
    assert (watch["watch_s"], watch["value"], watch["duration_s"]) == (30.0, 1.0, 60.0)
    assert (watch["surface"], watch["is_clamped"], watch["received_us"]) == (
        "home",
        False,
        watch["time_us"],
    )
    assert {e["view_id"] for e in events[2:5]} == {events[2]["view_id"]}
    assert events[0]["duration_s"] is None
    table = report.tables["events"]
    assert (table.n_rows, table.n_kept, table.n_duplicates, table.n_bad) == (4, 3, 1, 0)
    assert (table.n_new, table.n_known) == (8, 0)
    assert table.kinds == {"impression": 3, "like": 2, "watch": 3}


def test_a_second_import_adds_nothing(tmp_path: Path, stores: Stores, log: Any) -> None:
    mapping = write(tmp_path)
    run(mapping, stores)
    again = run(mapping, stores)
    assert {name: (t.n_new, t.n_known) for name, t in again.tables.items()} == {
        "videos": (0, 2),
        "events": (0, 8),
    }
    assert len(log.events()) == 8


def test_the_same_rows_give_the_same_events_from_any_format(
    tmp_path: Path, stores: Stores, log: Any
) -> None:
    """One table as CSV, JSON lines and Parquet: typed or text, the derived ids agree."""
    rows = [
        {"u": "7", "v": "x", "t": 1_600_000_000, "w": 1.5},
        {"u": "8", "v": "y", "t": 1_600_000_001, "w": 0.0},
    ]
    (tmp_path / "a.csv").write_text("u,v,t,w\n7,x,1600000000,1.5\n8,y,1600000001,0.0\n")
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    typed = pa.Table.from_pylist(rows).set_column(0, "u", pa.array([7, 8]))
    pq.write_table(typed, tmp_path / "c.parquet")
    for i, name in enumerate(("a.csv", "b.jsonl", "c.parquet")):
        mapping = tmp_path / f"{i}.toml"
        mapping.write_text(
            f"""
            [[events]]
            file = "{name}"
            columns = {{user_id = "u", video_id = "v", time_us = {{column = "t", unit = "s"}}, watch_s = "w", kind = {{constant = "watch"}}}}
            """
        )
        report = run(mapping, stores).tables["events"]
        assert (report.n_new, report.n_known) == ((2, 0) if i == 0 else (0, 2)), name
    assert [(e["user_id"], e["watch_s"]) for e in log.events()] == [("7", 1.5), ("8", 0.0)]


def test_every_bad_row_is_counted_with_its_reason_and_kept_aside(
    tmp_path: Path, stores: Stores, log: Any
) -> None:
    lines = RATINGS.splitlines()
    lines += [
        "u3,m1,4,soon,1,0,0",
        "u3,m1,4",
        "u3,m1,4,1600000300,-5,0,0",
        ",m1,4,1600000300,5,0,0",
        "u3,m1,4,1600000300,5,0,9",
        "u3,m1,4,2600000000,5,0,0",
        "u9,m1,1,1600000400,5,0,0",
    ]
    mapping = write(tmp_path, ratings_csv_gz="\n".join(lines))
    report = run(mapping, stores, max_bad_share=0.9).tables["events"]
    assert (report.n_rows, report.n_bad, report.n_duplicates, report.n_kept) == (11, 6, 1, 4)
    told = {
        p.column: (p.expected, t.count, t.examples[0].row, t.examples[0].got)
        for p, t in report.bad.items()
    }
    assert told == {
        "the row": ("7 fields", 1, 7, "'u3,m1,4'"),
        "time_us (column 'timestamp')": ("a time in s since 1970", 1, 6, "'soon'"),
        "surface (column 'tab')": ("one of 0, 1", 1, 10, "'9'"),
        "user_id": ("a value", 1, 9, "None"),
        "time_us": ("a time that isn't in the future", 1, 11, "2600000000000000"),
        "watch_s": ("seconds of 0 or more", 1, 8, "-0.005"),
    }
    rejected = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert sorted(line["row"] for line in rejected) == [6, 7, 8, 9, 10, 11]
    assert next(x for x in rejected if x["row"] == 10)["values"]["userId"] == "u3"
    assert {e["user_id"] for e in log.events()} == {"u1", "u2", "u9"}
    assert report.n_rows == report.n_kept + report.n_bad + report.n_duplicates


def test_too_many_bad_rows_refuse_the_import_before_anything_is_written(
    tmp_path: Path, stores: Stores, log: Any
) -> None:
    mapping = write(tmp_path, ratings_csv_gz=RATINGS + "u3,m1,4,soon,1,0,0\n")
    with pytest.raises(
        InvalidInput, match=r"1 of 5 rows are bad \(20.0%, allowed 1.0%\).*'soon'.*row 6"
    ):
        run(mapping, stores)
    assert log.tables == []
    assert stores.catalog.item_ids(["m1"]).tolist() == [-1]


def test_the_doctor_reads_everything_and_writes_nothing(tmp_path: Path) -> None:
    lines = [
        "u1,m1,4,1600000300,900000,0,0",
        "u1,m2,4,1600000301,5,0,0",
        "u1,nowhere,4,1600000302,5,0,0",
        "u1,m1,4,900000000,5,0,0",
    ]
    mapping = write(
        tmp_path, ratings_csv_gz=RATINGS.splitlines()[0] + "\n" + "\n".join(lines) + "\n"
    )
    before = sorted(path.name for path in tmp_path.iterdir())
    report = validate(plan_of(mapping), NoProgress(), now_us=NOW_US)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    events = report.tables["events"]
    assert {text: tally.count for text, tally in events.warnings.items()} == {
        "time before the year 2000": 3,  # all three events of the row
        "video isn't in the videos table": 3,
        "watched over 10 times the duration": 1,
        "duration unknown": 2,
    }
    assert events.warnings["watched over 10 times the duration"].examples[0].row == 2
    assert report.tables["videos"].null_shares()["duration_s"] == 0.5
    assert (events.first_us, events.last_us) == (900_000_000_000_000, 1_600_000_302_000_000)
    assert json.loads(json.dumps(report.to_json()))["events"]["kept"] == 4


def test_events_out_of_order_come_sorted_when_they_must_be_spilled(
    tmp_path: Path, stores: Stores, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upnext.intake.time_order.BUCKET_ROWS", 1000)
    rng = np.random.default_rng(3)
    times = rng.integers(1, 700, 5000)
    rows = "".join(f"u{i},v,{t}\n" for i, t in enumerate(times))
    (tmp_path / "e.csv").write_text("u,v,t\n" + rows)
    (tmp_path / "m.toml").write_text(
        '[[events]]\nfile="e.csv"\n[events.columns]\nuser_id="u"\nvideo_id="v"\n'
        'time_us={column="t",unit="s"}\nkind={constant="click"}\n'
    )
    run(tmp_path / "m.toml", stores)
    got = [(e["time_us"] // 1_000_000, e["user_id"]) for e in log.events()]
    order = np.argsort(times, kind="stable")
    assert got == [(int(times[i]), f"u{i}") for i in order]


def test_rows_of_one_instant_keep_their_events_together(
    tmp_path: Path, stores: Stores, log: Any
) -> None:
    header = RATINGS.splitlines()[0]
    rows = "u1,m1,5,1600000100,1,0,0\nu2,m1,5,1600000100,1,0,0\n"
    run(write(tmp_path, ratings_csv_gz=f"{header}\n{rows}"), stores)
    assert [(e["user_id"], e["kind"]) for e in log.events()] == [
        ("u1", "impression"), ("u1", "like"), ("u1", "watch"),
        ("u2", "impression"), ("u2", "like"), ("u2", "watch"),
    ]  # fmt: skip


def test_users_and_histories_come_too_and_globs_name_many_files(
    tmp_path: Path, stores: Stores, log: Any
) -> None:
    (tmp_path / "u1.jsonl").write_text(
        '{"id": 1, "age": "33", "pro": true}\n{"id": 2, "age": null}\nnonsense\n'
    )
    (tmp_path / "u2.jsonl").write_text('{"id": 3, "joined": "2020-01-02 03:04:05"}\n')
    (tmp_path / "h.csv").write_text("1;0;a;1\n1;1;b;0\n")
    (tmp_path / "m.toml").write_text(
        """
        [[users]]
        file = "u*.jsonl"
        [users.columns]
        user_id = "id"
        age = "age"
        is_creator = "pro"
        signed_up_us = {column = "joined", time = "%Y-%m-%d %H:%M:%S", time_zone = "America/New_York"}
        [[histories]]
        file = "h.csv"
        separator = ";"
        header = ["who", "n", "what", "good"]
        columns = {user_id = "who", position = "n", video_id = "what", is_relevant = "good"}
        """
    )
    report = run(tmp_path / "m.toml", stores, max_bad_share=0.5)
    assert (report.tables["users"].n_new, report.tables["users"].n_bad) == (3, 1)
    view = CatalogView(tmp_path / "catalog.db")
    one, three = view.profile("1"), view.profile("3")
    assert one is not None
    assert three is not None
    assert (one.age, one.is_creator) == (33, True)
    assert three.signed_up_us == 1_577_952_245_000_000  # 08:04:05Z
    assert [(r["item_id"], r["is_relevant"], r["is_like"]) for r in log.history.values()] == [
        (0, True, None),
        (1, False, None),
    ]


def test_lists_scores_and_vectors_come_from_jsonl_and_parquet(
    tmp_path: Path, stores: Stores
) -> None:
    row = {
        "id": "a", "tags": ["x", "y"], "vec": [0.5, 1.0], "mod": {"violence": 0.25},
        "where": ["DE"], "free": False,
    }  # fmt: skip
    (tmp_path / "v.jsonl").write_text(json.dumps(row) + "\n")
    typed = pa.table(
        {
            "id": pa.array(["b"]), "tags": pa.array([["z"]]), "vec": pa.array([[2.0, 0.0]]),
            "mod": pa.array([[("clickbait", 0.5)]], pa.map_(pa.string(), pa.float32())),
            "where": pa.array([None], pa.list_(pa.string())), "free": pa.array([True]),
        }
    )  # fmt: skip
    pq.write_table(typed, tmp_path / "v.parquet")
    columns = (
        '{video_id="id", tags="tags", content_vector="vec", moderation="mod", '
        'countries_allowed="where", is_premium={column="free", map={"true"=false, "false"=true}}}'
    )
    (tmp_path / "m.toml").write_text(
        f'[[videos]]\nfile="v.jsonl"\ncolumns={columns}\n[[videos]]\nfile="v.parquet"\ncolumns={columns}\n'
    )
    run(tmp_path / "m.toml", stores)
    first, second = CatalogView(tmp_path / "catalog.db").videos(np.arange(2))
    assert (first["tags"], first["content_vector"], first["moderation"]) == (
        ["x", "y"],
        [0.5, 1.0],
        {"violence": 0.25},
    )
    assert (first["countries_allowed"], first["is_premium"]) == (["DE"], True)
    assert (second["tags"], second["content_vector"], second["moderation"]) == (
        ["z"],
        [2.0, 0.0],
        {"clickbait": 0.5},
    )
    assert (second["countries_allowed"], second["is_premium"]) == (None, False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[video]]\nfile='a'", r"unknown key \(did you mean 'videos'\?\)"),
        ("[[videos]]\nfil='a'\ncolumns={video_id='a'}", r"did you mean 'file'"),
        ("[[videos]]\nfile='a'\ncolumns={video_id='a', titel='b'}", "'titel' doesn't exist.*'title'"),
        ("[[videos]]\nfile='a'\ncolumns={title='b'}", "expected a column for 'video_id'"),
        ("[[videos]]\nfile='a'\ncolumns={video_id={colum='b'}}", "did you mean 'column'"),
        ("[[videos]]\nfile='a'\ncolumns={video_id={column='b', constant='c'}}", "either"),
        ("[[events]]\nfile='a'\ncolumns={user_id='u', time_us='t'}\nemit=[{kind='lik'}]", "did you mean 'like'"),
        ("[[events]]\nfile='a'\ncolumns={user_id='u', time_us='t'}\nemit=[{kind='like', when={column='r'}}]", "one of eq"),
        ("[[events]]\nfile='a'\ncolumns={user_id='u', time_us='t'}\nemit=[{kind='watch', watch='r'}]", "'watch_s'"),
        ("[[events]]\nfile='a'\ncolumns={user_id='u', time_us={column='t', unit='h'}, kind='k'}", "unit"),
        ("this is no toml", "not TOML"),
        ("[[videos]]\nfile='nothing*.csv'\ncolumns={video_id='a'}", "expected a file under"),
    ],
)  # fmt: skip
def test_a_wrong_mapping_is_one_clear_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(InvalidInput, match=words) as caught:
        plan_of(tmp_path / "m.toml")
    assert "\n" not in str(caught.value)


def test_a_missing_source_column_names_the_file_and_a_near_one(
    tmp_path: Path, stores: Stores
) -> None:
    mapping = write(tmp_path, movies_csv=MOVIES.replace("movieId", "movie_id"))
    with pytest.raises(
        InvalidInput, match=r"movies.csv: expected a column 'movieId' \(did you mean 'movie_id'"
    ):
        run(mapping, stores)
    with pytest.raises((InvalidInput, NotFound), match="no such file"):
        plan_of(tmp_path / "none.toml")


def test_latin_1_needs_to_be_said_and_is_then_read(tmp_path: Path, stores: Stores) -> None:
    (tmp_path / "v.csv").write_bytes("id,name\na,Amélie\n".encode("latin-1"))
    text = '[[videos]]\nfile="v.csv"\n{}\ncolumns={{video_id="id", title="name"}}\n'
    (tmp_path / "m.toml").write_text(text.format(""))
    with pytest.raises(InvalidInput, match="say `encoding`"):
        run(tmp_path / "m.toml", stores)
    (tmp_path / "m.toml").write_text(text.format('encoding="latin-1"'))
    run(tmp_path / "m.toml", stores)
    assert CatalogView(tmp_path / "catalog.db").videos(np.array([0]))[0]["title"] == "Amélie"


def test_the_event_log_takes_an_import_once_and_gives_it_back_in_order(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path / "log")
    stores = Stores(Catalog(tmp_path / "catalog.db"), log)
    mapping = write(tmp_path)
    assert run(mapping, stores).tables["events"].n_new == 8
    assert run(mapping, stores).tables["events"].n_known == 8
    rows = pa.concat_tables(log.scan()).to_pylist()
    assert [row["log_seq"] for row in rows] == list(range(1, 9))
    assert [row["item_id"] for row in rows] == [2, 2, 0, 0, 0, 1, 1, 1]
    log.close()
