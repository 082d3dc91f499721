"""One HTTP/1.1 message as the dispatcher sees it: what is passed on, what is answered by the dispatcher itself.

Hop-by-hop headers (RFC 9110, 7.6.1) end here, bodies have a known length when they leave, and headers that start with `x-upnext-`
are the dispatcher's own word to a worker, so a client's are dropped.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding",
     b"upgrade", b"proxy-authenticate", b"proxy-authorization")
)  # fmt: skip
_NOT_PASSED: Final = HOP_BY_HOP | {b"content-length", b"expect", b"x-forwarded-for"}
_REASONS: Final = {s.value: s.phrase.encode() for s in HTTPStatus}
# Work that runs the pipeline is bounded tightly; everything else only against floods.
_LIGHT: Final = (b"/v1/events", b"/v1/videos", b"/v1/users", b"/v1/health", b"/metrics",
                 b"/static", b"/thumbs", b"/openapi.json", b"/docs")  # fmt: skip
_IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"))
_IDEMPOTENT_POSTS: Final = (b"/v1/events", b"/v1/rank", b"/v1/videos")


class HttpRequest(msgspec.Struct):
    """A whole request; the body is there when it is made."""

    method: bytes
    target: bytes
    headers: Headers
    body: bytes
    keep_alive: bool
    is_http_1_0: bool

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.split(b"?", 1)[0]

    def is_light(self) -> bool:
        """True where no pipeline runs for it."""
        return self.target.startswith(_LIGHT)

    def may_repeat(self) -> bool:
        """True where sending it twice has the effect of sending it once."""
        return self.method in _IDEMPOTENT or self.target.startswith(_IDEMPOTENT_POSTS)

    def to_worker(self, peer: bytes, request_id: bytes, *, cheap: bool, idle: bool) -> bytes:
        """The bytes that go to a worker. HEAD goes as GET: the dispatcher drops the answer's body."""
        method = b"GET" if self.method == b"HEAD" else self.method
        out = [method, b" ", self.target, b" HTTP/1.1\r\n"]
        named = _named_by_connection(self.headers)
        forwarded = peer
        for name, value in self.headers:
            lower = name.lower()
            if lower == b"x-forwarded-for":
                forwarded = value + b", " + peer
            if lower in _NOT_PASSED or lower.startswith(b"x-upnext-") or lower in named:
                continue
            out += (name, b": ", value, b"\r\n")
        out += (b"x-forwarded-for: ", forwarded, b"\r\nx-upnext-peer: ", peer)
        out += (b"\r\nx-upnext-request-id: ", request_id, b"\r\n")
        if cheap:
            out.append(b"x-upnext-degrade: cheap\r\n")
        if idle:
            out.append(b"x-upnext-idle: yes\r\n")
        if self.body or method in (b"POST", b"PUT", b"PATCH"):
            out.append(b"content-length: %d\r\n" % len(self.body))
        out += (b"\r\n", self.body)
        return b"".join(out)


def _named_by_connection(headers: Headers) -> frozenset[bytes]:
    """Lower-case names that a Connection header declares to be of this hop only."""
    names: set[bytes] = set()
    for name, value in headers:
        if len(name) == 10 and name.lower() == b"connection":
            names.update(token.strip().lower() for token in value.split(b","))
    return frozenset(names)


def answer_head(
    status: int, headers: Headers, *, chunked: bool, keep_alive: bool, is_http_1_0: bool
) -> bytes:
    """The status line and headers that go to the client; `chunked` frames a body of unknown length."""
    out = [b"HTTP/1.1 %d " % status, _REASONS.get(status, b"Unknown"), b"\r\n"]
    for name, value in headers:
        if name.lower() not in HOP_BY_HOP:
            out += (name, b": ", value, b"\r\n")
    if chunked:
        out.append(b"transfer-encoding: chunked\r\n")
    if not keep_alive:
        out.append(b"connection: close\r\n")
    elif is_http_1_0:
        out.append(b"connection: keep-alive\r\n")
    out.append(b"\r\n")
    return b"".join(out)


def error_answer(
    status: int, code: str, message: str, *, keep_alive: bool, retry_after_s: int | None = None
) -> bytes:
    """A whole answer of the dispatcher's own: {"error": {"code", "message"}}."""
    body = msgspec.json.encode({"error": {"code": code, "message": message}})
    headers: Headers = [(b"content-type", b"application/json")]
    if retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % retry_after_s))
    return whole_answer(status, headers, body, keep_alive=keep_alive)


def whole_answer(status: int, headers: Headers, body: bytes, *, keep_alive: bool) -> bytes:
    """An answer with its body, framed by Content-Length."""
    framed = [*headers, (b"content-length", b"%d" % len(body))]
    head = answer_head(status, framed, chunked=False, keep_alive=keep_alive, is_http_1_0=False)
    return head + body
