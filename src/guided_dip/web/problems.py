"""What goes wrong with a request: a status, one line for people, and the same shape for all."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

import anyio
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from guided_dip.errors import InputError, RunError, reason_of
from guided_dip.web.jobs import NotReadyError, QueueFullError, UnknownJobError
from guided_dip.words import one_line

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

WHOLE = "guided_dip.whole"  # in the scope of a request that has come to its end
LONGEST = 500  # letters of an error
LINGER_SECONDS, LINGER_BYTES = 3.0, 2**27
_OPTION = re.compile(r"--([a-z][a-z-]*)")


class Problem(BaseModel):
    """Why a request was not carried out.

    Attributes
    ----------
    error
        One line: what was wrong, where, and what to try.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"error": "there is no such job"}]})

    error: str = Field(description="One line: what was wrong, where, and what to try.")


class ProblemError(Exception):
    """A request is not carried out.

    Parameters
    ----------
    status
        Of HTTP.
    text
        One line for people.
    retry_after
        Seconds after which to try again; None if that would not help.
    headers
        Further ones of the answer.
    linger
        The request may still be arriving, so that who sends it has to be heard out for a while to
        see the answer.
    """

    def __init__(
        self,
        status: int,
        text: str,
        *,
        retry_after: int | None = None,
        headers: dict[str, str] | None = None,
        linger: bool = False,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = one_line(text)[:LONGEST]
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(1, retry_after))
        self.linger = linger


class ProblemResponse:
    """The answer that tells of a problem, as an ASGI application.

    Parameters
    ----------
    problem
        What to tell.
    """

    def __init__(self, problem: ProblemError) -> None:
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        problem = self._problem
        body = json.dumps({"error": problem.text}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *((k.lower().encode(), v.encode("latin-1")) for k, v in problem.headers.items()),
        ]
        linger = problem.linger and WHOLE not in scope
        if linger:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": problem.status, "headers": headers})
        if scope["method"] == "HEAD":
            body = b""
        await send({"type": "http.response.body", "body": body, "more_body": linger})
        if linger:
            await _hear_out(receive)
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _hear_out(receive: Receive) -> None:
    """Drop what still comes: closed on at once, many clients would lose the answer they have."""
    left = LINGER_BYTES
    with anyio.move_on_after(LINGER_SECONDS), suppress(ProblemError):
        while left > 0:
            message = await receive()
            left -= len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body"):
                return


def problem_of(error: Exception) -> ProblemError:
    """Say of what the job manager or a check has raised what it means in HTTP.

    Parameters
    ----------
    error
        What was raised.

    Returns
    -------
    ProblemError
        Of status 500, with no details, for whatever nobody has foreseen.
    """
    from guided_dip.images import TooLargeError, UnknownFormatError

    if isinstance(error, ProblemError):
        return error
    if isinstance(error, UnknownJobError):
        return ProblemError(404, "there is no such job; it may have been removed")
    if isinstance(error, NotReadyError):
        return ProblemError(404, str(error))
    if isinstance(error, QueueFullError):
        return ProblemError(429, str(error), retry_after=error.retry_after)
    if isinstance(error, UnknownFormatError):
        return ProblemError(415, in_web_words(str(error)))
    if isinstance(error, TooLargeError):
        return ProblemError(413, in_web_words(str(error)))
    if isinstance(error, InputError):
        return ProblemError(422, in_web_words(str(error)))
    if isinstance(error, RunError):
        return ProblemError(503, reason_of(error), retry_after=30)
    return ProblemError(500, "the server failed; its log says more")


def in_web_words(text: str) -> str:
    """Name options of the command line as fields have them.

    >>> in_web_words("try --time-budget 20")
    'try time_budget 20'
    """
    return _OPTION.sub(lambda found: found[1].replace("-", "_"), text)


def first_of(error: ValidationError) -> str:
    """Say in one line what pydantic has found first."""
    found = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in found["loc"][:2])
    return f"{where}: {found['msg'][0].lower()}{found['msg'][1:]}" if where else found["msg"]
