"""Marginals of a log against hand-made ones, and the shipped reference against the real log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from upnext.core.clock import DAY_US, SECOND_US
from upnext.core.errors import InvalidInput
from upnext.simulate.marginals import (
    Marginals,
    Shown,
    compare,
    ks_distance,
    marginals,
    reference,
)

ROOT = Path(__file__).resolve().parents[2]
GRID = np.linspace(0, 1, 101)


def curve(values: np.ndarray) -> np.ndarray:
    return np.quantile(values, GRID, method="inverted_cdf").astype(np.float64)


def shown(watch_s: list[float], duration_s: list[float], n_videos: int = 4) -> Shown:
    m = len(watch_s)
    return Shown(
        viewer=np.arange(m) // 3,
        video=np.arange(m) % 2,
        shown_us=np.arange(m) * 600 * SECOND_US,
        duration_s=np.array(duration_s),
        watch_s=np.array(watch_s),
        said={"like": np.arange(m) == 0},
        n_videos=n_videos,
    )


def test_rates_follow_the_rules_of_the_log() -> None:
    # 2 s of 5; all of a video of 5; 6.9 s of 60; 7 s of 60; 18 s of 60; 17.9 s of 60
    found = marginals(shown([2, 5, 6.9, 7, 18, 17.9], [5, 5, 60, 60, 60, 60])).rates
    assert found["valid play (7 s or all)"] == pytest.approx(4 / 6)
    assert found["long view (18 s or all)"] == pytest.approx(2 / 6)
    assert found["watched under 3 s"] == pytest.approx(1 / 6)
    assert found["watched to the end"] == pytest.approx(1 / 6)
    assert found["like"] == pytest.approx(1 / 6)
    assert found["share of videos shown"] == pytest.approx(2 / 4)
    # two videos with 3 showings each of four: sum (2j - 5) x = 1 * 3 + 3 * 3 = 12, over 4 * 6
    assert found["Gini of videos' showings"] == pytest.approx(0.5)


def test_sessions_end_after_half_an_hour_and_days_at_midnight() -> None:
    minutes = np.array([0, 29, 60, 24 * 60, 5, 6])
    log = Shown(
        viewer=np.array([7, 7, 7, 7, 9, 9]),
        video=np.zeros(6, np.int64),
        shown_us=20 * DAY_US + minutes * 60 * SECOND_US,
        duration_s=np.full(6, 10.0),
        watch_s=np.ones(6),
        said={},
        n_videos=1,
    )
    found = marginals(log).curves
    assert found["showings per viewer"][[0, -1]].tolist() == [2, 4]
    assert found["sessions per viewer"][[0, -1]].tolist() == [1, 3]
    assert found["active days per viewer"][[0, -1]].tolist() == [1, 2]


def test_a_pool_keeps_its_videos_showings_alone_and_numbers_them_anew() -> None:
    log = shown([1.0] * 12, [9.0] * 12, n_videos=2).pool(0.5, seed=1)
    assert len(log.video) == 6
    assert log.n_videos == 1
    assert set(log.video.tolist()) == {0}
    with pytest.raises(InvalidInput, match="share of the pool"):
        log.pool(0.0)


@pytest.mark.parametrize("shift", [0.0, 0.3, 5.0])
def test_the_distance_is_kolmogorov_and_smirnovs(shift: float) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.exponential(10, 40_000), rng.exponential(10, 30_000) + shift
    exact = stats.ks_2samp(a, b).statistic
    near = ks_distance(curve(a), curve(b))
    assert abs(near - exact) < 0.02  # curves of a hundredth a step


def test_the_distance_of_counts_with_many_equal_values_is_right() -> None:
    a, b = np.repeat([1, 2, 5], [50, 30, 20]), np.repeat([1, 2, 5], [20, 30, 50])
    assert ks_distance(curve(a), curve(b)) == pytest.approx(0.3, abs=0.02)


def test_equal_logs_are_at_distance_zero_and_json_keeps_them() -> None:
    real = reference()
    assert max(line.distance for line in compare(real, real)) == 0
    again = Marginals.of_json(json.loads(json.dumps(real.to_json())))
    assert compare(again, real) == compare(real, real)


def test_a_log_without_a_duration_is_refused_with_its_row() -> None:
    with pytest.raises(InvalidInput, match="duration_s of row 1"):
        marginals(shown([1, 1], [5, 0]))


def test_the_shipped_reference_is_that_of_the_real_log() -> None:
    data = Path(os.environ.get("UPNEXT_DATA", ROOT.parent / "shared" / "data")) / "kuairand-pure"
    if not data.is_dir():
        pytest.skip(f"KuaiRand-Pure is not in {data}")
    code = (
        "import json, runpy, sys, pathlib; m = runpy.run_path(sys.argv[1]);"
        "print(json.dumps(m['read'](pathlib.Path(sys.argv[2])).to_json()))"
    )
    script = ROOT / "benchmarks" / "kuairand_marginals.py"
    made = subprocess.run(
        [sys.executable, "-c", code, script, data], check=True, capture_output=True, text=True
    )
    found, real = Marginals.of_json(json.loads(made.stdout)), reference()
    assert max(line.distance for line in compare(found, real)) < 1e-9
    # METHODS.md E2, of a window three days longer: rates within .01, quantiles of watch within 6 %
    assert real.rates["watched under 3 s"] == pytest.approx(0.409, abs=0.01)
    assert real.rates["Gini of videos' showings"] == pytest.approx(0.78, abs=0.01)
    watch = real.curves["watch_s"][[25, 50, 75, 90, 99]]
    assert watch == pytest.approx([1.6, 4.7, 22.1, 63.2, 210], rel=0.06)
