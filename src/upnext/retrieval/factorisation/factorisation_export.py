"""Trained factors as the files that serving reads.

item_vectors.npy   float32[n_items, d] or, with popularity, [n_items, d + 1]
factors.npz        gram float32[d, d], covariance float32[d, d], content_map float32[c + 1, d], is_learned bool[n_items]
generator.json     settings, when untimed showings count as made, checksum

The vector of a video that nobody was shown is what its content says (content_map.py).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from upnext.core.types import Float32
from upnext.retrieval.factorisation.config import FactorisationConfig
from upnext.retrieval.factorisation.content_map import content_map, with_one
from upnext.retrieval.factorisation.interactions import Interactions, untimed_of
from upnext.retrieval.factorisation.popularity_column import covariance_of, recent_popularity
from upnext.retrieval.factorisation.solvers import gram_of
from upnext.retrieval.material import Material

FORMAT: Final = 1


@dataclass(frozen=True)
class Learned:
    """What a training came to."""

    item_factors: Float32  # [n_items, d]
    pairs: Interactions
    config: FactorisationConfig
    checksum: str


def export_factors(learned: Learned, material: Material, folder: Path) -> None:
    """Writes the files."""
    folder.mkdir(parents=True, exist_ok=True)
    config, factors = learned.config, learned.item_factors
    n_viewers = np.bincount(learned.pairs.item_id, minlength=len(factors))
    is_learned = n_viewers > 0
    by_content = content_map(material.content, factors, n_viewers)
    vectors = factors.copy()
    vectors[~is_learned] = with_one(material.content[~is_learned]) @ by_content
    covariance = covariance_of(vectors)
    if config.popularity_weight:
        popularity = recent_popularity(
            material.showings, len(factors), config.popularity_half_life_d
        )
        column = np.float32(config.popularity_weight) * popularity
        vectors = np.concatenate([vectors, column[:, None]], 1)
    np.save(folder / "item_vectors.npy", vectors)
    np.savez(
        folder / "factors.npz", gram=gram_of(factors, config.unobserved_weight),
        covariance=covariance, content_map=by_content, is_learned=is_learned,
    )  # fmt: skip
    meta = {
        "format": FORMAT,
        "config": config.model_dump(mode="json"),
        "untimed_us": untimed_of(material.showings),
        "checksum": learned.checksum,
    }
    (folder / "generator.json").write_text(json.dumps(meta, indent=1))
