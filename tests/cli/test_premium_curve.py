"""`upnext premium-curve` on a platform of 60 films whose premium ones few watch: the trade-off, its files, a second run, what can't be asked."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import MAPPING, START_S, one_error_line, upnext

from upnext.cli.premium_curve import _share
from upnext.core.errors import InvalidInput
from upnext.core.types import Estimate
from upnext.learn.premium_curve import Point, verdict

N_FILMS, N_VIEWERS, DAYS = 60, 150, 6
TINY = """
[learn]
threads = 1
[retrieval.off_policy]
epochs = 3
embedding_size = 8
input_size = 8
state_size = 8
content_hidden = 8
n_history = 12
learning_rate = 0.05
temperature = 0.2
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The platform imported, nothing trained."""
    folder = tmp_path_factory.mktemp("premium")
    (folder / "upnext.toml").write_text(TINY, "utf-8")
    ran = upnext("import", write_platform(folder), "-c", folder / "upnext.toml")
    assert ran.code == 0, ran.err
    return folder / "upnext.toml"


def write_platform(folder: Path) -> Path:
    """Film i is shown in proportion to (i + 1)^-1; of the less popular half every third film is premium, 10 in all."""
    rng = np.random.default_rng(2)
    premium = [int(i >= 30 and i % 3 == 0) for i in range(N_FILMS)]
    share = 1 / np.arange(1, N_FILMS + 1)
    rows = []
    for viewer in range(N_VIEWERS):
        for film in rng.choice(N_FILMS, 12, replace=False, p=share / share.sum()):
            at_s = START_S + int(rng.uniform(0, DAYS * 86_400))
            rows.append([f"u{viewer}", f"m{film}", rng.choice([2.0, 4.0, 5.0]), at_s, 9_000])
    films = [[f"m{i}", f"Number {i}", "Films", 2, premium[i]] for i in range(N_FILMS)]
    people = [[f"u{i}", 30] for i in range(N_VIEWERS)]
    for name, header, lines in (
        ("movies.csv", ["movieId", "title", "genres", "minutes", "premium"], films),
        ("people.csv", ["userId", "age"], people),
        ("ratings.csv", ["userId", "movieId", "rating", "timestamp", "watched_ms"], rows),
    ):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *lines])
    marked = MAPPING.replace('title = "title"', 'title = "title"\nis_premium = "premium"')
    (folder / "mapping.toml").write_text(marked, "utf-8")
    return folder / "mapping.toml"


def curve(config: Path, out: Path, *words: object) -> dict[str, Any]:
    """What the command said as JSON."""
    ran = upnext("premium-curve", "--at", 10, "--out", out, *words, "--json", "-c", config)
    assert ran.code == 0, ran.err
    said: dict[str, Any] = json.loads(ran.out)
    assert said == json.loads((out / "curve.json").read_text())
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    return said


def test_lists_hold_more_premium_videos_with_every_weight_and_recall_pays(
    config: Path, tmp_path: Path
) -> None:
    """The same 10 films of 60 are premium and seldom shown: without a weight a list of ten has hardly one, with weight 30 many."""
    said = curve(config, tmp_path, "--weights", "30,0,5")
    points = said["points"]
    assert [p["weight"] for p in points] == [0, 5, 30]
    assert said["premium_videos"] == pytest.approx(1 / 6)
    share, recall = ([p[name]["mean"] for p in points] for name in ("premium_share", "recall"))
    assert share[0] < share[1] < share[2]
    assert all(p["share_step"]["low"] > 0 for p in points[1:])
    assert recall[0] > recall[1] > recall[2]
    assert points[2]["recall_change"]["high"] < 0
    assert "rises with every weight; from 0 to 30 recall falls by" in said["verdict"]
    # again: what is there is kept, and nothing is trained
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("weight-*.npz")}
    assert len(kept) == 3
    assert not list((tmp_path / "training").iterdir())
    assert curve(config, tmp_path, "--weights", "0,5,30") == said
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--premium-tag", "Films"], "every active video is premium"),
        (["--premium-tag", "Western"], "--premium-tag: expected a tag of the catalogue"),
        (["--premium-share", "1"], "--premium-share: expected between 0 and 1"),
        (["--weights", "0,one"], "--weights: expected numbers with commas"),
        (["--at", "0"], "--at: expected at least 1"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    config: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    ran = upnext("premium-curve", *words, "--out", tmp_path / "curve", "-c", config)
    assert said in one_error_line(ran)
    assert not (tmp_path / "curve").exists()


def point(weight: float, step: tuple[float, float], change: tuple[float, float]) -> Point:
    def between(ends: tuple[float, float]) -> Estimate:
        return Estimate(sum(ends) / 2, *ends, 10)

    same = between((0.1, 0.2))
    return Point(weight, same, same, same, between(change), between(step))


def test_the_verdict_says_what_the_intervals_say() -> None:
    first = point(0, (0, 0), (0, 0))
    up = point(1, (0.01, 0.03), (-0.02, 0.01))
    assert verdict([first]) == "one weight is no curve"
    assert "rises with every weight; from 0 to 1 no loss of recall is certain" in verdict(
        [first, up]
    )
    noisy = point(2, (-0.03, 0.01), (-0.04, -0.02))
    said = verdict([first, up, noisy])
    assert "but for noise (1 to 2)" in said
    assert "recall falls by 0.0300 [0.0200, 0.0400]" in said
    assert "does not rise with the weight: it falls from 1 to 2" in verdict(
        [first, up, point(2, (-0.03, -0.01), (0, 0))]
    )


def test_a_catalogue_without_premium_videos_is_told_how_to_name_some() -> None:
    with pytest.raises(
        InvalidInput, match="no active video is premium; say which are with --premium-tag"
    ):
        _share(np.zeros(3, np.bool_))
