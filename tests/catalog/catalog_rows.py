"""Rows of videos for the catalogue's tests."""

from __future__ import annotations

import pyarrow as pa

from upnext.core.columns import VIDEOS


def videos(*rows: dict[str, object]) -> pa.Table:
    """The rows as a table with the columns that any of them has."""
    names = [name for name in VIDEOS.names if any(name in row for row in rows)]
    schema = pa.schema([VIDEOS.field(name) for name in names])
    return pa.Table.from_pylist(list(rows), schema=schema)


FULL = {
    "video_id": "שלום 🎬 " + "x" * 1000,
    "creator_id": "creator 1",
    "uploaded_us": -1_000_000,
    "duration_s": 12.5,
    "title": "סרטון מספר אחת 😀",
    "description": "",
    "tags": [f"tag {i}" for i in range(11)],
    "category": "music",
    "language": "he",
    "countries_allowed": ["DE", "FR"],
    "countries_blocked": ["US"],
    "latitude": 32.0,
    "longitude": 34.75,
    "min_age": 16,
    "is_premium": True,
    "moderation": {"violence": 0.5, "clickbait": 0.25},
    "status": "hidden",
    "thumbnail_url": "https://example.org/1.jpg",
    "content_vector": [0.5, -1.0, 2.0],
}
