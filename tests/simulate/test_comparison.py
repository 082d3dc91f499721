"""Three policies on one small platform through the command, nothing learned; and what is made of their figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))

from command_line import upnext

from upnext.core.errors import InvalidInput
from upnext.core.protocols import NoProgress
from upnext.events.log import SqliteEventLog
from upnext.events.slate import SlateRecord
from upnext.simulate.comparison import POLICIES, Comparison, Plan, settings_of
from upnext.simulate.comparison_figures import PLOTS, plot, totals, watch_differences

SIZE = ("--viewers", "20", "--videos", "80", "--days", "2", "--past-days", "2")
RUN = """
import sys
from upnext.cli.main import main
sys.argv = ["upnext", "simulate", *sys.argv[1:], "--json"]
try:
    main()
finally:
    if "torch" in sys.modules:
        sys.exit("torch was imported")
"""


def _compare(folder: Path, policies: str, *more: str) -> subprocess.CompletedProcess[str]:
    arguments = [str(folder), "--compare", policies, *SIZE, "--train-every", "0", *more]
    command = [sys.executable, "-c", RUN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("compared")
    done = _compare(made, ",".join(POLICIES))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["totals"].keys() == set(POLICIES)
    return made


def _slates(folder: Path, policy: str) -> list[SlateRecord]:
    settings = settings_of(policy, folder / policy, 0)
    log = SqliteEventLog(settings.events_path, read_only=True)
    slates = [slate for part in log.scan_slates() for slate in part]
    log.close()
    return slates


def test_nothing_is_learned_without_torch_and_everything_is_written(folder: Path) -> None:
    found = json.loads((folder / "comparison.json").read_text())
    assert found["plan"]["train_every"] == 0
    assert [day["day"] for day in found["past"]] == [-2, -1]
    assert all(day["watch_h"] > 0 for day in found["past"])
    for policy in POLICIES:
        figures = found["policies"][policy]
        assert figures["trainings"] == []
        assert [day["day"] for day in figures["days"]] == [0, 1]
    assert (folder / "comparison.svg").read_text().startswith("<?xml")
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_every_policy_meets_the_same_first_morning(folder: Path) -> None:
    """Sessions, hours and devices of the first day are keyed by viewer and day: no policy has changed anybody yet."""
    asked = [
        [(s.user_id, s.session_id, s.surface, s.device) for s in _slates(folder, p) if s.page == 0]
        for p in POLICIES
    ]
    n_first = min(len(one) for one in asked) // 2
    assert n_first > 5
    firsts = [set(one[:n_first]) for one in asked]
    assert firsts[0] == firsts[1] == firsts[2]


def test_what_makes_a_policy_shows_in_its_slates(folder: Path) -> None:
    slates = {policy: _slates(folder, policy) for policy in POLICIES}
    for policy in ("popularity", "greedy"):
        for slate in (s for s in slates[policy] if not any(s.is_repeat)):
            assert slate.propensity == [1.0] * len(slate.propensity)
            assert slate.value == sorted(slate.value, reverse=True)
    assert min(min(s.propensity, default=1.0) for s in slates["full"]) < 0.9
    sources = {name for s in slates["popularity"] for slot in s.sources for name in slot}
    assert sources <= {"popular", "ladder", "repeat"}
    assert "popular" in sources
    assert "fresh" in {name for s in slates["greedy"] for slot in s.sources for name in slot}


def test_a_policy_played_again_gives_the_same_figures(folder: Path, tmp_path: Path) -> None:
    plan = Plan("everyday", 20, 80, 2, 2, 0)
    figures = Comparison(plan, tmp_path, NoProgress()).play("full", lambda policy, day: None)
    before = json.loads((folder / "full" / "figures.json").read_text())
    assert figures["days"] == before["days"]
    assert figures["watch_s_by_viewer"] == before["watch_s_by_viewer"]


def test_what_is_finished_is_kept_and_another_plan_needs_another_folder(folder: Path) -> None:
    written = (folder / "greedy" / "figures.json").stat().st_mtime_ns
    played: list[str] = []
    comparison = Comparison(Plan("everyday", 20, 80, 2, 2, 0), folder, NoProgress())
    comparison.play("greedy", lambda policy, day: played.append(policy))
    assert played == []
    assert (folder / "greedy" / "figures.json").stat().st_mtime_ns == written
    with pytest.raises(InvalidInput, match="another plan; name another folder"):
        Comparison(Plan("everyday", 21, 80, 2, 2, 0), folder, NoProgress())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("greedy,best",), "expected names of popularity, greedy, full, got 'best'"),
        (("full", "--world", "everydya"), "everyday"),
        (("full", "--past-days", "0"), "past_days: expected at least 1, got 0"),
        (("full", "--rate", "2"), "--rate has no effect there"),
        (("full", "--policy", "random"), "--policy has no effect there"),
    ],
)
def test_what_is_asked_wrongly_is_one_clear_line(
    tmp_path: Path, more: tuple[str, ...], said: str
) -> None:
    done = upnext("simulate", tmp_path / "new", "--compare", *more)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "new").exists()


def _figures(watch_h: list[float], minutes: list[float]) -> dict[str, object]:
    names = ("viewers", "ctr", "completion", "likes", "return_d1", "return_d7", "diversity",
             "entropy", "coverage", "gini", "satisfaction", "active", "creators", "pages",
             "impressions", "uploads")  # fmt: skip
    days: list[dict[str, float | None]] = [
        {"day": i, "watch_h": h, **dict.fromkeys(names, 2.0 + i)} for i, h in enumerate(watch_h)
    ]
    days[0]["return_d1"] = None
    return {"days": days, "watch_s_by_viewer": [60 * len(days) * m for m in minutes]}


def test_totals_are_means_over_days_that_have_a_value_last_values_and_sums() -> None:
    found = totals(_figures([10.0, 30.0], [0.0]))
    assert found["watch_h"] == 20.0
    assert found["return_d1"] == 3.0  # the first day has none
    assert found["creators"] == 3.0
    assert found["pages"] == 5.0


def test_differences_of_watch_time_are_paired_by_viewer() -> None:
    """b gives each viewer one minute more, though viewers differ by hundreds: the paired interval sees it, the unpaired can't."""
    minutes = np.arange(0.0, 400.0, 4.0)
    rng = np.random.default_rng(1)
    more = minutes + 1.0 + rng.normal(0, 0.5, len(minutes))
    found = watch_differences(
        {"a": _figures([1.0], minutes.tolist()), "b": _figures([1.0], more.tolist())}
    )
    one = found["b - a"]
    assert one.low < 1.0 + (more - minutes - 1.0).mean() < one.high
    assert one.low > 0.7
    assert one.high < 1.3
    unpaired = 1.96 * np.sqrt(minutes.var() / len(minutes) + more.var() / len(more))
    assert unpaired > 30  # the naive interval: more than thirty minutes each way


def test_a_plot_without_matplotlib_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InvalidInput, match=r"upnext\[evaluate\]"):
        plot({"full": _figures([1.0], [1.0])}, [], "title", [tmp_path / "a.svg"])


def test_one_comparison_gives_one_picture_with_every_curve(tmp_path: Path) -> None:
    by_policy = {name: _figures([1.0, 2.0], [1.0]) for name in POLICIES}
    files = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for file in files:
        plot(by_policy, by_policy["full"]["days"], "three", [file])
    first, second = (file.read_bytes() for file in files)
    assert first == second
    assert len(PLOTS) == 4
