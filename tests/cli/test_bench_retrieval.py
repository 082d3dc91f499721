"""`upnext bench retrieval` makes, builds, measures and goes on from what it kept."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from upnext.cli.bench_retrieval import Task, kind_of, run
from upnext.cli.vector_world import LANGUAGE_SHARES, open_world
from upnext.core.errors import InvalidInput
from upnext.core.protocols import NoProgress


def test_auto_is_int8_where_the_catalogue_is_large():
    assert [kind_of("auto", n) for n in (1_000_000, 10_000_000)] == ["int16", "int8"]
    assert kind_of("int4", 10_000) == "int4"
    with pytest.raises(InvalidInput, match="int16 or int8 or int4"):
        kind_of("pq", 10_000)


def test_the_world_is_of_length_one_has_its_languages_and_is_its_seeds(tmp_path):
    world = open_world(tmp_path / "a", 20_000, 8, 3, NoProgress())
    again = open_world(tmp_path / "b", 20_000, 8, 3, NoProgress())
    assert np.array_equal(world.vectors, again.vectors)
    assert np.allclose(np.linalg.norm(world.vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(
        np.bincount(world.language, minlength=8) / 20_000, LANGUAGE_SHARES, atol=0.02
    )
    own = world.vectors[world.in_language(0.1)]  # a language is a region of the space
    others = world.vectors[~world.in_language(0.1)]
    centre = own.mean(axis=0)
    assert (own @ centre).mean() > (others @ centre).mean() + 0.05
    other = open_world(tmp_path / "c", 20_000, 8, 4, NoProgress())
    assert not np.array_equal(world.viewers(10), other.viewers(10))


@pytest.mark.slow
def test_figures_of_a_small_catalogue_and_a_second_run_from_the_folder(tmp_path):
    text, error = io.StringIO(), Console(file=io.StringIO())
    task = Task("", 20_000, 16, "int8", 0)
    run(task, tmp_path, True, Console(file=text))
    found = json.loads(text.getvalue())
    rows = {row["allowed"]: row for row in found["search"]["filters"]}
    assert {"all", "0.1 % at random", "2 %, a language", "all, the 500 nearest seen"} <= set(rows)
    assert all(row["recall@500"] > 0.93 for row in rows.values())
    table = io.StringIO()
    run(task, tmp_path, False, Console(file=table, width=240))
    assert "memory-mapped start" in table.getvalue()
    with pytest.raises(InvalidInput, match="a world of"):
        run(Task("", 20_000, 12, "int8", 0), tmp_path, False, error)
