"""Pages on which a person plays a viewer: pick one, scroll, watch, like, say "not interested", and see the feed change.

Server-rendered with Jinja2 and htmx from our own folder; every action posts a real event to /v1/events. With API keys configured
the pages ask for an admin key once and keep it in a cookie that no other site can use.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any, Final
from urllib.parse import parse_qs, quote

import jinja2
import numpy as np
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from upnext.core.errors import InvalidInput, NotFound, UpNextError
from upnext.dashboard.thumbnails import duration_text, thumbnail
from upnext.dashboard.viewer import viewer_panel
from upnext.serve.access import COOKIE, Refused
from upnext.serve.api_types import FeedAnswer, FeedQuery
from upnext.serve.app import Edge
from upnext.serve.time_ordered_id import time_ordered_id

log = logging.getLogger(__name__)
Page = Callable[[Request], Awaitable[Response]]
_ROOT: Final = resources.files("upnext.dashboard")
_STATIC: Final = {"app.css": "text/css", "app.js": "text/javascript", "htmx.min.js": "text/javascript",
                  "icon.svg": "image/svg+xml"}  # fmt: skip
_CSP: Final = (
    "default-src 'self'; img-src 'self' data: http: https:; style-src 'self'; script-src 'self'; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'self'"
)
_HEADERS: Final = {
    "content-security-policy": _CSP,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}
N_VIEWERS: Final = 24


def mount(app: FastAPI) -> None:
    """Adds the pages to a worker's app."""
    pages = Pages(app.state.edge)
    routes: list[tuple[str, Page]] = [
        ("/", pages.index),
        ("/home", pages.home),
        ("/home/more", pages.home_more),
        ("/shorts", pages.shorts),
        ("/shorts/more", pages.shorts_more),
        ("/watch/{video_id:path}", pages.watch),
        ("/viewer", pages.viewer),
        ("/why/{request_id}/{video_id:path}", pages.why),
        ("/thumbs/{video_id:path}", pages.thumb),
    ]
    for path, handler in routes:
        app.add_route(path, pages.guarded(handler), methods=["GET"], include_in_schema=False)
    app.add_route("/static/{name}", pages.static, methods=["GET"], include_in_schema=False)
    app.add_route("/signin", pages.sign_in, methods=["GET", "POST"], include_in_schema=False)


class Pages:
    """The handlers of the pages, over one worker's edge."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        loader = jinja2.PackageLoader("upnext.dashboard", "templates")
        self._jinja = jinja2.Environment(
            loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        self._jinja.filters["duration"] = duration_text
        self._jinja.filters["segment"] = lambda text: quote(str(text), safe="")
        self._jinja.filters["picture"] = _picture
        self._jinja.filters["tall_picture"] = _tall_picture
        self._jinja.filters["picture_is_theirs"] = _is_theirs
        self._viewers: list[dict[str, Any]] = []

    def _render(self, template: str, status: int = 200, **values: Any) -> Response:
        text = self._jinja.get_template(template).render(**values)
        return Response(text, status, _HEADERS, "text/html")

    def guarded(self, handler: Page) -> Page:
        """The page behind the key's check; an error becomes a page that says what to do."""

        async def edge(request: Request) -> Response:
            try:
                self._edge.access.check(request.headers, "admin")
                return await handler(request)
            except Refused:
                return RedirectResponse("/signin", 303)
            except UpNextError as error:
                status = 404 if isinstance(error, NotFound) else 503
                status = 422 if isinstance(error, InvalidInput) else status
                log.warning("page failed", extra={"path": request.url.path, "error": str(error)})
                return self._render("error.html", status, code=status, message=str(error))

        return edge

    # pages
    async def index(self, request: Request) -> Response:
        """GET /: pick a viewer."""
        if not self._viewers:
            users = await self._edge.feed.look_up(self._edge.users, N_VIEWERS)
            self._viewers = users
        fresh = "guest-" + time_ordered_id().decode()[:12]
        return self._render("index.html", viewers=self._viewers, fresh=fresh)

    async def home(self, request: Request) -> Response:
        """GET /home?user=: the grid."""
        return self._render("home.html", **await self._feed(request, "home"), surface="home")

    async def home_more(self, request: Request) -> Response:
        """GET /home/more: the next cards."""
        return self._render("_cards.html", **await self._feed(request, "home"))

    async def shorts(self, request: Request) -> Response:
        """GET /shorts?user=: one video at a time."""
        return self._render("shorts.html", **await self._feed(request, "shorts"), surface="shorts")

    async def shorts_more(self, request: Request) -> Response:
        """GET /shorts/more: the next videos."""
        return self._render("_shorts.html", **await self._feed(request, "shorts"))

    async def watch(self, request: Request) -> Response:
        """GET /watch/{video_id}?user=: a video with its up-next list."""
        video_id = request.path_params["video_id"]
        item_id = self._edge.rows.item_ids([video_id])
        if item_id[0] < 0:
            raise NotFound(f"video {video_id!r:.200}: not in the catalogue")
        rows = await self._edge.feed.look_up(self._edge.rows.videos, item_id)
        values = await self._feed(request, "upnext", video_id=video_id)
        asked = request.query_params
        return self._render(
            "watch.html", **values, surface="upnext", video=rows[0], came_by=asked.get("request", ""),
            came_slot=asked.get("slot", ""), came_surface=asked.get("from", "home"),
        )  # fmt: skip

    async def viewer(self, request: Request) -> Response:
        """GET /viewer?user=: what the system knows of a viewer."""
        user_id = request.query_params.get("user", "")
        known = await self._edge.feed.look_up(viewer_panel, self._edge, user_id)
        return self._render("_viewer.html", known=known, user=user_id)

    async def why(self, request: Request) -> Response:
        """GET /why/{request_id}/{video_id}: the trace of one slot."""
        ids = request.path_params
        said = await self._edge.feed.explanation(ids["request_id"], ids["video_id"])
        return self._render("_why.html", said=said)

    async def _feed(
        self, request: Request, surface: str, video_id: str | None = None
    ) -> dict[str, Any]:
        asked = request.query_params
        page = asked.get("page", "0")
        query = FeedQuery(
            user_id=asked.get("user", ""),
            session_id=asked.get("session", ""),
            request_id=request.headers.get("x-upnext-request-id", ""),
            page=int(page) if page.isdecimal() and len(page) < 6 else 0,
            device="desktop",
            video_id=video_id,
        )
        cheap = request.headers.get("x-upnext-degrade") == "cheap"
        feed: FeedAnswer = await self._edge.feed.answer(surface, query, cheap=cheap)
        return {"feed": feed, "user": feed.user_id, "session": feed.session_id}

    # pictures and files
    async def thumb(self, request: Request) -> Response:
        """GET /thumbs/{video_id}.svg."""
        video_id = request.path_params["video_id"].removesuffix(".svg")
        item_id = self._edge.rows.item_ids([video_id])
        tall = "tall" in request.query_params
        title: str | None = video_id
        category: str | None = None
        if item_id[0] >= 0:
            (card,) = self._edge.cards.of(np.asarray(item_id))
            title, category = card.title or video_id, card.category
        headers = {
            "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
            "cache-control": "private, max-age=3600",
            "x-content-type-options": "nosniff",
        }
        return Response(
            thumbnail(video_id, title, category, tall=tall), 200, headers, "image/svg+xml"
        )

    async def static(self, request: Request) -> Response:
        """GET /static/{name}: one of the files that travel with the package."""
        name = request.path_params["name"]
        if name not in _STATIC:
            return Response("not found", 404)
        body = _ROOT.joinpath("static", name).read_bytes()
        headers = {"cache-control": "public, max-age=300", "x-content-type-options": "nosniff"}
        return Response(body, 200, headers, _STATIC[name])

    async def sign_in(self, request: Request) -> Response:
        """GET and POST /signin: takes an admin key and keeps it in a cookie."""
        if request.method == "GET":
            return self._render("signin.html", failed=False)
        form = parse_qs((await request.body())[:8192].decode("utf-8", "replace"))
        key = form.get("key", [""])[0]
        try:
            self._edge.access.check({"authorization": f"Bearer {key}"}, "admin")
        except Refused:
            return self._render("signin.html", 401, failed=True)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, quote(key), httponly=True, samesite="strict", max_age=86_400 * 7)
        return answer


def _field(item: Any, name: str) -> Any:
    return item[name] if isinstance(item, dict) else getattr(item, name)


def _is_theirs(item: Any) -> bool:
    """True where the platform's own thumbnail has a web address."""
    return str(_field(item, "thumbnail_url") or "").startswith(("https://", "http://"))


def _picture(item: Any) -> str:
    """The platform's own thumbnail, else the one drawn here."""
    if _is_theirs(item):
        return str(_field(item, "thumbnail_url"))
    return f"/thumbs/{quote(str(_field(item, 'video_id')), safe='')}.svg"


def _tall_picture(item: Any) -> str:
    """The same, drawn upright for a short."""
    return _picture(item) if _is_theirs(item) else _picture(item) + "?tall=1"
