"""The value of correcting for a known logging policy: what its log says, what is gained, and where there is nothing to gain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from upnext.core.protocols import NoProgress
from upnext.simulate.correction_study import (
    CONFIG,
    Corrected,
    Kind,
    Log,
    Plan,
    corrected,
    drawn_log,
    gains,
)

PLAN = Plan(n_videos=60, n_viewers=800, n_showings=6, strength=1.5)
SMALL = CONFIG.model_copy(
    update={"epochs": 8, "embedding_size": 8, "input_size": 8, "state_size": 8}
)


@pytest.fixture(scope="module")
def skewed() -> Log:
    torch.set_num_threads(1)
    return drawn_log(PLAN)


def of(log: Log, kind: Kind) -> Corrected:
    return corrected(log, kind, SMALL, NoProgress())


def test_the_logs_propensities_are_those_it_was_drawn_with(skewed: Log) -> None:
    """E[1 / beta] over a draw from n videos is n, whatever beta: over six draws without repeats 60, 59 .. 55.

    Its standard error over 4,800 rows is about 1; the shares of the log itself say nothing like it."""
    assert skewed.propensity.min() > 0
    assert (1 / skewed.propensity).mean() == pytest.approx(57.5, abs=3)
    assert 1 / skewed.propensity.mean() < 25  # most rows are of few videos
    shown = skewed.material.showings
    assert shown.propensity is None  # training must find them out
    pairs = shown.user * 60 + shown.item_id
    assert len(np.unique(pairs)) == len(pairs) == 4_800


def test_correction_finds_the_relevant_videos_that_the_log_hid(skewed: Log) -> None:
    """Editors push without regard to worth. Uncorrected training lists what they pushed; the learned head knows both surfaces,
    counts only their sum. Of the way from the log's value to the best there is the correction gains 8 % here; half of it is asked for."""
    lines = {kind: of(skewed, kind) for kind in ("none", "learned")}
    gap = skewed.best_value - skewed.logging_value
    assert lines["learned"].value > lines["none"].value + 0.05 * gap
    assert lines["learned"].kl < 0.1
    assert lines["learned"].mean_weight == pytest.approx(57.5 / 60, abs=0.1)
    assert gains([[lines["none"], lines["learned"]]], "counts")[0] > 0


def test_a_log_of_pure_chance_leaves_nothing_to_correct() -> None:
    log = drawn_log(replace(PLAN, strength=0.0, n_viewers=400))
    assert abs(drawn_log(PLAN).logging_value - log.relevance.mean()) < 0.02  # no luck in it
    rows = log.propensity.reshape(-1, 6)
    assert rows == pytest.approx(np.tile(1 / np.arange(60, 54, -1), (400, 1)))
