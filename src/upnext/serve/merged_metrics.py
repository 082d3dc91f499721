"""Many processes, one Prometheus page: counters and histograms of the workers are summed, gauges keep a `process` label.

A scrape of one worker out of N would jump from one process's counters to another's; a sum only grows (a restarted worker starts
from zero, which Prometheus's rate() takes as a reset).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from upnext.serve.upstream import UpstreamWorker

SECONDS = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class DispatcherMetrics:
    """What the front door counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._answers = Counter(
            "upnext_http_requests", "Answers by status", ["status"], registry=self.registry
        )
        took = Histogram(
            "upnext_http_seconds",
            "Seconds from a whole request to its whole answer",
            ["kind"],
            registry=self.registry,
            buckets=SECONDS,
        )
        self._took = {True: took.labels("light"), False: took.labels("pipeline")}
        self._by_status = {200: self._answers.labels("200")}
        self.degraded = Counter(
            "upnext_http_degraded", "Requests sent on as cheap", registry=self.registry
        )
        self.retried = Counter(
            "upnext_http_retried", "Requests whose worker was lost", registry=self.registry
        )
        self._ready = Gauge(
            "upnext_worker_ready",
            "1 where a worker takes requests",
            ["worker"],
            registry=self.registry,
        )
        self._in_flight = Gauge(
            "upnext_worker_in_flight", "Requests under way", ["worker"], registry=self.registry
        )
        self._answered = Gauge(
            "upnext_worker_answers",
            "Answers since the dispatcher started",
            ["worker"],
            registry=self.registry,
        )

    def observe(self, status: int, took_s: float, *, light: bool) -> None:
        """Counts one answer that a worker gave, or failed to."""
        self.refused(status)
        self._took[light].observe(took_s)

    def refused(self, status: int) -> None:
        """Counts one answer by its status."""
        child = self._by_status.get(status)
        if child is None:
            child = self._by_status[status] = self._answers.labels(str(status))
        child.inc()

    def observe_workers(self, workers: Iterable[UpstreamWorker]) -> None:
        """Sets the gauges of every worker."""
        for worker in workers:
            self._ready.labels(worker.name).set(worker.is_ready)
            self._in_flight.labels(worker.name).set(worker.in_flight)
            self._answered.labels(worker.name).set(worker.n_answered)

    def text(self) -> str:
        """The dispatcher's own page."""
        return generate_latest(self.registry).decode()


class _Fixed:
    """A collector of metrics that are already there."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def merged(texts: Mapping[str, str], own: str = "") -> str:
    """One page of every worker's page {worker: text}, plus the dispatcher's own."""
    families: dict[str, Metric] = {}
    sums: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}
    for worker, text in texts.items():
        for family in text_string_to_metric_families(text):
            families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                if sample.name.endswith("_created"):
                    continue
                labels = dict(sample.labels)
                if family.type == "gauge":
                    labels["process"] = worker
                key = (family.name, sample.name, tuple(labels.items()))
                sums[key] = sums.get(key, 0.0) + sample.value
    for (family_name, sample_name, labels_), value in sums.items():
        families[family_name].add_sample(sample_name, dict(labels_), value)
    page = generate_latest(_Fixed(families.values())).decode()
    return own + page
