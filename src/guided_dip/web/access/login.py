"""Browsers get a session for a token: a form, a cookie that scripts cannot read, a way out."""

from __future__ import annotations

import hashlib
import html
import secrets
import threading
import time
from collections.abc import Callable
from urllib.parse import parse_qs

import anyio

from guided_dip.web.access.headers import COOKIE, cookie_of, headers_of
from guided_dip.web.problems import Message, ProblemError, ProblemResponse, Receive, Scope, Send

SECONDS = 12 * 3600.0  # that a session lasts
MOST = 1000  # sessions; the oldest goes first
SLOW = 1.0  # seconds that a wrong token takes
AT_ONCE = 4  # wrong tokens: no more are heard meanwhile
_FORM_BYTES = 4096

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Guided-DIP: log in</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; font: 1.05rem/1.5 system-ui, sans-serif }}
main {{ max-width: 24rem; margin: 15vh auto; padding: 0 1rem }}
label, input, button {{ display: block; width: 100%; box-sizing: border-box; font: inherit }}
input, button {{ margin: .3rem 0 1rem; padding: .6rem }}
</style></head><body><main>
<h1>Guided-DIP</h1>
{problem}
<form method="post" action="/login">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button type="submit">Log in</button>
</form></main></body></html>
"""


class Sessions:
    """Browsers that are logged in, in memory: a server that starts knows none.

    Parameters
    ----------
    seconds
        That a session lasts.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._known: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()
        self._failing = 0

    def begin(self, owner: str) -> str:
        """Return the secret of a new session."""
        secret = secrets.token_urlsafe(32)
        with self._lock:
            while len(self._known) >= MOST:
                del self._known[next(iter(self._known))]
            self._known[_digest(secret)] = (owner, time.monotonic() + self._seconds)
        return secret

    def owner(self, secret: str) -> str | None:
        """Return whose a session is; None if there is none of that secret, or no longer."""
        with self._lock:
            owner, until = self._known.get(_digest(secret), (None, 0.0))
            if owner is not None and time.monotonic() > until:
                del self._known[_digest(secret)]
                return None
            return owner

    def end(self, secret: str) -> None:
        """End a session."""
        with self._lock:
            self._known.pop(_digest(secret), None)

    async def fail(self) -> None:
        """Take the time that a wrong token costs.

        Raises
        ------
        ProblemError
            If many are tried at a time.
        """
        self.check_failing()
        self._failing += 1
        try:
            await anyio.sleep(SLOW)
        finally:
            self._failing -= 1

    def check_failing(self) -> None:
        """Refuse to look at a token while many wrong ones are tried."""
        if self._failing >= AT_ONCE:
            raise ProblemError(429, "too many wrong tokens; try again soon", retry_after=2)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


async def login_answer(
    sessions: Sessions,
    owner_of: Callable[[str], str | None],
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Show the form, or begin a session for who has filled it in."""
    if scope["method"] not in ("GET", "HEAD", "POST"):
        problem = ProblemError(405, "the form is read or sent", headers={"Allow": "GET, POST"})
        await ProblemResponse(problem)(scope, receive, send)
        return
    if scope["method"] != "POST":
        await _show(scope, send, 200, "")
        return
    try:
        sessions.check_failing()
        owner = owner_of(await _token(receive))
        if owner is None:
            await sessions.fail()
            await _show(scope, send, 403, "That is no token of this server.")
            return
    except ProblemError as problem:
        await ProblemResponse(problem)(scope, receive, send)
        return
    await _move(send, "/", _cookie(scope, sessions.begin(owner), sessions_seconds=SECONDS))


async def logout_answer(sessions: Sessions, scope: Scope, receive: Receive, send: Send) -> None:
    """End a browser's session."""
    if scope["method"] != "POST":
        problem = ProblemError(405, "logging out is a POST", headers={"Allow": "POST"})
        await ProblemResponse(problem)(scope, receive, send)
        return
    secret = cookie_of(headers_of(scope))
    if secret is not None:
        sessions.end(secret)
    await _move(send, "/login", _cookie(scope, "", sessions_seconds=0))


async def _token(receive: Receive) -> str:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or len(body) > _FORM_BYTES:
            raise ProblemError(413, "that is no token", linger=True)
        if not message.get("more_body"):
            break
    try:
        found = parse_qs(body.decode("latin-1"), max_num_fields=10)
    except ValueError:
        return ""
    return str(found.get("token", [""])[0]).strip()


def _cookie(scope: Scope, value: str, *, sessions_seconds: float) -> str:
    # Whoever makes this header up gets a cookie that is more careful.
    proxied = headers_of(scope).get("x-forwarded-proto") == "https"
    secure = "; Secure" if proxied or scope.get("scheme") == "https" else ""
    age = f"; Max-Age={int(sessions_seconds)}"
    return f"{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{age}{secure}"


async def _show(scope: Scope, send: Send, status: int, problem: str) -> None:
    said = f'<p role="alert">{html.escape(problem)}</p>' if problem else ""
    body = _PAGE.format(problem=said).encode()
    headers: list[tuple[bytes, bytes]] = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    message: Message = {"type": "http.response.start", "status": status, "headers": headers}
    await send(message)
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def _move(send: Send, where: str, cookie: str) -> None:
    headers = [
        (b"location", where.encode()),
        (b"set-cookie", cookie.encode()),
        (b"content-length", b"0"),
    ]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
