"""A log from any table: the mapping, the target's distributions, and errors that name file, line and column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from upnext.core.errors import InvalidInput
from upnext.evaluate.off_policy.logged import Logged
from upnext.evaluate.off_policy.report import report_of
from upnext.evaluate.off_policy.reward_models import TabularModel
from upnext.evaluate.off_policy.slates import Slates
from upnext.evaluate.off_policy.table import read_log

LOG = """watched,p,video,slot,viewer,p_new,hour,country
1,0.5,b,1,u1,0.25,8,se
0,0.25,a,1,u1,0.5,9,mx
1,0.5,c,2,u2,0.1,20,se
0,0.5,b,2,u3,0.9,21,se
"""
TARGET = """item,place,chance
a,1,0.75
b,1,0.25
b,2,0.1
c,2,0.9
b,2,0.1
"""
COLUMNS = """
[log]
file = "log.csv"
[log.columns]
reward = "watched"
propensity = "p"
"""
WITH_TABLE = (
    COLUMNS
    + """action = "video"
position = "slot"
[target]
file = "target.csv"
[target.columns]
action = "item"
position = "place"
probability = "chance"
"""
)


def read(folder: Path, mapping: str, log: str = LOG, target: str = TARGET) -> Logged | Slates:
    (folder / "log.csv").write_text(log, "utf-8")
    (folder / "target.csv").write_text(target, "utf-8")
    (folder / "mapping.toml").write_text(mapping, "utf-8")
    return read_log(folder / "mapping.toml")


def rows(log: Logged | Slates) -> Logged:
    assert isinstance(log, Logged)
    return log


def test_a_column_of_the_target_s_probabilities(tmp_path: Path) -> None:
    columns = 'target = "p_new"\nuser = "viewer"\ncontext = ["hour", "country"]\n'
    log = rows(read(tmp_path, COLUMNS + columns))
    assert log.reward.tolist() == [1, 0, 1, 0]
    assert log.weight.tolist() == [0.5, 2, 0.2, 1.8]
    assert log.cluster.tolist() == [0, 0, 1, 2]
    assert log.context is not None
    assert log.context.shape == (4, 3)  # the hour standardised, two countries
    assert log.context[:, 0].mean() == pytest.approx(0)
    assert log.context[:, 1:].tolist() == [[0, 1], [1, 0], [0, 1], [0, 1]]
    assert "no DM" in report_of(log, TabularModel()).left_out


def test_a_table_of_the_target_s_probabilities_by_position(tmp_path: Path) -> None:
    log = rows(read(tmp_path, WITH_TABLE))
    assert log.target.tolist() == [0.25, 0.75, 0.9, 0.1]
    assert log.target_all is not None
    assert log.target_all.tolist() == [[0.75, 0.25, 0], [0, 0.1, 0.9]]
    assert log.distributions(np.arange(4)).tolist() == log.target_all[[0, 0, 1, 1]].tolist()


def test_a_target_s_own_log_stands_for_its_probabilities(tmp_path: Path) -> None:
    mapping = WITH_TABLE.replace('probability = "chance"\n', "")
    log = rows(read(tmp_path, mapping))
    assert log.target == pytest.approx([0.5, 0.5, 1 / 3, 2 / 3])


def test_how_often_is_unbiased_where_the_mean_of_logged_propensities_is_not() -> None:
    # A target whose choice of video 0 moves between .1 and .9: of its rows with video 0, nine in ten come from the .9 half.
    rng = np.random.default_rng(0)
    p = np.where(np.arange(20_000) < 10_000, 0.1, 0.9)
    is_zero = rng.random(20_000) < p
    assert is_zero.mean() == pytest.approx(0.5, abs=0.012)
    assert p[is_zero].mean() == pytest.approx(0.82, abs=0.012)


def test_a_target_that_differs_by_request(tmp_path: Path) -> None:
    mapping = """
[log]
file = "log.csv"
[log.columns]
reward = "watched"
propensity = "p"
action = "video"
request = "viewer"
[target]
file = "target.csv"
[target.columns]
action = "item"
request = "asked"
probability = "chance"
"""
    target = "item,asked,chance\na,u1,0.5\nb,u1,0.5\nc,u2,1\na,u3,0.2\nb,u3,0.8\n"
    log = rows(read(tmp_path, mapping, target=target))
    assert log.target.tolist() == [0.5, 0.5, 1.0, 0.8]
    with pytest.raises(
        InvalidInput, match=r"line 5, column 'viewer': expected one that .*target.csv has"
    ):
        read(tmp_path, mapping, target=target.replace("u3", "u9"))


def test_rows_of_a_slate_make_slates_with_their_viewers(tmp_path: Path) -> None:
    columns = 'target = "p_new"\nslate = "viewer"\nposition = "hour"\n'
    slates = read(tmp_path, COLUMNS + columns)
    assert isinstance(slates, Slates)
    assert len(slates.cluster) == 3
    assert slates.weight.tolist() == [[0.5, 1.0], [0.2, 0.2], [1.8, 1.8]]


def test_predictions_of_a_model_of_one_s_own(tmp_path: Path) -> None:
    columns = 'target = "p_new"\npredicted = "hour"\npredicted_target = "p_new"\n'
    log = rows(read(tmp_path, COLUMNS + columns))
    assert log.predicted is not None
    assert log.predicted.logged.tolist() == [8, 9, 20, 21]
    assert {line.name for line in report_of(log).lines} >= {"DM", "DR", "DRos"}


def test_csv_gzip_json_lines_and_parquet_read_alike(tmp_path: Path) -> None:
    mapping = COLUMNS + 'target = "p_new"\n'
    plain = rows(read(tmp_path, mapping))
    frame = pl.read_csv(tmp_path / "log.csv")
    frame.write_parquet(tmp_path / "log.parquet")
    frame.write_ndjson(tmp_path / "log.jsonl")
    for name in ("log.parquet", "log.jsonl"):
        (tmp_path / "other.toml").write_text(mapping.replace("log.csv", name), "utf-8")
        other = rows(read_log(tmp_path / "other.toml"))
        assert (other.reward == plain.reward).all()
        assert (other.weight == plain.weight).all()


BAD_MAPPINGS = [
    (COLUMNS, "expected either `target` in log.columns or a table"),
    (COLUMNS + 'target = "p_new"\nrewrad = "x"\n', r"log.columns.rewrad: unknown key \(did you mean 'reward'\?\)"),
    (COLUMNS.replace("[log]", "[lgo]"), r"unknown key \(did you mean 'log'\?\)"),
    (COLUMNS + 'target = "p_new"\nslate = "viewer"\n', "expected 'position' in log.columns beside 'slate'"),
    (WITH_TABLE.replace('position = "slot"\n', ""), "expected 'position' in log.columns too"),
    (COLUMNS + 'target = "p_nwe"\n', r"expected a column 'p_nwe' \(did you mean 'p_new'\?\)"),
    (COLUMNS.replace("log.csv", "no.csv") + 'target = "p_new"\n', "expected a file under"),
    (COLUMNS + "target = [", "not TOML"),
    (COLUMNS + 'target = "p_new"\npredicted = "hour"\n', "expected both of 'predicted' and 'predicted_target'"),
]  # fmt: skip


@pytest.mark.parametrize(("mapping", "message"), BAD_MAPPINGS)
def test_a_mapping_that_is_wrong_says_where(tmp_path: Path, mapping: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read(tmp_path, mapping)


BAD_ROWS = [
    (("0,0.25,a", "0,0,a"), r"log.csv, line 3, column 'p': expected a propensity in \(0, 1\], got '0'"),
    (("0,0.25,a", "x,0.25,a"), r"line 3, column 'watched': expected a number, got 'x'"),
    (("1,0.5,c", "1,1.5,c"), r"line 4, column 'p': expected a propensity"),
    (("1,0.5,c", "1,0.5,"), r"line 4, column 'video': expected a value, got ''"),
    (("1,0.5,c,2", "1,0.5,c,3"), r"line 4, column 'slot': expected one that .*target.csv has too, got '3'"),
    (("1,0.5,c,2,", "1,0.5,"), r"log.csv, line 4: expected 8 fields"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD_ROWS)
def test_a_row_that_is_wrong_names_its_line(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    assert change[0] in LOG
    with pytest.raises(InvalidInput, match=message):
        read(tmp_path, WITH_TABLE, log=LOG.replace(*change))


BAD_TARGETS = [
    (("a,1,0.75", "a,1,0.7"), r"line 2, column 'chance': expected probabilities that sum to 1 .*\(they sum to 0.95\), got '0.7'"),
    (("c,2,0.9\nb,2,0.1", "c,2,0.9\nb,2,0.3"), r"line 4, column 'chance': expected one probability of an action in a distribution"),
    (("a,1,0.75", "a,1,-0.75"), r"line 2, column 'chance': expected a probability in \[0, 1\]"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD_TARGETS)
def test_a_target_that_is_wrong_names_its_line(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    assert change[0] in TARGET
    with pytest.raises(InvalidInput, match=message):
        read(tmp_path, WITH_TABLE, target=TARGET.replace(*change))


BAD_CONTEXTS = [
    (("20,se", ",se"), r"log.csv, line 4, column 'hour': expected a number, got ''"),
    (("20,se", "nan,se"), r"line 4, column 'hour': expected a number, got 'nan'"),
    (("20,se", "inf,se"), r"line 4, column 'hour': expected a number, got 'inf'"),
]


@pytest.mark.parametrize(("change", "message"), BAD_CONTEXTS)
def test_a_number_of_the_context_that_is_none_names_its_line(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    columns = 'target = "p_new"\ncontext = ["hour"]\n'
    with pytest.raises(InvalidInput, match=message):
        read(tmp_path, COLUMNS + columns, log=LOG.replace(*change))


def test_a_missing_text_of_the_context_is_a_value_and_an_id_is_no_context(tmp_path: Path) -> None:
    columns = 'target = "p_new"\ncontext = ["country"]\n'
    log = rows(read(tmp_path, COLUMNS + columns, log=LOG.replace("9,mx", "9,")))
    assert log.context is not None
    assert log.context.tolist() == [[0, 1], [1, 0], [0, 1], [0, 1]]
    ids = "".join(f"0,0.5,a,1,u{i},0.5,8,country-{i}\n" for i in range(1_001))
    with pytest.raises(InvalidInput, match="column 'country': expected at most 1,000 texts"):
        read(tmp_path, COLUMNS + columns, log=LOG.splitlines()[0] + "\n" + ids)


def test_a_slate_that_can_t_be_names_its_line(tmp_path: Path) -> None:
    columns = 'target = "p_new"\nslate = "country"\nposition = "slot"\n'
    with pytest.raises(InvalidInput, match=r"line 5, column 'slot': .* once in a slate, got '2'"):
        read(tmp_path, COLUMNS + columns)
    pages = (
        LOG.replace("9,mx", "9,se").replace("0.5,b,2", "0.5,b,3").replace("0.25,a,1", "0.25,a,4")
    )
    with pytest.raises(InvalidInput, match=r"line 4, column 'viewer': .*one viewer .*, got 'u2'"):
        read(tmp_path, COLUMNS + columns + 'user = "viewer"\n', log=pages)


def test_a_handful_of_viewers_leaves_the_model_based_estimators_out(tmp_path: Path) -> None:
    found = report_of(rows(read(tmp_path, WITH_TABLE + "", log=LOG)), TabularModel())
    assert "fewer than 5 viewers" in found.left_out
    assert [line.name for line in found.lines] == ["IPS", "clipped IPS", "SNIPS"]


def test_an_empty_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="at least one row"):
        read(tmp_path, COLUMNS + 'target = "p_new"\n', log=LOG.splitlines()[0] + "\n")
