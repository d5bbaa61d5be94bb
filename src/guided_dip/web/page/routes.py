"""The page's own routes, and what of Gradio's is open.

Gradio can fetch URLs for a visitor, serve what others uploaded, and call any event by name. The
page needs none of that: its pictures come and go by the routes here and those of the API. So what
Gradio answers is an allow-list, files and URLs in what it is told are refused, and no header of
its answers lets another site read them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guided_dip.errors import InputError
from guided_dip.web.page import examples
from guided_dip.web.page.uploads import Uploads
from guided_dip.web.problems import ProblemError, problem_of

Owner = Callable[[Request], str]

STATIC = Path(__file__).parent / "static"
TOLD = 8 * 2**20  # bytes of what the page tells Gradio at once; a drawn mask is the most of it
STALL = 30.0  # seconds in which something of an upload has to come
ARRIVING = 8  # uploads at a time
_TYPE = "application/octet-stream"  # other sites' pages cannot send it without asking first
_DEEPEST = 20

# What the page needs of Gradio: (method, path). Nothing of it reads a path or a URL.
_OPEN = (
    ("GET", re.compile(r"/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json")),
    ("GET", re.compile(r"/(assets|static|svelte)/[\w./-]+")),
    (
        "GET",
        re.compile(r"/gradio_api/(startup-events|queue/data|queue/status|info|app_id|theme\.css)"),
    ),
    ("GET", re.compile(r"/gradio_api/heartbeat/\w+")),
    ("POST", re.compile(r"/gradio_api/(queue/join|cancel)/?")),
)
# Of a file or a URL in what Gradio is told.
_FILE_KEYS = frozenset({"path", "url", "orig_name", "mime_type", "is_stream"})


class Guard:
    """Lets through to Gradio what the page needs, and nothing else.

    Parameters
    ----------
    app
        Gradio's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.routes = getattr(app, "routes", [])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        refusal, body = await self._refusal(scope, receive)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        told = receive if body is None else _again(body, receive)
        await self._app(scope, told, _closed(send))

    async def _refusal(
        self, scope: Scope, receive: Receive
    ) -> tuple[Response | None, bytes | None]:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if not any(method == m and pattern.fullmatch(path) for m, pattern in _OPEN):
            return PlainTextResponse("Not found.", 404), None
        if b"deep_link=" in scope.get("query_string", b""):
            return PlainTextResponse("Not found.", 404), None
        if method != "POST":
            return None, None
        body = await _body(receive)
        if body is None:
            return PlainTextResponse("Too much at once.", 413), None
        try:
            names_file = _names_file(json.loads(body))
        except (ValueError, RecursionError):
            return PlainTextResponse("This is no JSON.", 400), None
        if names_file:
            return PlainTextResponse("Files and URLs are not taken here.", 422), None
        return None, body


def _names_file(told: Any, depth: int = 0) -> bool:
    """Tell whether there is anything like one of Gradio's files in what it is told."""
    if depth > _DEEPEST:
        return True
    if isinstance(told, Mapping):
        if not _FILE_KEYS.isdisjoint(told):
            return True
        return any(_names_file(value, depth + 1) for value in told.values())
    if isinstance(told, list):
        return any(_names_file(value, depth + 1) for value in told)
    return False


async def _body(receive: Receive) -> bytes | None:
    """Read a request's body; None if it is too large or does not come."""
    body = bytearray()
    with anyio.move_on_after(STALL):
        while True:
            message = await receive()
            body += message.get("body", b"")
            if message["type"] == "http.disconnect" or len(body) > TOLD:
                return None
            if not message.get("more_body", False):
                return bytes(body)
    return None


def _again(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _closed(send: Send) -> Send:
    """Leave out what would let pages of other sites read an answer."""

    async def closed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [
                (name, value)
                for name, value in message.get("headers", [])
                if not name.lower().startswith(b"access-control-")
            ]
            message = {**message, "headers": headers}
        await send(message)

    return closed


class Routes:
    """The page's own routes.

    Parameters
    ----------
    uploads
        Where uploads are kept.
    owner_of
        Tells whose a request is.
    """

    def __init__(self, uploads: Uploads, owner_of: Owner) -> None:
        self._uploads = uploads
        self._owner_of = owner_of
        self._arriving = 0

    async def upload(self, request: Request) -> Response:
        """Take a file: its bytes are the request's body, its name the query's ``name``."""
        if request.headers.get("content-type") != _TYPE:
            return _error(415, f"an upload is sent as {_TYPE}")
        limit = self._uploads.limits.upload
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > limit:
            return _error(413, _too_large(limit))
        if self._arriving >= ARRIVING:
            return _error(429, "too many pictures are being uploaded; try again in a few seconds")
        self._arriving += 1
        try:
            return await self._take(request, limit)
        finally:
            self._arriving -= 1

    async def _take(self, request: Request, limit: int) -> Response:
        name = request.query_params.get("name", "")[-200:] or "picture"
        owner = self._owner_of(request)
        with self._uploads.arriving() as path:
            refusal = await _save(request, path, limit)
            if refusal is not None:
                return refusal
            try:
                kept = await run_sync(self._uploads.keep, path, name, owner)
            except (InputError, ProblemError) as error:
                problem = problem_of(error)
                return _error(problem.status, problem.text)
        return JSONResponse(kept.model_dump(), 201, {"Cache-Control": "no-store"})

    async def view(self, request: Request) -> Response:
        """Show an upload that the browser cannot show itself."""
        owner = self._owner_of(request)
        path = await run_sync(self._uploads.view, request.path_params["token"], owner)
        if path is None:
            return _error(404, "there is no such picture")
        return FileResponse(path, media_type="image/png", headers={"Cache-Control": "private"})

    async def example(self, request: Request) -> Response:
        """Show an example picture."""
        example = examples.find(request.path_params["name"])
        if example is None:
            return _error(404, "there is no such example")
        data = await run_sync(lambda: example.make().noisy)
        return Response(data, media_type="image/png", headers={"Cache-Control": "max-age=3600"})

    async def static(self, request: Request) -> Response:
        """Give the page's script or its style sheet."""
        name = {"page.js": "page.js", "page.css": "page.css"}.get(request.path_params["name"])
        if name is None:
            return _error(404, "there is no such file")
        return FileResponse(STATIC / name, headers={"Cache-Control": "no-cache"})


async def _save(request: Request, path: Path, limit: int) -> Response | None:
    """Write a request's body to a file as it comes; return why not, if so."""
    size = 0
    chunks = request.stream().__aiter__()
    async with await anyio.open_file(path, "xb") as file:
        while True:
            try:
                with anyio.fail_after(STALL):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                return _error(408, "the upload stalled; try again")
            except ClientDisconnect:
                return _error(400, "the upload was cut off; try again")
            if chunk is None:
                return None if size else _error(422, "the file is empty; choose another")
            size += len(chunk)
            if size > limit:
                return _error(413, _too_large(limit))
            await file.write(chunk)


def _too_large(limit: int) -> str:
    return f"the file is larger than {limit / 2**20:.4g} MiB; try a smaller one or a crop of it"


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status, {"Cache-Control": "no-store"})
