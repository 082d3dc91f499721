"""Hours and weekdays as the viewer lives them: in their time zone, else in their country's main one, else UTC."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from upnext.core.clock import HOUR_US, SECOND_US

# Where a country has several zones: the one most of its people live in (the table lists the others first).
_MAIN_ZONE = {
    "AR": "America/Argentina/Buenos_Aires",
    "AU": "Australia/Sydney",
    "BR": "America/Sao_Paulo",
    "CA": "America/Toronto",
    "CD": "Africa/Kinshasa",
    "CL": "America/Santiago",
    "CN": "Asia/Shanghai",
    "DE": "Europe/Berlin",
    "EC": "America/Guayaquil",
    "ES": "Europe/Madrid",
    "ID": "Asia/Jakarta",
    "KZ": "Asia/Almaty",
    "MX": "America/Mexico_City",
    "MY": "Asia/Kuala_Lumpur",
    "NZ": "Pacific/Auckland",
    "PT": "Europe/Lisbon",
    "RU": "Europe/Moscow",
    "UA": "Europe/Kyiv",
    "US": "America/New_York",
    "UZ": "Asia/Tashkent",
}


@lru_cache(maxsize=1)
def _zones_by_country() -> dict[str, str]:
    zones: dict[str, str] = {}
    text = resources.files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("utf-8")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            country, _, zone = line.split("\t")[:3]
            zones.setdefault(country, zone)
    return zones | _MAIN_ZONE


@lru_cache(maxsize=1024)
def _zone(time_zone: str | None, country: str | None) -> ZoneInfo:
    for name in (time_zone, _zones_by_country().get((country or "").upper())):
        if name:
            try:
                return ZoneInfo(name)
            except (ZoneInfoNotFoundError, ValueError):
                continue
    return ZoneInfo("UTC")


@lru_cache(maxsize=65_536)
def _offset_s(time_zone: str | None, country: str | None, hour: int) -> int:
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(hour * 3600, UTC).astimezone(_zone(time_zone, country))
    offset = moment.utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def local_us(time_us: int, time_zone: str | None, country: str | None) -> int:
    """The viewer's wall clock as microseconds since 1970-01-01T00:00 of that clock."""
    return time_us + _offset_s(time_zone, country, time_us // HOUR_US) * SECOND_US


def zone_name(time_zone: str | None, country: str | None) -> str:
    """The IANA name of the zone in which a viewer's hours are counted."""
    return _zone(time_zone, country).key


@lru_cache(maxsize=1)
def southern_countries() -> frozenset[str]:
    """The countries whose main place lies south of the equator (zone.tab's coordinates)."""
    south: dict[str, bool] = {}
    text = resources.files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("utf-8")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            country, place, zone = line.split("\t")[:3]
            if country not in south or _MAIN_ZONE.get(country) == zone:
                south[country] = place.startswith("-")
    return frozenset(country for country, is_south in south.items() if is_south)
