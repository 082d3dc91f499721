"""A running pipeline while experiments run: variants share what is heavy, layers cross, corpora are closed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "learn"))

from pipeline_world import NOW_US
from serving_world import TITLE, again, asked, damage, serving_of

from upnext.artifacts.releases import ReleaseStore
from upnext.artifacts.value_weights import Change, ValueWeights
from upnext.catalog.store import Catalog
from upnext.core.columns import VIDEOS
from upnext.core.types import Request
from upnext.evaluate.experiments.definition import Arm, Experiment
from upnext.evaluate.experiments.store import ExperimentStore
from upnext.pipeline.serving import Serving
from upnext.serve.trials import TrialsFollower
from upnext.settings.settings import Settings


def started(settings: Settings, name: str = "exp", layer: str = "default", **wide: object) -> None:
    arms = {"control": Arm(share=50, buckets=b""), "wide": Arm(share=50, buckets=b"", **wide)}  # type: ignore[arg-type]
    draft = Experiment(name=name, layer=layer, salt="", surfaces=["home"], arms=arms, started_us=0)
    ExperimentStore(settings.experiments_path).start(draft)


def follower(settings: Settings, serving: Serving) -> TrialsFollower:
    return TrialsFollower(
        ExperimentStore(settings.experiments_path), ReleaseStore(settings.releases_path), settings, serving
    )  # fmt: skip


def arms_seen(serving: Serving, n: int = 60) -> dict[str, list]:
    """{arm: its answers} of many viewers."""
    found: dict[str, list] = {}
    for i in range(n):
        request = Request(f"r{i}", f"u{i}", "home", 12, NOW_US, session_id=f"s{i}")
        answer = serving.answering.recommend(request)
        found.setdefault(answer.record.arms.get("exp", "none"), []).append(answer)
    return found


def test_arms_share_all_that_is_heavy_and_get_their_own_weights_sources_and_policy(
    settings: Settings,
) -> None:
    changes = {
        "home": {"weights": {"like": 9.0}, "sources": {"fresh": 7}, "policy": {"epsilon": 0.5}}
    }
    started(settings, surfaces=changes)
    serving = serving_of(settings)
    trials = follower(settings, serving)
    assert trials.follow()
    assert not trials.follow()  # nothing changed
    request = next(
        Request("r", f"u{i}", "home", 12, NOW_US) for i in range(99)
        if serving.answering.of(Request("r", f"u{i}", "home", 12, NOW_US)).surface("home").arms == {"exp": "wide"}
    )  # fmt: skip
    base, wide = serving.pipeline, serving.answering.of(request)
    assert serving.answering.of(request) is wide  # made once
    for part in ("features", "ranker", "blend", "filters", "hydrator", "world"):
        assert getattr(wide, part) is getattr(base, part)
    own, ours = wide.surface("home"), base.surface("home")
    assert own.config.weights == {**ours.config.weights, "like": 9.0}
    quotas = {quota.source.name: quota.k for quota in own.quotas}
    assert quotas == {**{q.source.name: q.k for q in ours.quotas}, "fresh": 7}
    assert own.config.policy.epsilon == 0.5
    assert own.policy_version != ours.policy_version
    assert wide.surface("shorts") is base.surface("shorts")
    assert trials.weights("home", {"exp": "wide"}, NOW_US)["like"] == 9.0
    assert trials.weights("home", {"exp": "control"}, NOW_US) == settings.surfaces["home"].weights
    assert trials.weights("nowhere", {"exp": "wide"}, NOW_US) == {}
    seen = arms_seen(serving)
    assert set(seen) == {"control", "wide"}
    for answer in seen["wide"]:
        slate, scored = answer.slate, answer.scored
        again = own.policy.propensity(answer.query, scored.candidates, scored.value, slate)
        assert slate.propensity.tolist() == pytest.approx(again.tolist(), rel=1e-9)


def test_an_arm_serves_its_own_release_and_new_videos_reach_both(
    settings: Settings, catalog: Catalog
) -> None:
    store = ReleaseStore(settings.releases_path)
    current, other = store.current(), again(store, promote=False)
    started(settings, release_id=other)
    serving = serving_of(settings)
    follower(settings, serving).follow()
    releases = {
        arm: {a.record.release_id for a in said} for arm, said in arms_seen(serving).items()
    }
    assert releases == {"control": {current}, "wide": {other}}
    catalog.put_videos(
        pa.Table.from_pylist([{"video_id": "brand-new", "title": TITLE}], schema=VIDEOS)
    )
    (item_id,) = serving.follow_catalog().tolist()
    for pipeline in (serving.pipeline, serving.answering.of(wide_request(serving))):
        assert item_id in pipeline.recommend(asked(size=91)).record.item_id
    serving.follow_counters()
    store.promote(other)  # the arm's release becomes everyone's: it is loaded already
    loaded = serving.answering.of(wide_request(serving)).ranker
    assert serving.follow_release()
    assert serving.pipeline.ranker is loaded


def wide_request(serving: Serving) -> Request:
    """Of a viewer in the arm "wide"."""
    requests = (Request("r", f"u{i}", "home", 12, NOW_US, session_id="s") for i in range(99))
    is_wide = {"exp": "wide"}
    return next(r for r in requests if serving.answering.of(r).surface("home").arms == is_wide)


def test_an_experiment_whose_release_is_damaged_is_left_out_and_others_run(
    settings: Settings,
) -> None:
    store = ReleaseStore(settings.releases_path)
    bad = again(store, promote=False)
    started(settings, "broken", layer="b", release_id=bad)
    started(settings, surfaces={"home": {"policy": {"epsilon": 0.5}}})
    damage(settings.releases_path / bad / "retrieval" / "item_vectors.npy")
    (settings.experiments_path / "garbage.json").write_text("{")
    serving = serving_of(settings)
    assert follower(settings, serving).follow()
    assert set(arms_seen(serving)) == {"control", "wide"}
    assert "broken" not in serving.answering.recommend(asked()).record.arms


def test_layers_cross_and_every_combination_is_served(settings: Settings) -> None:
    started(settings, surfaces={"home": {"policy": {"epsilon": 0.5}}})
    started(settings, "other", layer="second", surfaces={"home": {"n_ranked": 50}})
    serving = serving_of(settings)
    follower(settings, serving).follow()
    combinations = set()
    for i in range(60):
        request = Request(f"r{i}", f"u{i}", "home", 3, NOW_US)
        arms = serving.answering.of(request).surface("home").arms
        combinations.add((arms["exp"], arms["other"]))
        config = serving.answering.of(request).surface("home").config
        assert (config.policy.epsilon == 0.5) == (arms["exp"] == "wide")
        assert (config.n_ranked == 50) == (arms["other"] == "wide")
    assert len(combinations) == 4


def test_a_two_sided_experiment_closes_every_corpus_and_propensities_stay_exact(
    settings: Settings, catalog: Catalog
) -> None:
    """Viewers of an arm, on every surface, whatever the source, the ladder or the caller's own candidates; and those of no arm."""
    arms = {"control": Arm(share=30, buckets=b""), "boosted": Arm(share=30, buckets=b"", surfaces={"home": {"sources": {"fresh": 60}}})}  # fmt: skip
    draft = Experiment(
        name="exp", kind="two-sided", layer="default", salt="", surfaces=sorted(settings.surfaces),
        arms=arms, started_us=0,
    )  # fmt: skip
    one = ExperimentStore(settings.experiments_path).start(draft)
    serving = serving_of(settings)
    trials = follower(settings, serving)
    trials.follow()
    new = [
        {"video_id": f"new{i}", "title": TITLE, "creator_id": f"newcomer-{i}"} for i in range(30)
    ]
    catalog.put_videos(pa.Table.from_pylist(new, schema=VIDEOS))
    serving.follow_catalog()
    rows = np.append(one.allocation("creator").rows(serving.view.values_from("creator", 0)), -1)
    everything = list(range(serving.view.n_items))
    crossed = {}
    for i in range(40):
        row = int(one.allocation().rows([f"u{i}"])[0])
        for surface in settings.surfaces:
            request = Request(f"r{i}", f"u{i}", surface, 99, NOW_US, session_id=f"s{i}")
            answer = serving.answering.recommend(request)
            slate = answer.slate
            assert (rows[serving.view.creator[slate.item_id]] == row).all()
            assert answer.record.arms == ({} if row < 0 else {"exp": one.allocation().arms[row]})
            assert "ladder:deeper" in answer.trace.degraded  # an arm has not as many videos
            policy = serving.answering.of(request).surface(surface).policy
            again = policy.propensity(answer.query, answer.scored.candidates, answer.scored.value, slate)  # fmt: skip
            assert slate.propensity.tolist() == pytest.approx(again.tolist(), rel=1e-9)
        given = serving.answering.rank(request, everything)
        assert (rows[serving.view.creator[given.slate.item_id]] == row).all()
        crossed[row] = given.trace.removed["own_corpus"]
    assert set(crossed) == {-1, 0, 1}
    assert min(crossed.values()) > 0  # the trace names the reason
    naive = serving.pipeline.recommend(asked(size=40)).slate  # as it is without the filter
    assert len(set(rows[serving.view.creator[naive.item_id]])) == 3
    ExperimentStore(settings.experiments_path).stop("exp")
    assert trials.follow()
    assert serving.answering.base is serving.pipeline
    after = serving.answering.recommend(asked(size=40))
    assert after.trace.removed["own_corpus"] == 0
    assert len(set(rows[serving.view.creator[after.slate.item_id]])) == 3


def test_weights_in_force_are_followed_by_everybody_and_by_arms_and_old_slates_keep_theirs(
    settings: Settings,
) -> None:
    started(settings, surfaces={"home": {"weights": {"like": 9.0}}})
    serving = serving_of(settings)
    trials = follower(settings, serving)
    assert trials.follow()
    was = serving.answering.base.surface("home")
    store = ValueWeights(settings.weights_path)
    store.add(Change(NOW_US, "home", {"dislike": -3.0, "like": 0.5}))
    assert trials.follow()
    assert not trials.follow()
    now = serving.answering.base.surface("home")
    assert now.config.weights == {**was.config.weights, "dislike": -3.0, "like": 0.5}
    assert now.policy_version != was.policy_version
    assert serving.answering.base.surface("shorts").config == settings.surfaces["shorts"]
    request = Request("r", "u1", "home", 12, NOW_US)
    page = serving.answering.base.recommend(request)
    assert page.record.policy_version == now.policy_version
    for arms, like in (({}, 0.5), ({"exp": "wide"}, 9.0)):  # an arm changes what it says, no more
        weights = trials.weights("home", arms, NOW_US)
        assert (weights["like"], weights["dislike"]) == (like, -3.0)
    assert trials.weights("home", {}, NOW_US - 1) == settings.surfaces["home"].weights
    store.add(Change(NOW_US + 1, "home", None))
    assert trials.follow()
    assert serving.answering.base.surface("home").config == settings.surfaces["home"]


def test_weights_that_cannot_be_read_leave_those_of_the_settings(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    serving = serving_of(settings)
    trials = follower(settings, serving)
    trials.follow()
    settings.weights_path.write_text("{ half")
    assert trials.follow()
    assert serving.answering.base.surface("home").config == settings.surfaces["home"]
    assert "weights left out" in caplog.text
