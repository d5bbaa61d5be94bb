"""How much a request may send, and how slowly."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from guided_dip.web.problems import (
    WHOLE,
    App,
    Message,
    ProblemError,
    ProblemResponse,
    Receive,
    Scope,
    Send,
)

STALL = 30.0  # seconds without a byte
GRACE, SLOWEST = 15.0, 8 * 2**10  # seconds after which so many bytes a second must have come
SMALL = 2**20  # bytes of a request that is no upload
DRAWN = 2**23  # of one from the page, which may tell of a mask that was drawn


class Bodies:
    """Bounds the bodies of requests: what is too large gets 413, what is too slow 408.

    Parameters
    ----------
    app
        Which reads them.
    most
        Gives the most bytes for a path.
    stall
        Seconds without a byte that are too many.
    counted
        Called with the bytes of each request that has come whole.
    """

    def __init__(
        self,
        app: App,
        most: Callable[[str], int],
        *,
        stall: float = STALL,
        counted: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._app = app
        self._most = most
        self._stall = stall
        self._counted = counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive, self._most(scope["path"]), self._stall)
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if body.problem is not None and not begun:
                return  # the application has made something else of it
            begun = True
            await send(message)

        try:
            body.check_length()
            await self._app(scope, body.receive, answer)
        except ProblemError as error:
            if error is not body.problem:
                raise
        except Exception:
            if body.problem is None:
                raise
        if body.problem is not None and not begun:
            await ProblemResponse(body.problem)(scope, receive, send)
        self._counted(body.size)


class _Body:
    """The body of a request, as far as it has come."""

    def __init__(self, scope: Scope, receive: Receive, most: int, stall: float) -> None:
        self._scope = scope
        self._receive = receive
        self._most = most
        self._stall = stall
        self._began = 0.0
        self._whole = False
        self.size = 0
        self.problem: ProblemError | None = None

    def check_length(self) -> None:
        """Refuse what says itself that it is too large, before any of it is read."""
        for name, value in self._scope["headers"]:
            if name == b"content-length" and (not value.isdigit() or int(value) > self._most):
                self._refuse(413, f"the request is larger than the {_told(self._most)} allowed")

    async def receive(self) -> Message:
        """Return what has come next; once all has, whatever happens to the connection."""
        if self.problem is not None:
            raise self.problem
        if self._whole:
            return await self._receive()
        self._began = self._began or anyio.current_time()
        with anyio.move_on_after(self._stall) as wait:
            message = await self._receive()
        if wait.cancelled_caught:
            self._refuse(408, f"nothing came for {self._stall:g} s; try again")
        if message["type"] == "http.request":
            self._take(message)
        return message

    def _take(self, message: Message) -> None:
        self.size += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._whole:
            self._scope[WHOLE] = True
        if self.size > self._most:
            self._refuse(413, f"the request is larger than the {_told(self._most)} allowed")
        seconds = anyio.current_time() - self._began - GRACE
        if not self._whole and seconds > 0 and self.size < seconds * SLOWEST:
            self._refuse(408, "the upload is too slow; try a faster connection, or a smaller file")

    def _refuse(self, status: int, text: str) -> None:
        self.problem = ProblemError(status, text, linger=True)
        raise self.problem


def _told(size: int) -> str:
    return f"{size / 2**20:.4g} MiB" if size >= 2**20 else f"{size} bytes"
