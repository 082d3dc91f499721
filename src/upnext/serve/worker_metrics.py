"""What one worker counts for Prometheus; every degradation of an answer is a number here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS: Final = (0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.5, 2.0)


class WorkerMetrics:
    """Counters, gauges and histograms of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._pages = Counter("upnext_pages", "Pages answered", ["surface"], registry=self.registry)
        self._degraded = Counter(
            "upnext_degraded", "Pages that had to go without", ["what"], registry=self.registry
        )
        self._arms = Counter(
            "upnext_arm_pages", "Pages of an experiment's arm", ["experiment", "arm"],
            registry=self.registry,
        )  # fmt: skip
        self._slots = Counter("upnext_slots", "Videos shown", ["surface"], registry=self.registry)
        self._repeats = Counter("upnext_repeats", "Videos shown again", registry=self.registry)
        self.empty = Counter("upnext_empty_pages", "Pages without a video", registry=self.registry)
        self.conflicts = Counter(
            "upnext_conflicts", "Pages drawn again: another page of the session came first",
            registry=self.registry,
        )  # fmt: skip
        self._events = Counter("upnext_events", "Rows posted", ["status"], registry=self.registry)
        self._stages: dict[
            str, Histogram
        ] = {}  # by stage: finding a child by its label costs more than counting
        self._stage = Histogram(
            "upnext_stage_seconds",
            "Of one request",
            ["stage"],
            registry=self.registry,
            buckets=SECONDS,
        )
        self.failures = Counter(
            "upnext_failures", "Answers with status 5xx, by kind", ["kind"], registry=self.registry
        )
        self.refresh_failures = Counter(
            "upnext_refresh_failures",
            "Background work that failed",
            ["work"],
            registry=self.registry,
        )
        self.swaps = Counter("upnext_swaps", "Releases swapped in", registry=self.registry)
        self.refused_releases = Counter(
            "upnext_refused_releases", "Damaged releases not loaded", registry=self.registry
        )
        self.without_release = Gauge(
            "upnext_without_release", "1 while the current release is damaged and another answers",
            registry=self.registry,
        )  # fmt: skip
        self.started = Gauge(
            "upnext_started_seconds", "Unix time of this process's start", registry=self.registry
        )

    def page(self, surface: str, n_slots: int, n_repeats: int, degraded: Sequence[str]) -> None:
        """Counts one page."""
        self._pages.labels(surface).inc()
        self._slots.labels(surface).inc(n_slots)
        self._repeats.inc(n_repeats)
        if not n_slots:
            self.empty.inc()
        for what in degraded:
            self._degraded.labels(what).inc()

    def arms(self, arms: Mapping[str, str]) -> None:
        """Counts one page for each experiment that its viewer is in."""
        for experiment, arm in arms.items():
            self._arms.labels(experiment, arm).inc()

    def stages(self, stage_ms: Mapping[str, float]) -> None:
        """Counts the time of each stage of a request."""
        for stage, took_ms in stage_ms.items():
            child = self._stages.get(stage)
            if child is None:
                child = self._stages[stage] = self._stage.labels(stage)
            child.observe(took_ms / 1e3)

    def events(self, status: str, n: int) -> None:
        """Counts posted rows."""
        self._events.labels(status).inc(n)

    def text(self) -> bytes:
        """The Prometheus page."""
        return generate_latest(self.registry)
