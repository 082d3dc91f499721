"""`upnext bench factorisation`: reading the file, and what it prints."""

import gzip
import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from upnext.cli.bench_factorisation import measured, read_ratings
from upnext.cli.main import app
from upnext.core.errors import InvalidInput


def write_ratings(folder):
    rng = np.random.default_rng(0)
    rows = [
        (u, int(i))
        for u in range(1, 41)
        for i in rng.choice(np.arange(u % 3, 60, 3), 9, replace=False)
    ]
    text = "".join(f"{u} {i + 1}\n" for u, i in rows)
    with gzip.open(folder / "ml-1m.txt.gz", "wt") as file:
        file.write(text)
    return rows


def test_the_last_row_of_each_viewer_is_the_test(tmp_path):
    rows = write_ratings(tmp_path)
    ratings = read_ratings(tmp_path / "ml-1m.txt.gz")
    assert len(ratings.train) == 40 * 8
    names = sorted({item for _, item in rows})
    assert [names[i] for i in ratings.test.item_id] == [item for _, item in rows[8::9]]


@pytest.mark.filterwarnings("ignore:OpenBLAS is configured:RuntimeWarning")  # of implicit
def test_rows_name_factors_library_seconds_and_quality(tmp_path):
    write_ratings(tmp_path)
    rows = measured(tmp_path / "ml-1m.txt.gz", [4], 6, 1)
    assert rows[0]["library"] == "upnext"
    assert rows[0]["seconds"] > 0
    assert rows[0]["recall@100"] == 1.0  # 60 videos
    for row in rows[1:]:
        assert row["library"] == "implicit"
        assert row["loss"] == pytest.approx(rows[0]["loss"], rel=1e-3)


@pytest.mark.parametrize("text", ["one two\n", "1 2 3\n4 5 6\n", "1\n2\n"])
def test_a_file_of_something_else_is_an_error_of_one_line(tmp_path, text):
    (tmp_path / "ml-1m.txt").write_text(text)
    with pytest.raises(InvalidInput, match="user and item"):
        read_ratings(tmp_path / "ml-1m.txt")


def test_a_folder_without_the_file_is_an_error(tmp_path):
    found = CliRunner().invoke(app, ["bench", "factorisation", str(tmp_path)])
    assert isinstance(found.exception, InvalidInput)
    assert re.search(r"ml-1m\.txt or ml-1m\.txt\.gz", str(found.exception))
    write_ratings(tmp_path)
    wrong = CliRunner().invoke(app, ["bench", "factorisation", str(tmp_path), "--factors", "a"])
    assert isinstance(wrong.exception, InvalidInput)
    assert json.dumps("64,128,256")[1:-1] in str(wrong.exception)
