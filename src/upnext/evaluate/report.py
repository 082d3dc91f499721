"""What `upnext evaluate` prints: the lists, with seen videos excluded and with nothing excluded, and the ranker's heads.

The parts are retrieval_report.py and ranker_report.py; this file puts them in one document with stable keys (docs/evaluate.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from upnext.evaluate.ranker_report import Head, RankerReport, evaluate_ranker
from upnext.evaluate.retrieval_report import (
    Catalogue,
    Judging,
    Lists,
    RetrievalReport,
    evaluate_retrieval,
)

__all__ = [
    "Catalogue", "Head", "Judging", "Lists", "RankerReport", "Report", "RetrievalReport",
    "evaluate_ranker", "evaluate_retrieval",
]  # fmt: skip

REPORT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Report:
    """Everything measured on one split."""

    retrieval: Mapping[str, RetrievalReport]  # by setting: "seen_excluded", "nothing_excluded"
    ranker: RankerReport | None = None
    about: Mapping[str, object] = field(
        default_factory=dict
    )  # release, data, split instant, seconds taken

    def to_json(self) -> dict[str, object]:
        """{"version", "about", "retrieval": {setting: ...}, "ranker": ... or null}, plain values only."""
        return {
            "version": REPORT_VERSION,
            "about": dict(self.about),
            "retrieval": {name: part.to_json() for name, part in self.retrieval.items()},
            "ranker": self.ranker.to_json() if self.ranker is not None else None,
        }

    def to_rows(self) -> dict[str, list[dict[str, str]]]:
        """{table title: rows}, one table per setting and one for the heads."""
        tables = {f"retrieval, {name}": part.to_rows() for name, part in self.retrieval.items()}
        if self.ranker is not None:
            tables["ranker"] = self.ranker.to_rows()
        return tables
