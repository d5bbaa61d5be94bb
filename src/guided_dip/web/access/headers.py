"""What a request's headers say, read with care: anyone may write anything there."""

from __future__ import annotations

from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie

from guided_dip.web.problems import Scope

COOKIE = "guided-dip-session"


def headers_of(scope: Scope) -> Mapping[str, str]:
    """Return a request's headers; of several of one name the last counts, of hosts none."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        twice = key in found and key in ("host", "origin", "authorization")
        found[key] = "\0" if twice else value.decode("latin-1")
    return found


def cookie_of(headers: Mapping[str, str]) -> str | None:
    """Return the session that a browser has; None if it has none."""
    cookies: SimpleCookie = SimpleCookie()
    try:
        cookies.load(headers.get("cookie", "")[:8192])
    except CookieError:
        return None
    return cookies[COOKIE].value if COOKIE in cookies else None
