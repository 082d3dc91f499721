"""`upnext bench interference` prints the truth beside every test, as tables and as JSON."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from upnext.cli.bench_interference import SWEEP, run
from upnext.core.errors import InvalidInput


def _consoles() -> tuple[io.StringIO, Console, Console]:
    text = io.StringIO()
    return text, Console(file=text, width=240), Console(file=io.StringIO())


def test_json_holds_every_market_and_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upnext.cli.bench_interference.SWEEP_DAYS", 4)
    text, out, err = _consoles()
    run(120, 100, 2, 2, True, out, err)
    found = json.loads(text.getvalue(), parse_constant=lambda name: pytest.fail(name))
    assert [m["seed"] for m in found["markets"]] == [0, 1]
    assert len(found["summary"]) == len(found["markets"][0]["tests"]) == 6
    assert [p["lam"] for p in found["sweep"]] == list(SWEEP)
    assert found["fixed_depth_market"]["depth"] == 10


def test_tables_name_every_test_and_the_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upnext.cli.bench_interference.SWEEP_DAYS", 2)
    text, out, err = _consoles()
    run(100, 100, 1, 1, False, out, err)
    for said in (
        "creator test",
        "viewer test",
        "co-diverted",
        "half of the corpus costs",
        "efficient",
    ):
        assert said in text.getvalue()


def test_a_market_of_a_few_is_refused() -> None:
    _, out, err = _consoles()
    with pytest.raises(InvalidInput, match="at least 100 viewers and 100 creators"):
        run(5, 100, 1, 1, False, out, err)
