"""The edge of the API: structs out of requests, JSON out of structs, one shape for every error.

This is the one place of a request's path that catches everything: a bug is logged with its traceback and answered with 500.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Final, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from upnext.core.clock import Clock
from upnext.core.errors import InvalidInput, NotFound, Overloaded, Unavailable, UpNextError
from upnext.serve.access import Access, Refused, Scope
from upnext.serve.api_types import ErrorAnswer, ErrorBody
from upnext.serve.simulated_clock import hear_time
from upnext.serve.worker_metrics import WorkerMetrics

log = logging.getLogger(__name__)
Handler = Callable[[Request], Awaitable[Response]]
JSON: Final = "application/json"
NO_STORE: Final = {"cache-control": "no-store"}
_T = TypeVar("_T")
_Query = TypeVar("_Query", bound=msgspec.Struct)


class BadInput(InvalidInput):
    """Input that breaks a rule of one field."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def json_answer(value: object, status: int = 200) -> Response:
    """A struct (or its bytes) as JSON that nobody may cache."""
    body = value if isinstance(value, bytes) else msgspec.json.encode(value)
    return Response(body, status, NO_STORE, JSON)


def error_answer(status: int, code: str, message: str, field: str = "") -> Response:
    """{"error": {"code", "message", "field"}}."""
    headers = dict(NO_STORE)
    if status == 503:
        headers["retry-after"] = "1"
    body = msgspec.json.encode(ErrorAnswer(ErrorBody(code, message, field)))
    return Response(body, status, headers, JSON)


def query_of(request: Request, kind: type[_Query]) -> _Query:
    """The query string as a struct; a list field takes every repetition, another its last.

    Raises: BadInput naming the parameter, what was expected and what was found."""
    sorts = _parameters(kind)
    given: dict[str, object] = {}
    for name, value in parse_qsl(request.scope["query_string"].decode("latin-1"), True):
        sort = sorts.get(name)
        if sort is None:
            known = ", ".join(sorts)
            raise BadInput(name, f"parameter {name!r:.100}: expected one of {known}")
        if sort == "list":
            found = given.setdefault(name, [])
            assert isinstance(found, list)
            found.append(value)
        elif value or sort == "text":
            given[name] = value
    return _converted(given, kind, strict=False)


@cache  # msgspec reads the annotations anew at every call: half a millisecond
def _parameters(kind: type[msgspec.Struct]) -> Mapping[str, Literal["list", "text", "value"]]:
    """{parameter: its sort} of a query's struct; an empty `text` is a value, another is as good as absent."""
    sorts: dict[str, Literal["list", "text", "value"]] = {}
    for field in msgspec.structs.fields(kind):
        is_list = field.default_factory is list
        sorts[field.name] = "list" if is_list else "text" if field.type is str else "value"
    return sorts


async def body_of(request: Request, kind: type[_T]) -> _T:
    """The JSON body as a struct.

    Raises: BadInput naming the field, what was expected and what was found."""
    try:
        given = msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInput("", f"the body is not JSON: {error}") from error
    return _converted(given, kind, strict=True)


def _converted(given: object, kind: type[_T], *, strict: bool) -> _T:
    try:
        return msgspec.convert(given, kind, strict=strict)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        field = where.strip("`").removeprefix("$").removeprefix(".")
        if not field and "`" in what:
            field = what.split("`")[1] if "field" in what else ""
        got = given.get(field) if isinstance(given, dict) and field in given else None
        shown = f", got {got!r:.120}" if got is not None and ", got" not in what else ""
        raise BadInput(field, f"{field or 'body'}: {what[:1].lower()}{what[1:]}{shown}") from error


def guarded(
    handler: Handler, scope: Scope, access: Access, metrics: WorkerMetrics, clock: Clock
) -> Handler:
    """The handler behind the key's check, with every error as an answer; a simulated clock hears the time."""

    async def edge(request: Request) -> Response:
        try:
            access.check(request.headers, scope)
            hear_time(request.headers, clock)
            return await handler(request)
        except Refused as error:
            return error_answer(error.status, error.code, str(error))
        except UpNextError as error:
            return _known_error(error, metrics)
        except Exception:  # the HTTP edge: loud in the log, one line for the client
            log.exception("a bug", extra={"path": request.url.path})
            metrics.failures.labels("bug").inc()
            return error_answer(500, "internal", "this is a bug; the server's log has the details")

    return edge


def _known_error(error: UpNextError, metrics: WorkerMetrics) -> Response:
    if isinstance(error, InvalidInput):
        return error_answer(422, "invalid", str(error), getattr(error, "field", ""))
    if isinstance(error, NotFound):
        return error_answer(404, "not_found", str(error))
    kind = "overloaded" if isinstance(error, Overloaded) else "unavailable"
    if not isinstance(error, Overloaded | Unavailable):
        kind = "failed"
    log.warning("request failed", extra={"kind": kind, "error": str(error)})
    metrics.failures.labels(kind).inc()
    return error_answer(503, kind, str(error))
