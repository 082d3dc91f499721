"""`upnext weights` as a person runs it, and what it says to mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Ran, upnext

from upnext.serve.stores import open_stores
from upnext.settings.settings import load


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings with empty stores."""
    file = tmp_path / "upnext.toml"
    file.write_text("[surfaces.home.weights]\nrelevant = 1.0\nskip = -0.2\n")
    open_stores(load(file)).close()
    return file


def weights(config: Path, *words: object) -> Ran:
    return upnext("weights", *words, "--config", config)


def in_force(config: Path) -> dict[str, float]:
    said = json.loads(weights(config, "show", "--json").out)
    return dict(said["home"]["in_force"])


def test_weights_are_set_over_one_another_shown_and_reset(config: Path) -> None:
    assert in_force(config) == {"relevant": 1.0, "skip": -0.2}
    ran = weights(config, "set", "home", "dislike=-1", "like=0.3", "--note", "too many complaints")
    assert ran.code == 0, ran.err
    assert weights(config, "set", "home", "like=0.5").code == 0
    assert in_force(config) == {"relevant": 1.0, "skip": -0.2, "dislike": -1.0, "like": 0.5}
    assert "bad" in weights(config, "show").out
    changes = json.loads((config.parent / "upnext-data" / "weights.json").read_text())["changes"]
    assert [one["note"] for one in changes] == ["too many complaints", ""]
    assert weights(config, "reset", "home").code == 0
    assert in_force(config) == {"relevant": 1.0, "skip": -0.2}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("home", "dislike=0.5"), "dislike is negative feedback: expected at most 0, got 0.5"),
        (("home", "like=-0.5"), "like is positive feedback: expected at least 0, got -0.5"),
        (("home", "liek=1"), "like"),
        (("hone", "like=1"), "home"),
        (("home", "like"), "TASK=NUMBER"),
        (("home", "like=much"), "TASK=NUMBER"),
    ],
)
def test_mistakes_are_named_and_change_nothing(
    words: tuple[str, ...], said: str, config: Path
) -> None:
    for command in ("set", "try"):
        ran = weights(config, command, *words)
        assert ran.code == 2
        assert said in ran.err
    assert in_force(config) == {"relevant": 1.0, "skip": -0.2}


def test_settings_refuse_a_weight_of_the_wrong_sign(config: Path) -> None:
    config.write_text("[surfaces.home.weights]\nskip = 0.2\n")
    ran = weights(config, "show")
    assert ran.code == 2
    assert "skip is negative feedback" in ran.err
