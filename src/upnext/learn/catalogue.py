"""The content stage: an encoder of titles, tags and the rest, and what it says of every video of the catalogue."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from upnext.catalog.view import CatalogView
from upnext.content.encoder import ContentEncoder, fit_content
from upnext.content.reduction import Reduction
from upnext.core.columns import VIDEO_STATUSES
from upnext.core.protocols import Progress
from upnext.core.types import Float32
from upnext.learn.cbow import learn_tag_vectors
from upnext.learn.export_text import title_encoder
from upnext.learn.generators import save_words
from upnext.settings.settings import ContentConfig, Settings

UNKNOWN = VIDEO_STATUSES.index("unknown")
STATIC_SIZE = 32


def learn_content(
    view: CatalogView, config: ContentConfig, folder: Path, *, seed: int, progress: Progress
) -> Float32:
    """float32[n_items, c]: the content vectors of the catalogue; their encoder is saved as `folder`/content."""
    videos = view.table()
    titles = [title or "" for title in videos.column("title").to_pylist()]
    text = title_encoder(
        config.text_model, titles, folder / "text", size=config.text_size, seed=seed
    )
    names = [view.value_of("tag", code) for code in range(view.n_codes("tag"))]
    tags = learn_tag_vectors(
        view.tags[: len(titles)], names, size=config.tag_size, seed=seed, progress=progress
    )
    encoder: ContentEncoder = fit_content(videos, text, tags)
    encoder.save(folder / "content")
    return encoder.encode_table(videos)


def fit_catalogue(
    settings: Settings, view: CatalogView, folder: Path, progress: Progress
) -> Mapping[str, Any]:
    """Fits and saves the content encoder, the catalogue's content vectors and their leading components."""
    vectors = learn_content(
        view, settings.content, folder, seed=settings.learn.seed, progress=progress
    )
    Reduction.fit(vectors, STATIC_SIZE).save(folder / "reduction.npz")
    return _save_vectors(settings, view, vectors, folder)


def read_catalogue(
    settings: Settings, view: CatalogView, release: Path, folder: Path
) -> Mapping[str, Any]:
    """The same files with a release's encoder: old videos stay where they are, those that came since are encoded like them."""
    shutil.copytree(release / "content", folder / "content", dirs_exist_ok=True)
    shutil.copyfile(release / "reduction.npz", folder / "reduction.npz")
    vectors = ContentEncoder.load(folder / "content").encode_table(view.table())
    return _save_vectors(settings, view, vectors, folder)


def _save_vectors(
    settings: Settings, view: CatalogView, vectors: Float32, folder: Path
) -> Mapping[str, Any]:
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "described.npy", view.status[: len(vectors)] != UNKNOWN)
    save_words(view.table(), settings, folder / "words")
    return {"size": int(vectors.shape[1]), "n_videos": len(vectors)}
