"""`upnext bench sequence`: the benchmark's protocol on a file small enough to check by hand, and its pieces."""

import gzip
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from upnext.cli.bench_sequence import judged, material_of, ml_1m_config, read_ml_1m
from upnext.cli.main import app
from upnext.core.errors import InvalidInput
from upnext.evaluate.split import leave_last_out
from upnext.retrieval.sequence.learner import SequenceLearner

TINY = [
    "--set", "embedding_size=8", "--set", "length=6", "--set", "batch_size=8",
    "--set", "epochs=3", "--json",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Thirty users go round a ring of 24 films, each from another one."""
    lines = [f"{user} {1 + (user + step) % 24}" for user in range(1, 31) for step in range(9)]
    with gzip.open(tmp_path / "ml-1m.txt.gz", "wt") as file:
        file.write("\n".join(lines))
    return tmp_path


def run(folder, *arguments):
    return CliRunner().invoke(app, ["bench", "sequence", str(folder), *TINY, *arguments])


def test_the_last_item_is_the_test_and_the_one_before_it_the_validation(folder):
    showings = read_ml_1m(folder)
    validation = leave_last_out(showings, flag=0, n_back=1)
    test = leave_last_out(showings, flag=0)
    assert showings.item_id[:9].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]  # film 2 is item 1
    assert validation.truth.item_id[0] == 8
    assert test.truth.item_id[0] == 9
    assert len(validation.train) == 30 * 7
    assert len(test.train) == 30 * 8
    assert test.seen.take(np.array([0])).item_id.tolist() == list(range(1, 9))


def test_who_learns_the_ring_finds_every_next_film(folder):
    showings = read_ml_1m(folder)
    split = leave_last_out(showings, flag=0)
    settings = ["embedding_size=16", "length=8", "batch_size=10", "epochs=25", "dropout=0.0"]
    learner = SequenceLearner(ml_1m_config([*settings, "learning_rate=0.02"]))
    learner.learn(material_of(split.train, 24))
    found = judged(learner, split)
    assert found["hr@10"] == 1.0
    assert found["ndcg@10"] > 0.9


def test_pieces_come_to_what_one_run_comes_to(folder, tmp_path):
    whole = json.loads(run(folder, "--work", str(tmp_path / "whole")).stdout)
    work = ["--work", str(tmp_path / "pieces")]
    first = json.loads(run(folder, *work, "--minutes", "0").stdout)
    assert first["epochs"] == 1
    assert not first["is_finished"]
    again = run(folder, *work)
    assert again.exit_code != 0  # a run is not thrown away by mistake
    assert "--resume" in str(again.exception)
    last = json.loads(run(folder, *work, "--resume").stdout)
    assert last["is_finished"]
    assert last["epochs"] == whole["epochs"]
    assert last["test"] == whole["test"]
    assert last["validation"] == whole["validation"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("1 2 3\n", "two|lines of a user"), ("2 1\n1 2\n1 3\n", "grouped"), ("a b\n", "two whole")],
)
def test_a_file_of_another_kind_is_one_clear_error(tmp_path, text, said):
    with gzip.open(tmp_path / "ml-1m.txt.gz", "wt") as file:
        file.write(text)
    with pytest.raises(InvalidInput, match=said):
        read_ml_1m(tmp_path)


def test_a_setting_that_there_is_not_is_named():
    with pytest.raises(InvalidInput, match="layers: Extra"):
        ml_1m_config(["layers=3"])
    with pytest.raises(InvalidInput, match="name=value"):
        ml_1m_config(["layer"])


def test_a_folder_without_the_file_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"ml-1m\.txt\.gz"):
        read_ml_1m(tmp_path / "nowhere")
