"""Progress where nobody watches: one whole line a message, and the end of a task said once."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from upnext.cli.progress import RichProgress

LONG = "two-tower network [of a platform with a very long name], before the gate's window"


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        """Now."""
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr(time, "monotonic", one.monotonic)
    return one


def lines_of(clock: Clock, task: str, steps_s: list[float], total: int) -> list[str]:
    """What a file gets of a task whose steps, of 100 examples each, take so many seconds."""
    file = io.StringIO()
    progress = RichProgress(Console(file=file, width=80))
    progress.start(task, total, "examples")
    for step_s in steps_s:
        clock.now_s += step_s
        progress.advance(100, loss=0.5)
    progress.done()
    return file.getvalue().splitlines()


def test_the_end_of_a_task_is_one_line_even_when_it_was_time_for_a_line(clock: Clock) -> None:
    lines = lines_of(clock, "two-tower network", [4.0, 4.0, 4.0], total=300)
    assert lines == [
        "two-tower network: 200 of 300 examples, 17 examples/s, 12.0 s, 6 s left loss 0.5",
        "two-tower network: 300 of 300 examples, 25 examples/s, 12.0 s loss 0.5",
    ]


def test_a_task_that_counts_in_one_step_has_one_line(clock: Clock) -> None:
    assert len(lines_of(clock, "replay", [60.0], total=100)) == 1


def test_a_line_wider_than_eighty_columns_is_not_wrapped_and_brackets_stay(clock: Clock) -> None:
    lines = lines_of(clock, LONG, [11.0, 11.0, 11.0], total=300)
    assert len(lines) == 3
    assert all(line.startswith(f"{LONG}: ") and line.endswith("loss 0.5") for line in lines)
