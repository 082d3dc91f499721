"""Progress bars for a person at a terminal; plain lines, one each and never wrapped, every few seconds where there is none."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY_S = 10.0


class RichProgress:
    """core.protocols.Progress drawn with rate, shown figures and time left."""

    def __init__(self, console: Console, *, prefix: str = "") -> None:
        """`prefix` stands before every name, to tell two jobs apart."""
        self._console = console
        self._prefix = f"{prefix}: " if prefix else ""
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._name, self._unit = "", ""
        self._done = 0
        self._total: int | None = None
        self._began_s = self._last_line_s = 0.0
        self._shown = ""

    def start(self, task: str, total: int | None, unit: str) -> None:
        """Begins a bar; one that is still open is closed first."""
        if self._task is not None or self._bars is not None:
            self.done()
        self._name, self._unit, self._total = self._prefix + task, unit, total
        self._done, self._shown = 0, ""
        self._began_s = self._last_line_s = time.monotonic()
        if self._console.is_terminal:
            self._bars = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]} {task.fields[shown]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bars.start()
            self._task = self._bars.add_task(self._name, total=total, rate="", shown="")

    def advance(self, n: int, **shown: float) -> None:
        """n more units; `shown` are figures such as loss."""
        # before counting: the end of a task is said by `done` alone
        if (
            self._bars is None
            and self._done
            and time.monotonic() - self._last_line_s >= LINE_EVERY_S
        ):
            self._last_line_s = time.monotonic()
            self._print_line()
        self._done += n
        if shown:
            self._shown = " ".join(f"{name} {value:.4g}" for name, value in shown.items())
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, advance=n, rate=self._rate(), shown=self._shown)

    def done(self) -> None:
        """Closes the bar and leaves one line with the total, rate and time."""
        if self._bars is not None:
            self._bars.stop()
        elif self._name:
            self._print_line()
        self._bars = self._task = None
        self._name = ""

    def _print_line(self) -> None:
        self._console.print(self._line(), highlight=False, markup=False, soft_wrap=True)

    def _rate(self) -> str:
        elapsed_s = max(1e-9, time.monotonic() - self._began_s)
        return f"{self._done / elapsed_s:,.0f} {self._unit}/s"

    def _line(self) -> str:
        elapsed_s = time.monotonic() - self._began_s
        total = f" of {self._total:,}" if self._total else ""
        left = ""
        if self._total and 0 < self._done < self._total:
            left = f", {elapsed_s * (self._total - self._done) / self._done:.0f} s left"
        return (
            f"{self._name}: {self._done:,}{total} {self._unit}, {self._rate()}, "
            f"{elapsed_s:.1f} s{left} {self._shown}".rstrip()
        )
