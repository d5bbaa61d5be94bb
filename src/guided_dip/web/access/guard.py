"""Who may ask for what: hosts, origins, tokens; and the headers that every answer has.

All are ASGI middlewares, which see a request before any route does.

- *Host*: a page elsewhere can have its own name lead to 127.0.0.1 (DNS rebinding), and would then
  be of this origin; so the name that is asked for has to be one of ours.
- *Origin*: a page elsewhere can have a browser send us a form (CSRF); so what changes something has
  to come from our own page, or from a program, which sends no origin. No other origin is ever
  allowed to read (no CORS headers).
- *Token*: where there are any, a request has one, or the session that a browser got for one. Each
  token is a user, told from others by its digest, which is all that is kept of it.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from guided_dip.web.access.headers import cookie_of, headers_of
from guided_dip.web.access.login import Sessions, login_answer, logout_answer
from guided_dip.web.problems import (
    App,
    Message,
    ProblemError,
    ProblemResponse,
    Receive,
    Scope,
    Send,
)

OWNER = "guided_dip.owner"  # of a request, in its scope
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
OPEN_PATHS = frozenset({"/healthz", "/login"})
LEAST_TOKEN = 16  # characters
_HOST = re.compile(r"(?:\[([0-9a-fA-F:.%]+)\]|([^\s:/@\[\]]+))(?::\d{1,5})?")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

API_PATHS = ("/v1/", "/healthz", "/metrics", "/login", "/logout")
API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
LOGIN_POLICY = API_POLICY + "; style-src 'unsafe-inline'"
# Gradio's page has scripts and styles in its HTML, and builds functions of the layout's code.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "media-src 'self' data: blob:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer, forms would come from nowhere
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
# Of Gradio: what fetches addresses, reads paths, calls functions by name or tells about them. The
# page closes all that it does not need; these are shut however it is mounted.
CLOSED = re.compile(
    r"/(gradio_api/)?(proxy=|file[=/]|upload|stream/|run/|api/|call/|component_server|reset|dev/"
    r"|vibe|undo-vibe|process_recording|custom_component|profiling|deep_link|openapi\.json)"
    r"|/(monitoring|docs|redoc|openapi\.json)"
)


def digest(token: str) -> str:
    """Return what is kept of a token, which is also its owner's name."""
    return hashlib.sha256(token.encode()).hexdigest()


def host_in(header: str) -> str:
    """Return the name in a Host header, in lower case, its port left off; empty if there is none.

    Parameters
    ----------
    header
        Such as `Dip.example:8080` or `[::1]`.
    """
    match = _HOST.fullmatch(header)
    if match is None:
        return ""
    if match[1] is not None:
        return _address(match[1]) if ":" in match[1] else ""
    name = match[2].lower().removesuffix(".")
    return "" if not name or name.endswith(".") else _address(name) or name


def host_named(name: str) -> str:
    """Return the name of a host as `host_in` does; an IPv6 address needs no brackets.

    Parameters
    ----------
    name
        Such as `Dip.example`, with or without a port, or `::1`.
    """
    return host_in(name) or host_in(f"[{name}]")


def _address(name: str) -> str:
    """Return an IP address as it is usually written; empty if the name is none."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return ""


def owner_of(connection: HTTPConnection) -> str:
    """Return whose a request is; an empty string where there are no tokens.

    Parameters
    ----------
    connection
        The request, which has come through `Tokens`.
    """
    owner: str = connection.scope[OWNER]
    return owner


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes
    ----------
    owners
        Digests of the tokens; empty if nobody needs one.
    hosts
        Names by which the server may be asked for, as `host_in` gives them.
    any_address
        It may be asked for by any IP address, too, which no DNS can lead elsewhere.
    sessions
        Of browsers that are logged in.
    """

    owners: frozenset[str] = frozenset()
    hosts: frozenset[str] = LOOPBACK
    any_address: bool = False
    sessions: Sessions = field(default_factory=Sessions)

    def owner_of_token(self, token: str) -> str | None:
        """Return whose a token is; None if it is nobody's."""
        given = digest(token)
        found = None
        for owner in self.owners:  # all of them, so that the time tells nothing
            if hmac.compare_digest(given, owner):
                found = owner
        return found

    def allows_host(self, header: str) -> bool:
        """Tell whether a Host header names this server.

        Parameters
        ----------
        header
            As it came; empty where there was none.
        """
        name = host_in(header)
        if not name:
            return False
        return name in self.hosts or (self.any_address and bool(_address(name)))


class Headers:
    """Adds the headers that make browsers careful, and takes away those that would not."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _careful(scope["path"], message.get("headers", []))
            await send(message)

        await self._app(scope, receive, answer if scope["type"] == "http" else send)


class Hosts:
    """Refuses what is meant for another server, comes from another's page, or has no place here."""

    def __init__(self, app: App, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # nothing here talks by WebSocket
        try:
            self._check(scope)
        except ProblemError as problem:
            await ProblemResponse(problem)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = headers_of(scope)
        host = headers.get("host", "")
        if not self._access.allows_host(host):
            raise ProblemError(
                421, "this server is not asked for by that name; try --allow-host", linger=True
            )
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        method = scope["method"]
        if method not in _SAFE:
            foreign = (
                site not in ("none", "same-origin")
                if origin is None
                else (origin.partition("://")[2].lower() != host.lower())
            )
        else:
            navigates = headers.get("sec-fetch-mode") == "navigate" and method == "GET"
            foreign = site == "cross-site" and not navigates
        if foreign:
            raise ProblemError(403, "only this server's own page may ask for that", linger=True)
        path = scope["path"]
        if CLOSED.match(path):
            raise ProblemError(404, "there is no such page", linger=True)


class Tokens:
    """Lets in who has a token, where there are any, and knows whose each request is."""

    def __init__(self, app: App, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        access, path = self._access, scope["path"]
        scope[OWNER] = owner = self._owner(scope) if access.owners else ""
        if access.owners and path == "/login":
            await login_answer(access.sessions, access.owner_of_token, scope, receive, send)
        elif access.owners and path == "/logout":
            await logout_answer(access.sessions, scope, receive, send)
        elif owner is None and path not in OPEN_PATHS:
            await _turned_away(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _owner(self, scope: Scope) -> str | None:
        headers = headers_of(scope)
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self._access.owner_of_token(token.strip())
        session = cookie_of(headers)
        return None if session is None else self._access.sessions.owner(session)


def is_api(path: str) -> bool:
    """Tell the API's paths from the page's."""
    return path.startswith(API_PATHS)


async def _turned_away(scope: Scope, receive: Receive, send: Send) -> None:
    headers = headers_of(scope)
    if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
        moved = [(b"location", b"/login"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 303, "headers": moved})
        await send({"type": "http.response.body", "body": b""})
        return
    problem = ProblemError(
        401,
        "a token is needed: try the header 'Authorization: Bearer TOKEN'",
        headers={"WWW-Authenticate": "Bearer"},
        linger=True,
    )
    await ProblemResponse(problem)(scope, receive, send)


def _careful(path: str, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    kept = [
        (name, value)
        for name, value in headers
        if not name.lower().startswith(b"access-control-") and name.lower() != b"server"
    ]
    names = {name.lower().decode("latin-1") for name, _ in kept}
    policy = LOGIN_POLICY if path == "/login" else API_POLICY if is_api(path) else PAGE_POLICY
    wanted = {**HEADERS, "content-security-policy": policy}
    if not path.startswith(("/assets/", "/static/", "/svelte/")):
        wanted["cache-control"] = "no-store"
    return kept + [
        (name.encode(), value.encode()) for name, value in wanted.items() if name not in names
    ]
