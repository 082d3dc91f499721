"""Gathered rows on disk, between the stages of a job."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from upnext.pipeline.rows import Choices, GatheredRows
from upnext.ranking.rows import RankerRows

_LABEL = "label:"


def save_rows(path: Path, gathered: GatheredRows) -> None:
    """Writes one npz, whole or not at all."""
    rows = gathered.ranker
    temporary = path.with_suffix(".tmp.npz")
    np.savez(
        temporary,
        user=rows.user,
        items=rows.items,
        weight=rows.weight,
        group=rows.group,
        time_us=rows.time_us,
        user_names=np.array(rows.user_names),
        item_names=np.array(rows.item_names),
        blend=gathered.blend,
        blend_names=np.array(gathered.blend_names),
        choices_blend=gathered.choices.blend,
        choices_label=gathered.choices.label,
        choices_group=gathered.choices.group,
        choices_time_us=gathered.choices.time_us,
        choices_surface=gathered.choices.surface,
        surface=gathered.surface,
        surfaces=np.array(gathered.surfaces),
        **{_LABEL + task: label for task, label in rows.labels.items()},  # type: ignore[arg-type]
    )
    temporary.replace(path)


def load_rows(path: Path) -> GatheredRows:
    """What save_rows wrote."""
    with np.load(path) as data:
        rows = RankerRows(
            user=data["user"],
            items=data["items"],
            labels={n.removeprefix(_LABEL): data[n] for n in data.files if n.startswith(_LABEL)},
            weight=data["weight"],
            group=data["group"],
            time_us=data["time_us"],
            user_names=tuple(data["user_names"].tolist()),
            item_names=tuple(data["item_names"].tolist()),
        )
        choices = Choices(
            data["choices_blend"],
            data["choices_label"],
            data["choices_group"],
            data["choices_time_us"],
            data["choices_surface"],
        )
        names, surfaces = (tuple(data[key].tolist()) for key in ("blend_names", "surfaces"))
        return GatheredRows(rows, data["blend"], choices, names, data["surface"], surfaces)
