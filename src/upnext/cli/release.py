"""`upnext release`: list, promote, roll back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from upnext.artifacts.releases import ReleaseStore
from upnext.learn.off_policy_gate import told
from upnext.settings.settings import load


def run_list(config: Path | None, as_json: bool, out: Console) -> None:
    """Prints every release, newest first."""
    store = ReleaseStore(load(config).releases_path)
    current = store.current()
    manifests = sorted(store.list(), key=lambda m: -m.created_us)
    if as_json:
        rows = [
            {
                "release_id": m.release_id,
                "created_us": m.created_us,
                "is_current": m.release_id == current,
                "parent": m.parent,
                "data_window": m.data_window,
                "metrics": m.metrics,
            }
            for m in manifests
        ]
        out.print_json(json.dumps(rows))
        return
    table = Table(
        "", "release", "created (UTC)", "data until (UTC)", "NDCG@10", "gate", "off-policy value"
    )
    for manifest in manifests:
        window, metrics = manifest.data_window, manifest.metrics
        table.add_row(
            "*" if manifest.release_id == current else "",
            manifest.release_id,
            _instant(manifest.created_us),
            _instant(int(window.get("until_us", 0))),
            f"{metrics['ndcg_at_10']:.4f}" if "ndcg_at_10" in metrics else "-",
            str(metrics.get("gate", "-")),
            escape(told(metrics["off_policy"])) if metrics.get("off_policy") else "-",
        )
    out.print(table)


def run_promote(release_id: str, config: Path | None, out: Console) -> None:
    """Makes a release current, after its checksums hold."""
    store = ReleaseStore(load(config).releases_path)
    store.open(release_id)
    store.promote(release_id)
    out.print(f"current release: {release_id}", highlight=False)


def run_rollback(config: Path | None, out: Console) -> None:
    """Makes the release before the current one current."""
    release_id = ReleaseStore(load(config).releases_path).rollback()
    out.print(f"current release: {release_id}", highlight=False)


def _instant(time_us: int) -> str:
    if not time_us:
        return "-"
    return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
