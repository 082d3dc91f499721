"""API keys with scopes: read asks for feeds, write sends events and changes the catalogue, admin may do everything."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from typing import Final, Literal
from urllib.parse import unquote

from upnext.settings.settings import ApiKey

Scope = Literal["read", "write", "admin", "none"]


COOKIE: Final = "upnext_key"  # set by the pages' sign-in, SameSite=Strict


class Refused(Exception):
    """A request without the right key; `status` is 401 or 403."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Access:
    """Decides whether a request's key has a scope. Without any configured key everything is open."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._keys = [(key.key.encode(), frozenset(key.scopes)) for key in keys]

    @property
    def is_open(self) -> bool:
        """True where no key is configured."""
        return not self._keys

    def check(self, headers: Mapping[str, str], scope: Scope) -> None:
        """Raises: Refused where the key is missing, unknown (401) or without the scope (403)."""
        if scope != "read" and headers.get("sec-fetch-site") == "cross-site":
            raise Refused(403, "cross_site", "another site's page may not write here")
        if scope == "none" or not self._keys:
            return
        given = key_of_headers(headers)
        if not given:
            raise Refused(401, "key_missing", "send `Authorization: Bearer <key>`")
        scopes = self._scopes(given.encode())
        if scopes is None:
            raise Refused(401, "key_unknown", "this key is not configured")
        if scope not in scopes and "admin" not in scopes:
            raise Refused(403, "scope_missing", f"this key lacks the scope {scope!r}")

    def _scopes(self, given: bytes) -> frozenset[str] | None:
        """Compares with every key, so that time tells nothing."""
        found: frozenset[str] | None = None
        for key, scopes in self._keys:
            if hmac.compare_digest(key, given):
                found = scopes
        return found


def key_of_headers(headers: Mapping[str, str]) -> str:
    """The key of a request, "" without one: Authorization: Bearer, X-API-Key, or the pages' cookie."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    if "x-api-key" in headers:
        return headers["x-api-key"]
    for part in headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return unquote(value)
    return ""
