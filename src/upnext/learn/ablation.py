"""What each part of a generator adds: variants of its settings, trained on the same rows and judged on the same viewers.

A variant is a label and what it changes: "no popularity: popularity_weight=0", "warp: generator=warp epochs=5", "liked 4: confidence.liked=4".
The first row is the generator as the settings have it; every other is compared with it, paired by viewer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ValidationError

from upnext.core.errors import InvalidInput, expected
from upnext.core.protocols import Progress
from upnext.core.types import Int64
from upnext.evaluate.retrieval_report import (
    Cases,
    Catalogue,
    Judging,
    RetrievalReport,
    evaluate_retrieval,
)
from upnext.learn.fine_tuning_study import DEPTH, METRICS, Cost, Study, exact_lists, trained
from upnext.learn.generators import EXPORT
from upnext.learn.premium_curve import queries_of
from upnext.pipeline.trained import generator_of
from upnext.settings.settings import Settings

AS_SET: Final = "as set"


@dataclass(frozen=True)
class Variant:
    """One row: a generator and the settings it is trained with."""

    label: str
    generator: str
    settings: Settings


@dataclass(frozen=True)
class Ablation:
    """Rows in the order asked for."""

    costs: Mapping[str, Cost]
    report: RetrievalReport


def variants_of(
    generator: str, texts: Sequence[str], settings: Settings, known: Sequence[str]
) -> list[Variant]:
    """The generator as set, then one variant per text.

    Raises InvalidInput for an unknown generator (known: their names), a setting that there is not, a bad value or a label used twice."""
    found = [Variant(AS_SET, generator, settings)]
    for text in texts:
        label, is_there, changes = text.partition(":")
        pairs = [word.partition("=") for word in changes.split()]
        if not is_there or not all(name and sign for name, sign, _ in pairs):
            raise expected("--variant", '"label: setting=value setting=value"', text)
        own = {name: _value(value) for name, _, value in pairs}
        name = str(own.pop("generator", generator))
        if name not in known:
            raise expected(f"--variant {label!r}, generator", f"one of {', '.join(known)}", name)
        found.append(Variant(label.strip(), name, _changed(settings, name, own, label)))
    labels = [variant.label for variant in found]
    if len(set(labels)) < len(labels):
        raise expected("--variant", "a label of its own for each", ", ".join(labels))
    return found


def ablation(
    variants: Sequence[Variant], study: Study, folder: Path, progress: Progress
) -> Ablation:
    """Trains every variant in `folder` on what the window's split gives it, and judges them beside each other."""
    split = study.window.split(exclude_seen=True)
    material = replace(study.material, showings=split.train)
    queries = queries_of(study.window, split, study.viewers)
    costs: dict[str, Cost] = {}
    lists: dict[str, Int64] = {}
    for number, variant in enumerate(variants):
        place = folder / str(number)
        name, settings = variant.generator, variant.settings
        costs[variant.label], _ = trained(name, material, settings, place, None, progress)
        vectors = np.load(place / EXPORT / "item_vectors.npy")
        listed = study.listed & vectors.any(axis=1)
        generator = generator_of(name, place / EXPORT)
        lists[variant.label] = exact_lists(generator, vectors, queries, split, listed)
    judging = Judging(METRICS, depth=DEPTH, against=(variants[0].label,))
    cases, catalogue = Cases(split.truth, split.viewer()), Catalogue(material.n_items)
    return Ablation(costs, evaluate_retrieval(lists, cases, catalogue, judging))


def _value(text: str) -> Any:
    """A JSON value where it is one, else the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _changed(
    settings: Settings, generator: str, changes: Mapping[str, Any], label: str
) -> Settings:
    """The settings with a generator's own changed; a dot goes into a part."""
    config: BaseModel = getattr(settings.retrieval, generator)
    values = config.model_dump()
    for name, value in changes.items():
        *parts, last = name.split(".")
        inside: dict[str, Any] = values
        for part in parts:
            deeper = inside.get(part)
            inside = deeper if isinstance(deeper, dict) else {}
        if last not in inside:
            raise expected(
                f"--variant {label!r}", f"a setting of {generator}: {', '.join(values)}", name
            )
        inside[last] = value
    try:
        changed = type(config).model_validate(values)
    except ValidationError as error:
        said = error.errors()[0]
        where = ".".join(str(part) for part in said["loc"])
        raise InvalidInput(f"--variant {label!r}, {where}: {said['msg']}") from error
    retrieval = settings.retrieval.model_copy(update={generator: changed})
    return settings.model_copy(update={"retrieval": retrieval})
