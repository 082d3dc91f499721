"""What a release would have earned: against a rerun of the same platform under it, with viewers whose law is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from upnext.core.types import Request
from upnext.evaluate.bootstrap import NOT_IDENTIFIABLE
from upnext.evaluate.off_policy.logged_pages import REWARDS
from upnext.evaluate.off_policy.page_rewards import page_rewards
from upnext.evaluate.off_policy.release_report import (
    ReleaseReport,
    reward_rows,
    slot_rows,
    verdict_line,
)
from upnext.evaluate.off_policy.release_value import ASSUMES, SurfaceValue, values_of
from upnext.features.config import FeaturesConfig
from upnext.pipeline.config import SurfaceConfig
from upnext.retrieval.config import RetrievalConfig

from .closed_platform import LOOK, ClosedPlatform, home, hot
from .test_logged_pages import replayed

LOGGING = home(3, 40, temperature=1.0, epsilon=0.7, mmr_lambda=1.0)
TARGET = hot(LOGGING, temperature=0.8, epsilon=0.05)
N_VIEWERS = 700


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> ClosedPlatform:
    """Every viewer asks for one page; what they do is heard of when all have theirs, so a rerun meets the very same states."""
    folder = tmp_path_factory.mktemp("once")
    made = ClosedPlatform(folder, N_VIEWERS, 60, retrieval=RetrievalConfig())
    made.told(1200)
    serving = made.serving(LOGGING, share=0.5)
    answers = [made.page(serving, v, f"r{v}", size=3) for v in range(N_VIEWERS)]
    made.hear([event for v, answer in enumerate(answers) for event in made.reactions(v, answer)])
    return made


def estimated(platform: ClosedPlatform, surface: SurfaceConfig) -> SurfaceValue:
    """The value of these settings on the logged pages."""
    found = replayed(platform, surface)
    assert not found.left_out
    weights = {"home": surface.weights}
    rewards = page_rewards(found.pages, platform.log, FeaturesConfig(), weights)
    return values_of(found.pages, rewards)["home"]


def rerun(platform: ClosedPlatform, surface: SurfaceConfig, times: int = 10) -> float:
    """Mean clicks of a page when every viewer is served under these settings instead, by the world's own law."""
    pipeline = platform.serving(surface).pipeline
    clicks = 0.0
    for record in next(platform.log.scan_slates()):
        viewer = int(record.user_id[1:])
        request = Request(record.request_id, record.user_id, "home", 3, record.time_us, seed=viewer)
        query = pipeline.hydrator.hydrate(request)
        scored, _ = pipeline.valued(query)
        attract = platform.attract(viewer)
        for i in range(times):
            asked = replace(query, request=replace(request, seed=10_000 + i))
            page = pipeline.surface("home").policy.arrange(asked, scored.candidates, scored.value)
            clicks += float((LOOK[:3] * attract[page.item_id]).sum())
    return clicks / (N_VIEWERS * times)


def test_another_temperature_is_worth_what_a_rerun_under_it_earns(platform: ClosedPlatform) -> None:
    value = estimated(platform, TARGET)
    truth = rerun(platform, TARGET)
    assert value.verdict == "ok"
    for slot in value.slots:
        assert abs(slot.cascade.mean_weight - 1) < 4 * slot.cascade.standard_error
    clicks = value.page["click"]
    for name in ("cascade-DR", "RIPS", "SN-RIPS"):
        found = clicks.estimates[name]
        error = (found.high - found.low) / 2 / 1.96
        assert abs(found.mean - truth) < 3 * error
    naive = clicks.logged
    assert truth - naive.mean > 4 * (naive.high - naive.low) / 2 / 1.96


def test_the_very_policy_that_logged_earns_what_was_earned(platform: ClosedPlatform) -> None:
    value = estimated(platform, LOGGING)
    assert value.depth == value.n_slots == 3
    for reward in value.page.values():
        for name in ("RIPS", "SN-RIPS"):
            assert reward.estimates[name].mean == pytest.approx(reward.logged.mean, rel=1e-9)
            difference = reward.differences[name]
            assert (difference.low, difference.high) == pytest.approx((0, 0), abs=1e-9)


def test_the_document_is_plain_and_every_key_of_it_is_documented(platform: ClosedPlatform) -> None:
    value = estimated(platform, TARGET)
    report = ReleaseReport({"home": value}, N_VIEWERS, 1.0, {"r1": N_VIEWERS}, {"why": 2})
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    page = Path(__file__).parents[2] / "docs" / "evaluate.md"
    words = page.read_text("utf-8").split("## What a release would have earned")[1]
    home = document["surfaces"]["home"]
    for key in (*document, *home, *home["slots"][0], *home["slots"][0]["own"], *REWARDS, *ASSUMES):
        assert f"`{key}`" in words, key
    assert home["verdict"] == "ok"
    assert verdict_line("home", value) == "home: ok, all 3 slots"
    assert [row["per page"] for row in reward_rows(value)] == list(REWARDS)
    assert len(slot_rows(value)) == 3
    assert document["left_out"] == {"why": 2}


def test_a_greedy_target_is_not_identifiable_and_the_reason_names_the_slot(
    platform: ClosedPlatform,
) -> None:
    value = estimated(platform, hot(LOGGING, temperature=0.0, epsilon=0.0))
    assert value.verdict == NOT_IDENTIFIABLE
    assert value.depth < 3
    assert value.reason.startswith(f"slot {value.depth + 1}: ")
    assert value.page["click"].estimates["cascade-DR"].verdict == NOT_IDENTIFIABLE
