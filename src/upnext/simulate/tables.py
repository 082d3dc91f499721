"""A world's videos and viewers as the tables a platform would export, and the mapping file with which `upnext import` reads them.

Only what a platform knows is written: titles and tags that mostly fit the topic, never the topic mix, quality or clickbait.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from upnext.core.columns import USERS, VIDEOS
from upnext.core.randomness import rng_for
from upnext.core.types import Array
from upnext.simulate.knobs import Knobs
from upnext.simulate.vocabulary import BAIT, COUNTRIES, LANGUAGES, PLACES, TITLES, topics
from upnext.simulate.world import World

WRITTEN_BY: Final = "# Written by upnext simulate"  # how our mapping.toml begins
GENDERS = ("female", "male", None)


def videos_table(world: World) -> pa.Table:
    """The videos, one row each in world order, columns of core.columns.VIDEOS that a platform of this world fills."""
    videos = world.videos
    rng = rng_for(world.seed, "words")
    words = [_words(world, row, rng) for row in range(world.n_videos)]
    near = rng.normal(0, 0.3, (world.n_videos, 2))
    places = [PLACES[p] for p in videos.place]
    located = videos.is_located
    blocked = [[COUNTRIES[b]] if b >= 0 else None for b in videos.blocked]
    harm = [[("misinformation", float(h))] if h > 0 else None for h in videos.harm]
    columns = {
        "video_id": list(world.video_ids),
        "creator_id": [world.creator_id(int(c)) for c in videos.creator],
        "uploaded_us": videos.uploaded_us,
        "duration_s": videos.duration_s,
        "title": [title for title, _ in words],
        "tags": [tags for _, tags in words],
        "category": [topics()[t].category for t in videos.topic],
        "language": [LANGUAGES[code] for code in videos.language],
        "countries_blocked": blocked,
        "latitude": _where(located, np.array([p.latitude for p in places]) + near[:, 0]),
        "longitude": _where(located, np.array([p.longitude for p in places]) + near[:, 1]),
        "min_age": videos.min_age,
        "is_premium": videos.is_premium,
        "moderation": harm,
        "status": ["active"] * world.n_videos,
    }
    return _table(columns, VIDEOS)


def users_table(world: World) -> pa.Table:
    """The viewers, one row each in world order; a few fields are missing here and there."""
    viewers = world.viewers
    rng = rng_for(world.seed, "profiles")
    places = [PLACES[p] for p in viewers.place]
    says_age, says_city = rng.random(world.n_viewers) < 0.9, rng.random(world.n_viewers) < 0.8
    columns = {
        "user_id": list(world.user_ids),
        "signed_up_us": viewers.signed_up_us,
        "age": _where(says_age, viewers.age),
        "gender": [GENDERS[g] for g in viewers.gender],
        "city": [p.city if said else None for p, said in zip(places, says_city, strict=True)],
        "country": [p.country for p in places],
        "language": [LANGUAGES[code] for code in viewers.language],
        "time_zone": [p.time_zone for p in places],
        "is_creator": rng.random(world.n_viewers) < 0.05,
    }
    return _table(columns, USERS)


def write_tables(
    tables: Mapping[str, pa.Table], folder: Path, *, kind: Literal["parquet", "csv"] = "parquet"
) -> Path:
    """Writes <name>.parquet or <name>.csv for each table ("videos", "users", "events") and mapping.toml -> the mapping's path.

    Equal tables give equal bytes. Moderation is written as a JSON object, and lists in CSV are joined with "|".
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{WRITTEN_BY}: every column already has our name.", ""]
    for name, table in tables.items():
        path = folder / f"{name}.{kind}"
        plain = _plain(table, with_lists=kind == "parquet")
        if kind == "parquet":
            pq.write_table(plain, path, compression="zstd")
        else:
            pa_csv.write_csv(plain, path)
        lines += [f"[[{name}]]", f'file = "{path.name}"', "", f"[{name}.columns]"]
        lines += [_mapping_line(field, kind) for field in table.schema]
        lines.append("")
    path = folder / "mapping.toml"
    path.write_text("\n".join(lines), "utf-8")
    return path


def _mapping_line(field: pa.Field, kind: str) -> str:
    if kind == "csv" and pa.types.is_list(field.type):
        return f'{field.name} = {{ column = "{field.name}", split = "|" }}'
    return f'{field.name} = "{field.name}"'


def _plain(table: pa.Table, *, with_lists: bool) -> pa.Table:
    """The table with maps as JSON text and, unless with_lists, lists as text joined with "|"."""
    for place, field in enumerate(table.schema):
        if pa.types.is_map(field.type):
            texts = [json.dumps(dict(v)) if v else None for v in table.column(place).to_pylist()]
        elif pa.types.is_list(field.type) and not with_lists:
            texts = ["|".join(v) if v else None for v in table.column(place).to_pylist()]
        else:
            continue
        table = table.set_column(place, field.name, pa.array(texts, pa.string()))
    return table


def _table(columns: Mapping[str, Sequence[object] | Array], schema: pa.Schema) -> pa.Table:
    fields = [schema.field(name) for name in columns]
    arrays = [pa.array(columns[f.name], f.type) for f in fields]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _where(known: Array, values: Array) -> pa.Array:
    return pa.array(values, mask=~known)


def _words(world: World, row: int, rng: np.random.Generator) -> tuple[str | None, list[str] | None]:
    """(title, tags) of one video."""
    videos = world.videos
    topic, second = topics()[videos.topic[row]], topics()[videos.second_topic[row]]
    language = LANGUAGES[videos.language[row]]
    draw = rng.random(6)
    own = topic.words[language]
    a, b = rng.choice(len(own), 2, replace=False)
    other = second.words[language]
    c = other[int(draw[0] * len(other))]
    patterns = TITLES[language]
    title = patterns[int(draw[1] * len(patterns))].format(
        a=own[a],
        b=c if draw[2] < float(videos.second_share[row]) else own[b],
        c=c,
        n=1 + int(draw[3] * 40),
    )
    if videos.clickbait[row] > 0:
        title = f"{BAIT[language]}: {title}"
    if draw[4] < 0.3:
        title = f"{title} {topic.emoji}"
    tags = _tags(videos.topic[row], videos.second_topic[row], world.knobs, rng)
    return (None if draw[5] < 0.01 else title), tags


def _tags(topic: int, second: int, knobs: Knobs, rng: np.random.Generator) -> list[str] | None:
    """Up to six tags: the topic's name and words, sometimes the second topic's, sometimes a stray; some videos have none."""
    draw = rng.random(4)
    if draw[0] < knobs.missing_tags:
        return None
    words = topics()[topic].words["en"]
    tags = [words[i] for i in rng.choice(len(words), 1 + int(draw[1] * 3), replace=False)]
    if draw[2] < 0.7:
        tags.append(topics()[topic].name)
    if draw[3] < 0.35:
        tags.append(topics()[second].name)
    if draw[3] > 1 - knobs.stray_tags:
        tags.append(topics()[int(rng.integers(len(topics())))].name)
    return list(dict.fromkeys(tags))
