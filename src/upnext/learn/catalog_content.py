"""What the catalogue says of its videos as vectors: the content encoder fitted on all of it, saved, and applied."""

from __future__ import annotations

from pathlib import Path

from upnext.catalog.view import CatalogView
from upnext.content.encoder import ContentEncoder, fit_content
from upnext.core.protocols import Progress
from upnext.core.types import Float32
from upnext.learn.cbow import learn_tag_vectors
from upnext.learn.export_text import title_encoder
from upnext.settings.settings import ContentConfig


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
