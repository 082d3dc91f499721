"""`upnext bench fine-tuning`, `bench ablation` and `bench new-videos` on a platform of one taste a viewer."""

import json

import pytest
from command_line import UNTIL, one_error_line, upnext, write_films

from upnext.settings.settings import CONFIG_NAME

SMALL = """
[learn]
threads = 1
[content]
text_size = 8
tag_size = 8
[retrieval.two_tower]
epochs = 2
embedding_size = 8
input_size = 8
hidden = [16]
content_hidden = 16
batch_size = 128
n_uniform = 32
[retrieval.factorisation]
embedding_size = 8
threads = 1
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    mapping = write_films(folder / "tables")
    (folder / CONFIG_NAME).write_text(SMALL, "utf-8")
    assert upnext("import", mapping, "--config", folder / CONFIG_NAME).code == 0
    return folder / CONFIG_NAME


def test_each_model_has_its_cost_and_what_it_finds_less_than_a_full_training(config):
    names = ("--generators", "factorisation", "--hours", "12")
    ran = upnext("bench", "fine-tuning", *names, "--config", config, "--json")
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    assert said["window_us"][0] - said["tail_us"] == 12 * 3_600_000_000
    assert set(said["generators"]) == {"factorisation"}
    for one in said["generators"].values():
        assert set(one["figures"]) == {"stale", "fine-tuned", "full"}
        assert set(one["less_full"]) == {"stale", "fine-tuned"}
        assert 0 < one["share_of_examples"] < 0.1
        full, less = one["figures"]["full"]["recall@100"], one["less_full"]["stale"]["recall@100"]
        stale = one["figures"]["stale"]["recall@100"]
        assert less["mean"] == pytest.approx(stale["mean"] - full["mean"])
        assert less["low"] <= less["mean"] <= less["high"]
    table = upnext("bench", "fine-tuning", "--generators", "factorisation", "--config", config)
    assert "fine-tuned" in table.out
    assert "recall@100 less full" in table.out


def test_new_videos_are_judged_part_by_part_among_new_and_among_all(config):
    asked = ("--from", UNTIL, "--hours", "6,24", "--share", "0.3")
    ran = upnext("bench", "new-videos", *asked, "--config", config, "--json")
    assert ran.code == 0, ran.err
    rows = {(row["name"], row["hours"]): row for row in json.loads(ran.out)["rows"]}
    assert len(rows) == 7
    alone = rows["trained alone", None]
    assert alone["among_all"]["mean"] == 0
    blend = rows["blend", 24.0]
    assert blend["among_new"]["mean"] > 0.9  # 45 of them, lists of 100
    assert blend["among_all"]["mean"] >= 0
    assert blend["of_trained"]["mean"] <= alone["of_trained"]["mean"]


def test_what_there_is_nothing_to_learn_from_is_one_line(config):
    wrong = upnext("bench", "fine-tuning", "--generators", "magic", "--config", config)
    assert "some of two_tower" in one_error_line(wrong)
    long = upnext("bench", "fine-tuning", "--hours", "900", "--config", config)
    assert "showings before the last 1800 hours" in one_error_line(long)
    text = upnext("bench", "new-videos", "--from", UNTIL, "--hours", "a", "--config", config)
    assert "numbers with commas" in one_error_line(text)


def test_variants_of_a_generator_are_compared_with_it_as_set(config):
    variants = (
        "--variant", "as set, again: popularity_weight=0.8",
        "--variant", "popularity alone: popularity_weight=1000",
        "--variant", "liked weighs 9: confidence.liked=9 epochs=3",
        "--variant", "another one: generator=content_profile",
    )  # fmt: skip
    ran = upnext("bench", "ablation", "factorisation", *variants, "--config", config, "--json")
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    names = ["as set", "as set, again", "popularity alone", "liked weighs 9", "another one"]
    assert list(said["figures"]) == names
    assert said["less_base"]["as set, again"]["recall@100"]["mean"] == 0
    coverage = {name: figures["coverage@10"]["mean"] for name, figures in said["figures"].items()}
    assert coverage["popularity alone"] < coverage["as set"]  # nearly the same list for everybody


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("bm25",), "GENERATOR"),
        (("factorisation", "--variant", "no setting"), "--variant"),
        (("factorisation", "--variant", "odd: factors=8"), "a setting of factorisation"),
        (("factorisation", "--variant", "odd: confidence.factors=8"), "a setting of factorisation"),
        (("factorisation", "--variant", "bad: epochs=0"), "epochs"),
        (("factorisation", "--variant", "as set: epochs=2"), "a label of its own"),
        (("factorisation", "--variant", "odd: generator=bm25"), "generator"),
    ],
)
def test_a_variant_that_can_not_be_is_one_line(config, asked, said):
    ran = upnext("bench", "ablation", *asked, "--config", config)
    assert said in one_error_line(ran)
