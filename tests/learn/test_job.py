"""Which job a training goes on with, and the instants at which it parts a log."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from upnext.core.clock import DAY_US
from upnext.core.errors import InvalidInput
from upnext.features.showings import Showings
from upnext.learn.instants import Instants, instants_of
from upnext.learn.job import Job
from upnext.settings.settings import Settings


def test_only_the_same_job_is_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "training"
    with pytest.raises(InvalidInput, match="no job in"):
        Job(folder, {"log_seq": 1}, resume=True)
    assert not folder.exists()
    Job(folder, {"log_seq": 1}, resume=False).stage("a", lambda f: {"n": 3})
    with pytest.raises(InvalidInput, match="another log, instant or settings"):
        Job(folder, {"log_seq": 2}, resume=True)
    again = Job(folder, {"log_seq": 1}, resume=True)
    assert again.stage("a", lambda f: pytest.fail("ran again")) == {"n": 3}
    fresh = Job(folder, {"log_seq": 1}, resume=False)
    assert fresh.stage("a", lambda f: {"n": 4}) == {"n": 4}


def test_over_years_of_a_small_log_the_ranker_learns_from_no_more_than_it_needs() -> None:
    def instants(n: int, days: float, ranker_days: float) -> tuple[Instants, np.ndarray]:
        time_us = (np.arange(n) * (days * DAY_US / n)).astype(np.int64) + 1
        showings = cast(Showings, SimpleNamespace(time_us=time_us, user=np.arange(n) % 100))
        settings = Settings(root=Path())
        asked = {"max_ranker_showings": 500, "ranker_days": ranker_days}
        learn = settings.learn.model_copy(update=asked)
        return instants_of(showings, None, settings.model_copy(update={"learn": learn})), time_us

    at, time_us = instants(10_000, 3650, 7)  # a day has three showings of three viewers: no gate
    assert ((time_us >= at.gate_us).sum(), (time_us < at.gate_us).sum()) == (1_001, 8_999)
    assert ((time_us >= at.t0_us) & (time_us < at.gate_us)).sum() == 500
    at, time_us = instants(10_000, 100, 7)  # a hundred showings a day: a week is enough
    assert (time_us >= at.gate_us).sum() == 100
    assert at.gate_us - at.t0_us == pytest.approx(7 * DAY_US, rel=0.01)
    at, time_us = instants(10_000, 10, 1)  # a day has enough, and its generators are fresh
    assert at.gate_us - at.t0_us == pytest.approx(DAY_US, rel=0.01)
    at, time_us = instants(10_000, 5, 7)  # never more than its share
    assert (time_us < at.t0_us).sum() == pytest.approx(0.4 * (time_us < at.gate_us).sum(), abs=1)
