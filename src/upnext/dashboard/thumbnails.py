"""A thumbnail drawn from a video's words: the same video always looks the same, and its category sets the colours."""

from __future__ import annotations

import html
import math
import re
from typing import Final

from upnext.core.randomness import key_of

WIDTH: Final = 480
HEIGHT: Final = 270
TALL_HEIGHT: Final = 854
_LINE_CHARS: Final = 16
_MAX_LINES: Final = 3
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def thumbnail(video_id: str, title: str | None, category: str | None, *, tall: bool = False) -> str:
    """An SVG picture: 480 x 270 with the title in it, or 480 x 854 without (a short's caption has the title)."""
    height = TALL_HEIGHT if tall else HEIGHT
    look = key_of("video", video_id)
    words = "" if tall else _words(title or "Untitled")
    name = f"g{look % 10**9}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{_safe(title or "Untitled")}">{_paint(name, look, category)}'
        f'<rect width="{WIDTH}" height="{height}" fill="url(#{name})"/>{_shapes(look, height)}'
        f'<rect width="{WIDTH}" height="{height}" fill="url(#{name}s)"/>{_tag(category)}{words}</svg>'
    )


def _paint(name: str, look: int, category: str | None) -> str:
    hue = key_of("category", category or "") % 360
    far = (hue + 40 + look % 50) % 360
    return (
        f'<defs><linearGradient id="{name}" gradientTransform="rotate({look % 90} .5 .5)">'
        f'<stop offset="0" stop-color="hsl({hue} 68% 46%)"/>'
        f'<stop offset="1" stop-color="hsl({far} 72% 26%)"/></linearGradient>'
        f'<linearGradient id="{name}s" x2="0" y2="1"><stop offset=".35" stop-opacity="0"/>'
        '<stop offset="1" stop-opacity=".62"/></linearGradient></defs>'
        "<style>.t{font:700 32px system-ui,sans-serif;fill:#fff;letter-spacing:-.4px}"
        ".s{font:600 20px system-ui,sans-serif;fill:#fff}</style>"
    )


def _words(title: str) -> str:
    lines = wrapped(title)
    return "".join(
        f'<text x="28" y="{HEIGHT - 34 - 40 * (len(lines) - 1 - i)}" class="t">{_safe(line)}</text>'
        for i, line in enumerate(lines)
    )


def _shapes(look: int, height: int) -> str:
    """Three pale discs and a wave, placed by the bits of `look`."""
    parts: list[str] = []
    for i in range(3):
        bits = look >> (16 * i)
        x, y, r = bits % WIDTH, (bits >> 5) % height, height // 7 + (bits >> 9) % (height // 3)
        parts.append(f'<circle cx="{x}" cy="{y}" r="{r}" fill="#fff" opacity=".{8 + i * 3:02d}"/>')
    start = height // 4 + look % (height // 2)
    parts.append(
        f'<path d="M0 {start} C 120 {start - 70}, 240 {start + 90}, {WIDTH} {start - 20} V0 H0Z" '
        'fill="#fff" opacity=".07"/>'
    )
    return "".join(parts)


def _tag(category: str | None) -> str:
    if not category:
        return ""
    shown = category if len(category) <= 16 else category[:15] + "…"
    width = 26 + 13 * len(shown)
    return (
        f'<rect x="24" y="22" rx="15" width="{width:g}" height="30" fill="#000" opacity=".28"/>'
        f'<text x="36" y="44" class="s">{_safe(shown)}</text>'
    )


def wrapped(title: str) -> list[str]:
    """At most three lines of about 16 characters; longer titles end in an ellipsis."""
    lines: list[str] = []
    line = ""
    for word in _pieces(title):
        if line and len(line) + 1 + len(word) > _LINE_CHARS:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    lines += [line] if line else []
    if len(lines) > _MAX_LINES:
        lines = lines[:_MAX_LINES]
        lines[-1] = lines[-1][: _LINE_CHARS - 1] + "…"
    return lines or ["Untitled"]


def _pieces(title: str) -> list[str]:
    """Words, cut where one alone is longer than a line; only as many as could be shown."""
    pieces: list[str] = []
    for word in title[: 4 * _LINE_CHARS * _MAX_LINES].split():
        pieces += [word[i : i + _LINE_CHARS] for i in range(0, len(word), _LINE_CHARS)]
    return pieces


def _safe(text: str) -> str:
    return html.escape(_NOT_XML.sub("�", text))


def duration_text(duration_s: float | None) -> str:
    """2:05 or 1:02:05; empty where unknown."""
    if duration_s is None or not math.isfinite(duration_s) or duration_s < 0:
        return ""
    whole = round(duration_s)
    hours, minutes, seconds = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
