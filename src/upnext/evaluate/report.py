"""What `upnext evaluate` prints: the lists, with seen videos excluded and with nothing excluded, and the ranker's heads.

The parts are retrieval_report.py and ranker_report.py; this file puts them in one document with stable keys (docs/evaluate.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from upnext.evaluate.audit import Finding, audit_json, audit_rows
from upnext.evaluate.ranker_report import Head, RankerReport, evaluate_ranker
from upnext.evaluate.retrieval_report import (
    LOOKS,
    Cases,
    Catalogue,
    Judging,
    Lists,
    RetrievalReport,
    evaluate_retrieval,
)

__all__ = [
    "Cases", "Catalogue", "Head", "Judging", "Lists", "RankerReport", "Report", "RetrievalReport",
    "evaluate_ranker", "evaluate_retrieval",
]  # fmt: skip

REPORT_VERSION = 1
SEGMENT_LISTS = ("ranked", "merged", "popular_7d", "random")


@dataclass(frozen=True, slots=True)
class Report:
    """Everything measured on one split."""

    retrieval: Mapping[str, RetrievalReport]  # by setting: "seen_excluded", "nothing_excluded"
    ranker: RankerReport | None = None
    about: Mapping[str, object] = field(
        default_factory=dict
    )  # release, data, split instant, seconds taken
    audit: Sequence[Finding] = ()

    def to_json(self) -> dict[str, object]:
        """{"version", "about", "retrieval": {setting: ...}, "ranker": ... or null, "audit"}, plain values only."""
        return {
            "version": REPORT_VERSION,
            "about": dict(self.about),
            "retrieval": {name: part.to_json() for name, part in self.retrieval.items()},
            "ranker": self.ranker.to_json() if self.ranker is not None else None,
            "audit": audit_json(self.audit),
        }

    def to_rows(self, *, with_segments: bool = False) -> dict[str, list[dict[str, str]]]:
        """{table title: rows}: two tables per setting, a third against lists of others, the hybrids, its segments where asked for, one for the heads, the audit's warnings."""
        tables: dict[str, list[dict[str, str]]] = {}
        for name, part in self.retrieval.items():
            tables[f"retrieval, {name}"] = part.to_rows()
            tables[f"what the lists look like, {name}"] = part.to_rows(LOOKS)
            if part.against:
                tables[f"our lists less those given, {name}"] = part.against_rows()
            if part.hybrids is not None:
                tables[f"{part.hybrids.title()}, {name}"] = part.hybrids.to_rows()
            if with_segments:
                tables[f"segments, {name}"] = part.segment_rows(SEGMENT_LISTS)
        if self.ranker is not None:
            tables["ranker"] = self.ranker.to_rows()
        warnings = [finding for finding in self.audit if finding.verdict == "warn"]
        if warnings:
            tables["warnings about the data (all of the audit: --audit)"] = audit_rows(warnings)
        return tables
